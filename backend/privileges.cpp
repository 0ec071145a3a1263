#include "backend/privileges.hpp"

#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <system_error>

namespace vmsg {
namespace {

// TAP interfaces are made, and put into bridges, when a guest gets a network device.
constexpr std::uint32_t kKept = std::uint32_t{1} << CAP_NET_ADMIN;

std::unexpected<std::string> failed(std::string_view step) {
  return std::unexpected(
      fmt::format("cannot {}: {}", step, std::generic_category().message(errno)));
}

/// Without libcap: two system calls, and one library less.
bool set_capabilities(std::uint32_t kept) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
  data[0] = {.effective = kept, .permitted = kept, .inheritable = 0};
  return ::syscall(SYS_capset, &header, data.data()) == 0;
}

bool drop_bounding_set(std::uint32_t kept) {
  for (unsigned capability = 0; capability < 64; ++capability) {
    if (capability < 32 && ((kept >> capability) & 1U) != 0) continue;
    // EINVAL: the kernel knows no capability of that number.
    if (::prctl(PR_CAPBSET_DROP, capability, 0UL, 0UL, 0UL) != 0 && errno != EINVAL) return false;
  }
  return true;
}

}  // namespace

Result<Account, std::string> find_account(const std::string& name) {
  // Before there is a second thread.
  errno = 0;
  const passwd* entry = ::getpwnam(name.c_str());  // NOLINT(concurrency-mt-unsafe)
  if (entry == nullptr) {
    return std::unexpected(fmt::format("there is no user '{}' on this host", name));
  }
  Account account{.name = name, .user = entry->pw_uid, .group = entry->pw_gid, .groups = {}};
  int count = 64;
  account.groups.resize(static_cast<std::size_t>(count));
  if (::getgrouplist(name.c_str(), account.group, account.groups.data(), &count) < 0) {
    return std::unexpected(fmt::format("the user '{}' is in more than 64 groups", name));
  }
  account.groups.resize(static_cast<std::size_t>(count));
  return account;
}

Result<void, std::string> drop_privileges(const Account& account) {
  if (!drop_bounding_set(kKept)) return failed("give up capabilities");
  if (::prctl(PR_SET_KEEPCAPS, 1UL, 0UL, 0UL, 0UL) != 0) return failed("keep capabilities");
  if (::setgroups(account.groups.size(), account.groups.data()) != 0) return failed("set groups");
  if (::setresgid(account.group, account.group, account.group) != 0) return failed("set the group");
  if (::setresuid(account.user, account.user, account.user) != 0) return failed("set the user");
  if (!set_capabilities(kKept)) return failed("limit capabilities");
  if (::prctl(PR_SET_KEEPCAPS, 0UL, 0UL, 0UL, 0UL) != 0) return failed("forget capabilities");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) != 0) return failed("set no-new-privileges");
  return {};
}

}  // namespace vmsg
