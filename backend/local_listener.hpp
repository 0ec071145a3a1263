// A listening unix socket of the daemon: made here, or handed over by systemd.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "devices/file_descriptor.hpp"
#include "transport/result.hpp"

namespace vmsg {

/// Who may use a socket that is made as root for a daemon that will not be.
struct SocketOwner {
  uid_t user = 0;
  gid_t group = 0;
};

/// Listens at `path`, for the owner and its group alone. A socket that a dead process left behind
/// is replaced, one where somebody listens is not. The error says in words what is in the way.
[[nodiscard]] Result<FileDescriptor, std::string> listen_local(
    const std::string& path, std::optional<SocketOwner> owner = std::nullopt);

}  // namespace vmsg
