#include "tests/support/test_driver.hpp"

#include <algorithm>
#include <utility>

namespace vmsg::test {

std::vector<std::byte> bytes(std::size_t count, std::uint8_t first) {
  std::vector<std::byte> all(count);
  for (std::size_t i = 0; i < count; ++i) all[i] = static_cast<std::byte>(first + i);
  return all;
}

std::vector<RingOptions> all_ring_options() {
  std::vector<RingOptions> all;
  for (const auto format : {QueueFormat::kSplit, QueueFormat::kPacked}) {
    for (const bool event_idx : {false, true}) {
      for (const bool indirect : {false, true}) {
        for (const bool in_order : {false, true}) {
          all.push_back({.format = format,
                         .event_idx = event_idx,
                         .indirect = indirect,
                         .in_order = in_order});
        }
      }
    }
  }
  return all;
}

std::string name_of(const RingOptions& ring) {
  std::string name = ring.format == QueueFormat::kSplit ? "Split" : "Packed";
  if (ring.indirect) name += "Indirect";
  if (ring.event_idx) name += "EventIdx";
  if (ring.in_order) name += "InOrder";
  return name;
}

TestDriver::TestDriver(FakeGuestMemory& memory, const RingOptions& options)
    : memory_(memory), options_(options) {
  const AreaNumbers sizes = area_sizes(options.format, options.size);
  const auto allocate = [&](std::uint64_t size, std::uint64_t& address) {
    const GrantAddress at = memory.allocate(size);
    address = at.raw();
    return memory.shared(at, size);
  };
  areas_ = {.descriptors = allocate(sizes.descriptors, addresses_.descriptors),
            .driver = allocate(sizes.driver, addresses_.driver),
            .device = allocate(sizes.device, addresses_.device)};
  auto queue = DriverQueue::create({.format = options.format,
                                    .size = options.size,
                                    .areas = areas_,
                                    .event_idx = options.event_idx,
                                    .indirect = options.indirect,
                                    .in_order = options.in_order});
  VMSG_INVARIANT(queue.has_value());
  queue_ = std::move(*queue);
}

TestDriver::ChainToBe TestDriver::chain() { return ChainToBe(*this); }

std::optional<TestDriver::Used> TestDriver::poll() {
  const auto polled = queue_->poll_used();
  VMSG_INVARIANT(polled.has_value());
  if (!*polled) return std::nullopt;
  const auto request = requests_.find((*polled)->cookie);
  VMSG_INVARIANT(request != requests_.end());
  Used used{.request = request->first, .written = (*polled)->written, .data = {}};
  for (const Segment& segment : request->second.writable) {
    const auto part = memory_.bytes(segment.address, segment.length);
    used.data.insert(used.data.end(), part.begin(), part.end());
  }
  release(request->second);
  requests_.erase(request);
  return used;
}

std::vector<TestDriver::Used> TestDriver::poll_all() {
  std::vector<Used> all;
  while (auto used = poll()) all.push_back(std::move(*used));
  return all;
}

void TestDriver::release(const Request& request) {
  for (const Segment& segment : request.readable) memory_.release(segment.address, segment.length);
  for (const Segment& segment : request.writable) memory_.release(segment.address, segment.length);
  if (request.table) memory_.release(request.table->address, request.table->length);
}

void TestDriver::descriptor(std::uint32_t index, const std::function<void(Descriptor&)>& change) {
  if (options_.format == QueueFormat::kSplit) {
    Descriptor descriptor = load_split(areas_.descriptors, index);
    change(descriptor);
    store_words(areas_.descriptors, index, descriptor.address, descriptor.split_word1());
  } else {
    Descriptor descriptor = load_packed(areas_.descriptors, index);
    change(descriptor);
    store_words(areas_.descriptors, index, descriptor.address, descriptor.packed_word1());
  }
}

void TestDriver::table_entry(std::uint64_t request, std::uint32_t index,
                             const std::function<void(Descriptor&)>& change) {
  const Segment table = table_of(request);
  const SharedBytes shared = memory_.shared(table.address, table.length);
  const auto word0 = shared.load<std::uint64_t>(std::size_t{index} * 16);
  const auto word1 = shared.load<std::uint64_t>(std::size_t{index} * 16 + 8);
  if (options_.format == QueueFormat::kSplit) {
    Descriptor entry = Descriptor::split(word0, word1);
    change(entry);
    store_table_words(shared, index, entry.address, entry.split_word1());
  } else {
    Descriptor entry = Descriptor::packed(word0, word1);
    change(entry);
    store_table_words(shared, index, entry.address, entry.packed_word1());
  }
}

Segment TestDriver::table_of(std::uint64_t request) const {
  return requests_.at(request).table.value();
}

const std::vector<Segment>& TestDriver::readable_of(std::uint64_t request) const {
  return requests_.at(request).readable;
}

const std::vector<Segment>& TestDriver::writable_of(std::uint64_t request) const {
  return requests_.at(request).writable;
}

TestDriver::ChainToBe&& TestDriver::ChainToBe::readable(std::span<const std::byte> data) && {
  FakeGuestMemory& memory = driver_.memory_;
  const GrantAddress address = memory.allocate_at(offset_, data.size(), PageGrant::kReadOnly);
  std::ranges::copy(data, memory.bytes(address, data.size()).begin());
  request_.readable.push_back({address, static_cast<std::uint32_t>(data.size())});
  offset_ = 0;
  return std::move(*this);
}

TestDriver::ChainToBe&& TestDriver::ChainToBe::writable(std::size_t count) && {
  const GrantAddress address = driver_.memory_.allocate_at(offset_, count, PageGrant::kReadWrite);
  request_.writable.push_back({address, static_cast<std::uint32_t>(count)});
  offset_ = 0;
  return std::move(*this);
}

TestDriver::ChainToBe&& TestDriver::ChainToBe::readable_at(const Segment& segment) && {
  request_.readable.push_back(segment);
  return std::move(*this);
}

TestDriver::ChainToBe&& TestDriver::ChainToBe::readable_times(std::size_t times,
                                                              const Segment& segment) && {
  request_.readable.insert(request_.readable.end(), times, segment);
  return std::move(*this);
}

TestDriver::ChainToBe&& TestDriver::ChainToBe::writable_at(const Segment& segment) && {
  request_.writable.push_back(segment);
  return std::move(*this);
}

TestDriver::ChainToBe&& TestDriver::ChainToBe::at_offset(std::uint32_t offset) && {
  offset_ = offset;
  return std::move(*this);
}

TestDriver::ChainToBe&& TestDriver::ChainToBe::indirect(std::uint32_t offset) && {
  table_offset_ = offset;
  return std::move(*this);
}

AddOutcome TestDriver::ChainToBe::try_add() && {
  FakeGuestMemory& memory = driver_.memory_;
  std::optional<IndirectTable> table;
  if (table_offset_) {
    const std::size_t size = (request_.readable.size() + request_.writable.size()) * 16;
    const GrantAddress address = memory.allocate_at(*table_offset_, size, PageGrant::kReadOnly);
    table = IndirectTable{address, memory.shared(address, size)};
    request_.table = Segment{address, static_cast<std::uint32_t>(size)};
  }
  const AddOutcome outcome = driver_.queue_->add(request_.readable, request_.writable,
                                                 driver_.next_request_, table ? &*table : nullptr);
  if (outcome == AddOutcome::kAdded) {
    driver_.requests_.emplace(driver_.next_request_++, std::move(request_));
  } else {
    driver_.release(request_);
  }
  return outcome;
}

std::uint64_t TestDriver::ChainToBe::add() && {
  const AddOutcome outcome = std::move(*this).try_add();
  VMSG_INVARIANT(outcome == AddOutcome::kAdded);
  return driver_.next_request_ - 1;
}

bool TestDriver::ChainToBe::publish() && {
  static_cast<void>(std::move(*this).add());
  return driver_.queue_->publish();
}

}  // namespace vmsg::test
