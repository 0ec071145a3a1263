// From root to a user of its own. The daemon opens what only root may open (Xen's device nodes,
// xenstore, its sockets) and then gives up everything but what devices need while it runs.
//
// Called while the process has one thread: what is given up here, threads made later do not have.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "transport/result.hpp"

namespace vmsg {

struct Account {
  std::string name;
  uid_t user = 0;
  gid_t group = 0;
  std::vector<gid_t> groups;  // all of its groups: of "disk", say, for block devices
};

[[nodiscard]] Result<Account, std::string> find_account(const std::string& name);

/// Becomes that user, keeps CAP_NET_ADMIN (interfaces of network devices) and nothing else, and can
/// never gain anything again. The error says which step failed; the process must end then.
[[nodiscard]] Result<void, std::string> drop_privileges(const Account& account);

}  // namespace vmsg
