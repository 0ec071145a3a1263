// The small vocabulary of this folder: domains, ports, references, and the one error of Xen calls.
// Xen's own headers are included by .cpp files here and by nobody else.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>

#include "transport/result.hpp"

namespace vmsg::xen {

using DomainId = std::uint16_t;
using GrantRef = std::uint32_t;

inline constexpr DomainId kFirstReservedDomain = 0x7ff0;  // ids from here on name no guest

/// A port as this domain numbers it.
enum class LocalPort : std::uint32_t {};

/// A port as the peer numbers it: what `event-channel` nodes and QUEUE_EVENT_CHANNEL carry.
enum class RemotePort : std::uint32_t {};

/// Which call failed. Names say what was asked for, not which ioctl carried it.
enum class XenCall : std::uint8_t {
  kEvtchnOpen,
  kEvtchnBindInterdomain,
  kEvtchnAllocUnbound,
  kEvtchnUnbind,
  kEvtchnNotify,
  kEvtchnPending,
  kEvtchnUnmask,
  kEvtchnPoll,
  kGnttabOpen,
  kGnttabMap,
  kGnttabUnmap,
  kGnttabCopy,
  kGntshrOpen,
  kGntshrShare,
  kGntshrUnshare,
  kStoreOpen,
  kStoreRead,
  kStoreWrite,
  kStoreRemove,
  kStoreMkdir,
  kStoreList,
  kStoreGetPermissions,
  kStoreSetPermissions,
  kStoreTransactionStart,
  kStoreTransactionEnd,
  kStoreWatch,
  kStoreUnwatch,
  kStoreReadWatch,
  kStoreIsIntroduced,
};

/// A failed call: what, errno, and whom it concerned when it concerned one domain.
struct XenError {
  XenCall call{};
  int error = 0;  // errno
  std::optional<DomainId> domain{};

  friend bool operator==(const XenError&, const XenError&) = default;
};

/// "map grants (domain 7): Invalid argument (22)", for logs.
[[nodiscard]] std::string to_string(const XenError& error);

}  // namespace vmsg::xen
