// The library calls of the mock by name: what failure injection can make fail.
//
// One enumerator for every function of Xen's headers that can report an error. A new function of
// the mock gets its line here, in kCallNames, and an `injected()` check at its top.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace vmsg::mock {

enum class Call : std::uint32_t {
  /// Not a call: stands for "whichever call comes next" among those that acquire something.
  kAny,

  kXenevtchnOpen,
  kXenevtchnFdopen,
  kXenevtchnClose,
  kXenevtchnNotify,
  kXenevtchnBindUnboundPort,
  kXenevtchnBindInterdomain,
  kXenevtchnBindVirq,
  kXenevtchnUnbind,
  kXenevtchnPending,
  kXenevtchnUnmask,
  kXenevtchnRestrict,

  kXengnttabOpen,
  kXengnttabClose,
  kXengnttabMapGrantRef,
  kXengnttabMapGrantRefs,
  kXengnttabMapDomainGrantRefs,
  kXengnttabMapGrantRefNotify,
  kXengnttabUnmap,
  kXengnttabSetMaxGrants,
  kXengnttabGrantCopy,
  /// One segment of a grant copy: the "errno" is the GNTST_* status to report, as a positive
  /// number.
  kXengnttabGrantCopySegment,

  kXengntshrOpen,
  kXengntshrClose,
  kXengntshrSharePages,
  kXengntshrSharePageNotify,
  kXengntshrUnshare,

  kXsOpen,
  kXsClose,
  kXsDirectory,
  kXsRead,
  kXsWrite,
  kXsMkdir,
  kXsRm,
  kXsGetPermissions,
  kXsSetPermissions,
  kXsWatch,
  kXsUnwatch,
  kXsReadWatch,
  kXsCheckWatch,
  kXsTransactionStart,
  kXsTransactionEnd,
  kXsIntroduceDomain,
  kXsSetTarget,
  kXsReleaseDomain,
  kXsResumeDomain,
  kXsGetDomainPath,
  kXsIsDomainIntroduced,
  kXsControlCommand,

  kCount
};

inline constexpr std::size_t kCallCount = static_cast<std::size_t>(Call::kCount);

inline constexpr std::array<std::string_view, kCallCount> kCallNames = {
    "any",

    "xenevtchn_open",
    "xenevtchn_fdopen",
    "xenevtchn_close",
    "xenevtchn_notify",
    "xenevtchn_bind_unbound_port",
    "xenevtchn_bind_interdomain",
    "xenevtchn_bind_virq",
    "xenevtchn_unbind",
    "xenevtchn_pending",
    "xenevtchn_unmask",
    "xenevtchn_restrict",

    "xengnttab_open",
    "xengnttab_close",
    "xengnttab_map_grant_ref",
    "xengnttab_map_grant_refs",
    "xengnttab_map_domain_grant_refs",
    "xengnttab_map_grant_ref_notify",
    "xengnttab_unmap",
    "xengnttab_set_max_grants",
    "xengnttab_grant_copy",
    "xengnttab_grant_copy_segment",

    "xengntshr_open",
    "xengntshr_close",
    "xengntshr_share_pages",
    "xengntshr_share_page_notify",
    "xengntshr_unshare",

    "xs_open",
    "xs_close",
    "xs_directory",
    "xs_read",
    "xs_write",
    "xs_mkdir",
    "xs_rm",
    "xs_get_permissions",
    "xs_set_permissions",
    "xs_watch",
    "xs_unwatch",
    "xs_read_watch",
    "xs_check_watch",
    "xs_transaction_start",
    "xs_transaction_end",
    "xs_introduce_domain",
    "xs_set_target",
    "xs_release_domain",
    "xs_resume_domain",
    "xs_get_domain_path",
    "xs_is_domain_introduced",
    "xs_control_command",
};

constexpr std::string_view call_name(Call call) {
  return kCallNames[static_cast<std::size_t>(call)];
}

constexpr std::optional<Call> find_call(std::string_view name) {
  for (std::size_t i = 0; i < kCallCount; ++i) {
    if (kCallNames[i] == name) return static_cast<Call>(i);
  }
  return std::nullopt;
}

/// Calls that give something back. `kAny` never picks one of them: no caller can recover from a
/// release that fails, so "visit every failure" would only find what nobody can mend. By name they
/// can be made to fail like the others.
constexpr bool is_release(Call call) {
  switch (call) {
    case Call::kXenevtchnClose:
    case Call::kXenevtchnUnbind:
    case Call::kXengnttabClose:
    case Call::kXengnttabUnmap:
    case Call::kXengntshrClose:
    case Call::kXengntshrUnshare:
    case Call::kXsClose:
    case Call::kXsUnwatch:
      return true;
    default:
      return false;
  }
}

}  // namespace vmsg::mock
