#include "tests/support/queue_pair.hpp"

#include <iterator>
#include <utility>

namespace vmsg::test {
namespace {

std::unique_ptr<MappedRange> map(FakeGuestMemory& memory, std::uint64_t address,
                                 std::uint64_t bytes, Access access) {
  const auto at = GrantAddress::parse(address);
  VMSG_INVARIANT(at.has_value());
  auto mapped = memory.map(*at, bytes, access);
  VMSG_INVARIANT(mapped.has_value());
  return std::move(*mapped);
}

std::unique_ptr<DeviceQueue> create(const QueueAreas& areas, const RingOptions& ring,
                                    const DeviceLimits& limits) {
  auto queue = DeviceQueue::create({.format = ring.format,
                                    .size = ring.size,
                                    .areas = areas,
                                    .event_idx = ring.event_idx,
                                    .indirect = ring.indirect,
                                    .in_order = ring.in_order,
                                    .max_chain_segments = limits.max_chain_segments,
                                    .max_in_flight = limits.max_in_flight});
  VMSG_INVARIANT(queue.has_value());
  return std::move(*queue);
}

}  // namespace

MappedAreas::MappedAreas(FakeGuestMemory& memory, QueueFormat format, std::uint32_t size,
                         const AreaNumbers& addresses) {
  const AreaNumbers sizes = area_sizes(format, size);
  const Access descriptors =
      format == QueueFormat::kPacked ? Access::kReadWrite : Access::kReadOnly;
  descriptors_ = map(memory, addresses.descriptors, sizes.descriptors, descriptors);
  driver_ = map(memory, addresses.driver, sizes.driver, Access::kReadOnly);
  device_ = map(memory, addresses.device, sizes.device, Access::kReadWrite);
}

QueueAreas MappedAreas::areas() const {
  return {descriptors_->bytes(), driver_->bytes(), device_->bytes()};
}

QueuePair::QueuePair(const RingOptions& ring, const DeviceLimits& limits)
    : driver(memory, ring),
      mapped_(memory, ring.format, ring.size, driver.addresses()),
      device_(create(mapped_.areas(), ring, limits)),
      device(*device_) {}

QueuePair::~QueuePair() { device.abandon(); }

Result<std::vector<Chain>, QueueError> QueuePair::take(std::size_t max) {
  const auto count = device.take_heads(fetch, GuestRef{}, max);
  if (!count) return std::unexpected(count.error());
  fetch.run();
  const auto chains = device.finish_take();
  if (!chains) return std::unexpected(chains.error());
  VMSG_INVARIANT(chains->size() == *count);
  return std::vector<Chain>(std::make_move_iterator(chains->begin()),
                            std::make_move_iterator(chains->end()));
}

Chain QueuePair::take_one() {
  auto chains = take(1);
  VMSG_INVARIANT(chains.has_value() && chains->size() == 1);
  return std::move(chains->front());
}

QueueError QueuePair::take_error() {
  auto chains = take();
  VMSG_INVARIANT(!chains.has_value());
  return chains.error();
}

std::vector<std::byte> QueuePair::read(const Chain& chain) {
  std::vector<std::byte> data(chain.readable_length());
  CopyOutcome outcome = CopyOutcome::kOk;
  add_copies(fetch, GuestRef{}, chain.readable(), 0, data, outcome);
  fetch.run();
  VMSG_INVARIANT(outcome == CopyOutcome::kOk);
  return data;
}

void QueuePair::write(const Chain& chain, std::span<const std::byte> data) {
  std::vector<std::byte> local(data.begin(), data.end());
  CopyOutcome outcome = CopyOutcome::kOk;
  add_copies(store, GuestRef{}, chain.writable(), 0, local, outcome);
  store.run();
  VMSG_INVARIANT(outcome == CopyOutcome::kOk);
}

}  // namespace vmsg::test
