#include "transport/queue_error.hpp"

namespace vmsg {

std::string_view name(QueueFault fault) {
  switch (fault) {
    case QueueFault::kBadSize:
      return "BadSize";
    case QueueFault::kAreaTooSmall:
      return "AreaTooSmall";
    case QueueFault::kMisaligned:
      return "Misaligned";
    case QueueFault::kBadLimit:
      return "BadLimit";
    case QueueFault::kIndexRunaway:
      return "IndexRunaway";
    case QueueFault::kBadIndex:
      return "BadIndex";
    case QueueFault::kIdInFlight:
      return "IdInFlight";
    case QueueFault::kChainLoop:
      return "ChainLoop";
    case QueueFault::kChainTooLong:
      return "ChainTooLong";
    case QueueFault::kTooManyInFlight:
      return "TooManyInFlight";
    case QueueFault::kUnknownFlags:
      return "UnknownFlags";
    case QueueFault::kIndirectOff:
      return "IndirectOff";
    case QueueFault::kIndirectAndNext:
      return "IndirectAndNext";
    case QueueFault::kNestedIndirect:
      return "NestedIndirect";
    case QueueFault::kBadTableLength:
      return "BadTableLength";
    case QueueFault::kTableUnreadable:
      return "TableUnreadable";
    case QueueFault::kReadAfterWrite:
      return "ReadAfterWrite";
    case QueueFault::kTotalLength:
      return "TotalLength";
    case QueueFault::kBadAddress:
      return "BadAddress";
    case QueueFault::kRangeEnd:
      return "RangeEnd";
    case QueueFault::kNotAvailable:
      return "NotAvailable";
    case QueueFault::kOutOfOrder:
      return "OutOfOrder";
    case QueueFault::kUsedRunaway:
      return "UsedRunaway";
    case QueueFault::kUsedUnknownId:
      return "UsedUnknownId";
    case QueueFault::kUsedLength:
      return "UsedLength";
    case QueueFault::kUsedOrder:
      return "UsedOrder";
    case QueueFault::kAbandoned:
      return "Abandoned";
  }
  return "?";
}

}  // namespace vmsg
