#include "xenbus-glue/xen_types.hpp"

#include <fmt/format.h>

#include <string_view>
#include <system_error>

namespace vmsg::xen {
namespace {

std::string_view name(XenCall call) {
  switch (call) {
    case XenCall::kEvtchnOpen:
      return "open event channels";
    case XenCall::kEvtchnBindInterdomain:
      return "bind an event channel";
    case XenCall::kEvtchnAllocUnbound:
      return "allocate an event channel";
    case XenCall::kEvtchnUnbind:
      return "unbind an event channel";
    case XenCall::kEvtchnNotify:
      return "notify an event channel";
    case XenCall::kEvtchnPending:
      return "read pending event channels";
    case XenCall::kEvtchnUnmask:
      return "unmask an event channel";
    case XenCall::kEvtchnPoll:
      return "poll event channels";
    case XenCall::kGnttabOpen:
      return "open grant mapping";
    case XenCall::kGnttabMap:
      return "map grants";
    case XenCall::kGnttabUnmap:
      return "unmap grants";
    case XenCall::kGnttabCopy:
      return "copy grants";
    case XenCall::kGntshrOpen:
      return "open grant sharing";
    case XenCall::kGntshrShare:
      return "share pages";
    case XenCall::kGntshrUnshare:
      return "unshare pages";
    case XenCall::kStoreOpen:
      return "connect to xenstore";
    case XenCall::kStoreRead:
      return "read a xenstore node";
    case XenCall::kStoreWrite:
      return "write a xenstore node";
    case XenCall::kStoreRemove:
      return "remove a xenstore node";
    case XenCall::kStoreMkdir:
      return "create a xenstore directory";
    case XenCall::kStoreList:
      return "list a xenstore directory";
    case XenCall::kStoreGetPermissions:
      return "read xenstore permissions";
    case XenCall::kStoreSetPermissions:
      return "set xenstore permissions";
    case XenCall::kStoreTransactionStart:
      return "start a xenstore transaction";
    case XenCall::kStoreTransactionEnd:
      return "end a xenstore transaction";
    case XenCall::kStoreWatch:
      return "set a xenstore watch";
    case XenCall::kStoreUnwatch:
      return "unset a xenstore watch";
    case XenCall::kStoreReadWatch:
      return "read xenstore watch events";
    case XenCall::kStoreIsIntroduced:
      return "ask xenstore for a domain";
  }
  return "call Xen";
}

}  // namespace

std::string to_string(const XenError& error) {
  const std::string what = std::generic_category().message(error.error);
  if (error.domain) {
    return fmt::format("{} (domain {}): {} ({})", name(error.call), *error.domain, what,
                       error.error);
  }
  return fmt::format("{}: {} ({})", name(error.call), what, error.error);
}

}  // namespace vmsg::xen
