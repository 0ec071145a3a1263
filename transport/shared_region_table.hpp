// The shared regions of one bus: which exist, which are coming or going, and whose answers are
// due. It judges requests by their form and by the limits; mapping is the host's.
//
// An entry lives from the request that creates it until the response that ends it is sent.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "transport/bus_host.hpp"
#include "transport/message.hpp"

namespace vmsg {

struct RegionLimits {
  std::uint32_t max_regions = 0;
  std::uint64_t max_pages = 0;  // of all regions together
};

/// A response to SHARE_REGION or UNSHARE_REGION that can be sent.
struct RegionReply {
  std::uint32_t region = 0;
  std::uint32_t status = 0;
  MessageAddress to;
  bool is_unshare = false;
};

class SharedRegionTable {
 public:
  SharedRegionTable(BusHost& host, const RegionLimits& limits);

  /// The reply, or nullopt when the host answers later.
  [[nodiscard]] std::optional<RegionReply> share(MessageAddress from,
                                                 const ShareRegionRequest& request);
  [[nodiscard]] std::optional<RegionReply> unshare(MessageAddress from,
                                                   const UnshareRegionRequest& request);

  /// The host is done; the reply is now due. Nothing for regions that wait for nothing.
  void shared(std::uint32_t region, RegionAnswer answer);
  void unshared(std::uint32_t region);

  /// One reply that is due, in no particular order; take_due() forgets it.
  [[nodiscard]] bool has_due() const { return due_ > 0; }
  [[nodiscard]] RegionReply take_due();

  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  enum class State : std::uint8_t { kSharing, kShared, kUnsharing };
  struct Entry {
    std::uint32_t region = 0;
    std::uint32_t pages = 0;
    std::uint64_t address = 0;
    State state = State::kSharing;
    bool is_due = false;
    std::uint32_t status = 0;  // of the reply that is due
    MessageAddress to;
  };

  [[nodiscard]] Entry* find(std::uint32_t region);
  void erase(Entry& entry);

  BusHost& host_;
  RegionLimits limits_;
  std::vector<Entry> entries_;  // reserved once for max_regions
  std::uint64_t pages_ = 0;
  std::size_t due_ = 0;
};

}  // namespace vmsg
