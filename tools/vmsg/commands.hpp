// The commands of vmsg: what each is told, and what runs it and returns the exit code. How they
// look on the command line is vmsg.cpp's business.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/vmsg/domain_config.hpp"
#include "tools/vmsg/toolstack.hpp"
#include "tools/vmsg/watch_service.hpp"

namespace vmsg::tool {

constexpr int kExitFailed = 1;  // it could not be done
constexpr int kExitUsage = 2;   // what was asked for makes no sense

/// attach, detach, resize
struct DeviceOptions {
  std::string guest;
  std::string spec;
  std::uint16_t device = 0;
  bool force = false;
  unsigned timeout = 10;
};

struct CheckOptions {
  std::string file;
  std::string devices;
  bool quiet = false;
};

struct ConsoleOptions {
  std::string guest;
  std::optional<std::uint16_t> device;
};

struct CreateOptions {
  std::string file;
  unsigned timeout = 10;
  std::string devices;
  std::string run_folder;
  std::vector<std::string> xl_words;  // options and settings for xl create
};

/// list and show
struct ListOptions {
  std::string guest;
  std::uint16_t device = 0;
  bool json = false;
  std::string socket;
};

struct TopOptions {
  std::string socket;
  double interval = 1;
  bool once = false;
  bool json = false;
};

struct TraceOptions {
  std::string guest;
  std::string socket;
  bool json = false;
  unsigned count = 0;
};

int attach(const DeviceOptions& options);
int check(const CheckOptions& options);
int console(const ConsoleOptions& options);
int create(const CreateOptions& options);
int detach(const DeviceOptions& options);
int list(const ListOptions& options);
int resize(const DeviceOptions& options);
int show(const ListOptions& options);
int top(const TopOptions& options);
int trace(const TraceOptions& options);
int watch(const WatchOptions& options);

/// "vmsg: what" on standard error; returns `status`.
int complain(int status, std::string_view what);
/// All of them, and their hints.
void complain(const std::vector<Problem>& problems);

/// Opens xenstore, or complains.
int with_toolstack(const std::function<int(Toolstack&)>& work);
/// The same, with a guest by name or id.
int with_guest(const std::string& guest, const std::function<int(Toolstack&, xen::DomainId)>& work);

}  // namespace vmsg::tool
