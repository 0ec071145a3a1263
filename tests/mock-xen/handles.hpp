// The open handles of all client processes, as the broker knows them.
#pragma once

#include <cstdint>
#include <map>

#include "tests/mock-xen/event_queue.hpp"
#include "tests/mock-xen/protocol.hpp"
#include "tests/mock-xen/segment.hpp"
#include "tests/mock-xen/unique_fd.hpp"

namespace vmsg::mock {

struct Handle {
  static constexpr std::uint32_t kUnrestricted = 0xffffffff;

  std::uint32_t id = 0;
  std::uint32_t slot = 0;  ///< in Segment::handles
  Service service = Service::kEvtchn;
  std::uint16_t domid = 0;
  std::uint32_t pid = 0;
  /// Event channels: the two descriptors of the event queue. The pipe of numbers never blocks, and
  /// is open for reading too, so that a writer never meets a pipe without readers.
  UniqueFd numbers;
  UniqueFd bell;
  std::uint32_t restricted_to = kUnrestricted;
  /// Closed by the program while mappings made with it were alive: the kernel keeps those.
  bool closed = false;
};

class Handles {
 public:
  explicit Handles(Segment& segment) : segment_(segment) {}

  /// Null when all slots are taken.
  Handle* create(Service service, std::uint16_t domid, std::uint32_t pid) {
    if (handles_.size() == kMaxHandles) return nullptr;
    while (next_id_ == 0 || handles_.contains(next_id_)) next_id_ = (next_id_ + 1) & kIdMask;
    while (taken_[next_slot_]) next_slot_ = (next_slot_ + 1) % kMaxHandles;
    Handle& handle = handles_[next_id_];
    handle.id = next_id_;
    handle.slot = next_slot_;
    handle.service = service;
    handle.domid = domid;
    handle.pid = pid;
    segment_.handles[next_slot_].bell.store(quiet_bell(next_id_), std::memory_order_release);
    taken_[next_slot_] = true;
    next_id_ = (next_id_ + 1) & kIdMask;
    next_slot_ = (next_slot_ + 1) % kMaxHandles;
    return &handle;
  }

  Handle* find(std::uint32_t id) {
    const auto at = handles_.find(id);
    return at == handles_.end() ? nullptr : &at->second;
  }

  void destroy(std::uint32_t id) {
    const auto at = handles_.find(id);
    if (at == handles_.end()) return;
    HandleSlot& slot = segment_.handles[at->second.slot];
    for (auto& hazard : slot.hazards) hazard.store(0, std::memory_order_release);
    slot.notifying.store(0, std::memory_order_release);
    slot.bell.store(0, std::memory_order_release);
    taken_[at->second.slot] = false;
    handles_.erase(at);
  }

  const std::map<std::uint32_t, Handle>& all() const { return handles_; }

 private:
  static constexpr std::uint32_t kIdMask = Port::kMaxHandleId;

  Segment& segment_;
  std::map<std::uint32_t, Handle> handles_;
  std::array<bool, kMaxHandles> taken_{};
  std::uint32_t next_id_ = 1;
  std::uint32_t next_slot_ = 0;
};

}  // namespace vmsg::mock
