// Frames from and to one queue of a TAP interface, through the worker's io_uring: one operation a
// frame, many in one system call.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "devices/bounded_queue.hpp"
#include "devices/net/frame_io.hpp"
#include "devices/net/net_protocol.hpp"

namespace vmsg::net {

/// A frame comes as soon as a read is waiting for it; several reads are in flight under load and
/// one or two without, since each of those that wait is woken by every frame.
class TapReceiver final : public FrameReceiver {
 public:
  /// `io` and `listener` outlive it, and so does the descriptor.
  TapReceiver(int fd, IoRing& io, FrameListener& listener);

  void request(std::size_t frames) override;
  bool is_idle() const override { return outstanding_ == 0; }
  bool has_failed() const override { return has_failed_; }
  std::size_t received() const override { return received_.size(); }
  std::span<std::byte> frame(std::size_t index) override;
  void release(std::size_t count) override;
  bool has_work_in_flight() const override { return outstanding_ != 0; }
  void stop() override;

 private:
  struct Slot final : IoCompletion {
    void on_complete(std::int32_t result, bool is_last) override;
    TapReceiver* owner = nullptr;
    std::uint32_t number = 0;
    bool is_reading = false;
  };
  struct Received {
    std::uint32_t slot = 0;
    std::uint32_t size = 0;
  };

  [[nodiscard]] std::span<std::byte> memory(std::uint32_t slot);
  void read_ended(Slot& slot, std::int32_t result);

  const int fd_;
  IoRing& io_;
  FrameListener& listener_;
  std::unique_ptr<std::byte[]> bytes_;  // of all slots; not touched before it is used
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;  // the last one given back comes first: the cache has it
  BoundedQueue<Received> received_;
  std::size_t outstanding_ = 0;
  std::size_t ended_since_request_ = 0;
  bool has_failed_ = false;
};

class TapTransmitter final : public FrameTransmitter {
 public:
  TapTransmitter(int fd, IoRing& io, FrameListener& listener, std::size_t capacity);

  bool send(std::size_t slot, std::span<std::byte> bytes) override;
  void flush() override {}
  std::optional<int> result(std::size_t slot) const override { return writes_[slot].result; }
  bool has_work_in_flight() const override { return outstanding_ != 0; }
  /// Writes to a TAP do not wait.
  void stop() override {}

 private:
  struct Write final : IoCompletion {
    void on_complete(std::int32_t result, bool is_last) override;
    TapTransmitter* owner = nullptr;
    std::optional<int> result;
  };

  const int fd_;
  IoRing& io_;
  FrameListener& listener_;
  std::vector<Write> writes_;
  std::size_t outstanding_ = 0;
};

}  // namespace vmsg::net
