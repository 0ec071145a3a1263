// Both sides of one queue: a TestDriver, and a DeviceQueue over mappings of the driver's areas with
// the least rights that work.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tests/support/fake_guest_memory.hpp"
#include "tests/support/test_driver.hpp"
#include "transport/device_queue.hpp"

namespace vmsg::test {

struct DeviceLimits {
  std::uint32_t max_chain_segments = 64;
  std::uint32_t max_in_flight = 0;
};

/// Maps the areas that a driver names, as a device side does.
class MappedAreas {
 public:
  MappedAreas(FakeGuestMemory& memory, QueueFormat format, std::uint32_t size,
              const AreaNumbers& addresses);
  [[nodiscard]] QueueAreas areas() const;

 private:
  std::unique_ptr<MappedRange> descriptors_;
  std::unique_ptr<MappedRange> driver_;
  std::unique_ptr<MappedRange> device_;
};

class QueuePair {
 public:
  explicit QueuePair(const RingOptions& ring, const DeviceLimits& limits = {});
  /// Abandons what is still in flight.
  ~QueuePair();
  QueuePair(const QueuePair&) = delete;
  QueuePair& operator=(const QueuePair&) = delete;

  FakeGuestMemory memory;
  TestDriver driver;

 private:
  MappedAreas mapped_;
  std::unique_ptr<DeviceQueue> device_;

 public:
  DeviceQueue& device;
  FakeCopyBatch fetch{CopyDirection::kFromGuest, memory};
  FakeCopyBatch store{CopyDirection::kToGuest, memory};

  /// A whole turn's taking: heads, tables, chains.
  Result<std::vector<Chain>, QueueError> take(std::size_t max = 1000);
  /// take() of exactly one chain, which is there.
  Chain take_one();
  /// The error that take() reports.
  QueueError take_error();

  /// The bytes that the device may read in this chain, copied out.
  std::vector<std::byte> read(const Chain& chain);
  /// Copies `data` to the beginning of what the device may write.
  void write(const Chain& chain, std::span<const std::byte> data);
};

}  // namespace vmsg::test
