// The commands of vmsg: each adds itself to the command line and says how it is run.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tools/vmsg/domain_config.hpp"
#include "tools/vmsg/toolstack.hpp"

namespace vmsg::tool {

constexpr int kExitFailed = 1;  // it could not be done
constexpr int kExitUsage = 2;   // what was asked for makes no sense

struct Command {
  CLI::App* app;
  std::function<int()> run;  // the exit code
};

Command add_attach(CLI::App& parent);
Command add_check(CLI::App& parent);
Command add_console(CLI::App& parent);
Command add_create(CLI::App& parent);
Command add_detach(CLI::App& parent);
Command add_list(CLI::App& parent);
Command add_resize(CLI::App& parent);
Command add_show(CLI::App& parent);
Command add_top(CLI::App& parent);
Command add_trace(CLI::App& parent);
Command add_watch(CLI::App& parent);

/// "vmsg: what" on standard error; returns `status`.
int complain(int status, std::string_view what);
/// All of them, and their hints.
void complain(const std::vector<Problem>& problems);

/// Opens xenstore, or complains.
int with_toolstack(const std::function<int(Toolstack&)>& work);
/// The same, with a guest by name or id.
int with_guest(const std::string& guest, const std::function<int(Toolstack&, xen::DomainId)>& work);

/// Options that several commands have.
void add_guest(CLI::App& command, std::string& guest);
void add_device(CLI::App& command, std::uint16_t& device);
void add_timeout(CLI::App& command, unsigned& seconds);
void add_socket(CLI::App& command, std::string& socket);
void add_named_devices(CLI::App& command, std::string& file);
void add_run_folder(CLI::App& command, std::string& folder);

}  // namespace vmsg::tool
