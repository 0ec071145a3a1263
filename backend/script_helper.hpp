// The one part of the daemon that may start programs: a process of its own, forked before the
// daemon opens Xen and gives up its rights. It holds a socket to the daemon and nothing else, and
// judges what it is asked for as if the daemon had been taken over (script_program.hpp).
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "devices/file_descriptor.hpp"
#include "devices/net/network_script.hpp"
#include "transport/result.hpp"

namespace vmsg {

class ScriptHelper final : public net::NetworkScripts {
 public:
  /// Called while the process has one thread. The helper ends when this object, or the process that
  /// it is in, does.
  [[nodiscard]] static Result<std::unique_ptr<ScriptHelper>, std::string> start(
      const std::string& directory);

  [[nodiscard]] Result<void, std::string> run(const net::ScriptCall& call) override;

 private:
  explicit ScriptHelper(FileDescriptor socket) : socket_(std::move(socket)) {}

  std::mutex mutex_;  // one call at a time
  FileDescriptor socket_;
};

}  // namespace vmsg
