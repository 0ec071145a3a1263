// A disk in memory for tests of the virtio side: remembers what it was asked for, fails on demand,
// and can hold its answers back.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "devices/blk/disk.hpp"

namespace vmsg::test {

class MemoryDisk : public blk::Disk {
 public:
  explicit MemoryDisk(std::size_t size) : bytes_(size) {
    traits_.discard.max_bytes = size;
    traits_.write_zeroes.max_bytes = size;
    traits_.secure_erase.max_bytes = size;
  }

  const blk::DiskTraits& traits() const override { return traits_; }
  std::uint64_t size() const override { return bytes_.size(); }
  blk::DiskTraits& change_traits() { return traits_; }
  std::unique_ptr<blk::DiskQueue> open_queue(const blk::DiskQueueContext& context) override {
    return std::make_unique<Queue>(*this, context.owner);
  }
  Result<void, std::string> refresh() override {
    resized();
    return {};
  }
  void resize(std::size_t size) { bytes_.resize(size); }

  [[nodiscard]] std::vector<std::byte> read(std::size_t offset, std::size_t length) const {
    const auto part = std::span(bytes_).subspan(offset, length);
    return {part.begin(), part.end()};
  }
  [[nodiscard]] const std::vector<blk::DiskIo>& log() const { return log_; }
  [[nodiscard]] std::size_t count(blk::Operation operation) const {
    return static_cast<std::size_t>(std::ranges::count(log_, operation, &blk::DiskIo::operation));
  }
  [[nodiscard]] std::size_t writes() const { return count(blk::Operation::kWrite); }
  [[nodiscard]] std::size_t flushes() const { return count(blk::Operation::kFlush); }

  /// The next operation fails with this errno value.
  void fail_next(int error) { error_ = error; }
  /// Operations stay unfinished until release(), also those that come after one, until
  /// stop_holding().
  void hold() { is_holding_ = true; }
  void stop_holding() {
    is_holding_ = false;
    release();
  }
  void release() {
    for (auto held = std::exchange(held_, {}); const auto& [owner, slot, error] : held) {
      owner->finished(slot, error);
    }
  }
  [[nodiscard]] std::size_t held() const { return held_.size(); }
  /// The next `count` submissions are refused.
  void refuse(std::size_t count) { refusals_ = count; }

 private:
  class Queue final : public blk::DiskQueue {
   public:
    Queue(MemoryDisk& disk, blk::DiskQueueOwner& owner) : disk_(disk), owner_(owner) {}
    bool submit(std::uint32_t slot, const blk::DiskIo& io) override {
      return disk_.submit(owner_, slot, io);
    }

   private:
    MemoryDisk& disk_;
    blk::DiskQueueOwner& owner_;
  };

  struct Held {
    blk::DiskQueueOwner* owner;
    std::uint32_t slot;
    int error;
  };

  bool submit(blk::DiskQueueOwner& owner, std::uint32_t slot, const blk::DiskIo& io) {
    if (refusals_ > 0) {
      --refusals_;
      return false;
    }
    log_.push_back(io);
    int error = std::exchange(error_, 0);
    // It may have become smaller since the request was judged.
    if (io.offset > bytes_.size() || io.length > bytes_.size() - io.offset) error = EIO;
    if (error == 0) apply(io);
    if (is_holding_) {
      held_.push_back({&owner, slot, error});
    } else {
      owner.finished(slot, error);
    }
    return true;
  }

  void apply(const blk::DiskIo& io) {
    const auto place = std::span(bytes_).subspan(io.offset, io.length);
    switch (io.operation) {
      case blk::Operation::kRead:
        std::ranges::copy(place, io.data.begin());
        break;
      case blk::Operation::kWrite:
        std::ranges::copy(io.data, place.begin());
        break;
      case blk::Operation::kDiscard:
      case blk::Operation::kWriteZeroes:
      case blk::Operation::kSecureErase:
        std::ranges::fill(place, std::byte{0});
        break;
      default:
        break;
    }
  }

  std::vector<std::byte> bytes_;
  blk::DiskTraits traits_;
  std::vector<blk::DiskIo> log_;
  std::vector<Held> held_;
  int error_ = 0;
  bool is_holding_ = false;
  std::size_t refusals_ = 0;
};

}  // namespace vmsg::test
