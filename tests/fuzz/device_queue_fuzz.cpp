#include "tests/fuzz/device_queue_fuzz.hpp"

#include <array>
#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include "tests/fuzz/fuzz_input.hpp"
#include "tests/support/fake_guest_memory.hpp"
#include "transport/device_queue.hpp"
#include "transport/ring_words.hpp"

namespace vmsg::fuzz {
namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

/// An area of exactly its size on the heap, so that a sanitizer sees the first byte too many.
class Area {
 public:
  explicit Area(std::uint64_t size)
      : words_(std::make_unique<std::byte[]>(size)),
        bytes_(SharedBytes::unchecked_wrap(words_.get(), size)) {}
  [[nodiscard]] const SharedBytes& bytes() const { return bytes_; }

 private:
  std::unique_ptr<std::byte[]> words_;  // new aligns to 16
  SharedBytes bytes_;
};

// A new queue is the most expensive step, and more of them in one input find nothing new: what a
// queue costs is its segments and tables, written once when it is made.
constexpr std::uint32_t kMaxSegments = 24;
constexpr std::uint32_t kMaxQueues = 4;

class Session {
 public:
  Session(QueueFormat format, FuzzInput& input) : input_(input), format_(format) {
    const std::uint32_t size = input.below(6);
    size_ = format == QueueFormat::kPacked ? input.below(33) + 1 : std::uint32_t{1} << size;
    const AreaNumbers sizes = area_sizes(format, size_);
    descriptors_.emplace(sizes.descriptors);
    driver_.emplace(sizes.driver);
    device_.emplace(sizes.device);
    table_ = memory_.allocate(2 * kGrantPageSize);
    create();
  }
  ~Session() { queue_->abandon(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void step() {
    switch (input_.take<std::uint8_t>() % 12) {
      case 0:
      case 1:
        return write_descriptor(input_.below(size_));
      case 2:
        return write_raw();
      case 3:
      case 4:
        return write_table_entry();
      case 5:
      case 6:
        return offer();
      case 7:
        return take();
      case 8:
        return complete();
      case 9:
        return publish();
      case 10:
        return ask();
      default:
        return start_again();
    }
  }

 private:
  void create() {
    const std::uint8_t features = input_.take<std::uint8_t>();
    max_segments_ = input_.below(kMaxSegments) + 1;
    max_in_flight_ = input_.below(size_) + 1;
    auto queue =
        DeviceQueue::create({.format = format_,
                             .size = size_,
                             .areas = {descriptors_->bytes(), driver_->bytes(), device_->bytes()},
                             .event_idx = (features & 1) != 0,
                             .indirect = (features & 2) != 0,
                             .in_order = (features & 4) != 0,
                             .max_chain_segments = max_segments_,
                             .max_in_flight = max_in_flight_});
    require(queue.has_value());
    queue_ = std::move(*queue);
    next_avail_ = 0;
    slot_ = 0;
    wrap_ = true;
  }

  std::uint64_t address() {
    switch (input_.take<std::uint8_t>() % 4) {
      case 0:
        return input_.take<std::uint64_t>();
      case 1:
        return GrantAddress::of(0xffffffffU - input_.below(2), input_.below(4096)).raw();
      default:
        return GrantAddress::of(table_.reference() + input_.below(3), input_.below(4096)).raw();
    }
  }
  std::uint32_t length() {
    if (input_.take<std::uint8_t>() % 8 == 0) return input_.take<std::uint32_t>();
    return input_.below(40) * (input_.flag() ? 16 : 1);
  }
  std::uint16_t flags() {
    if (input_.take<std::uint8_t>() % 8 == 0) return input_.take<std::uint16_t>();
    return input_.take<std::uint8_t>() & 7;
  }

  void write_descriptor(std::uint32_t index) {
    Descriptor descriptor{address(), length(), flags(),
                          static_cast<std::uint16_t>(input_.below(size_ + 1))};
    if (format_ == QueueFormat::kPacked) {
      descriptor.flags |= packed_avail_bits(wrap_ != input_.flag());
      store_words(descriptors_->bytes(), index, descriptor.address, descriptor.packed_word1());
    } else {
      store_words(descriptors_->bytes(), index, descriptor.address, descriptor.split_word1());
    }
  }

  void write_raw() {
    const std::array<const Area*, 3> areas{&*descriptors_, &*driver_, &*device_};
    const Area* const area = areas[input_.below(3)];
    const std::size_t offset = input_.below(static_cast<std::uint32_t>(area->bytes().size() / 2));
    area->bytes().store_relaxed16(2 * offset, input_.take<std::uint16_t>());
  }

  void write_table_entry() {
    const std::uint32_t index = input_.below(40);
    const Descriptor entry{address(), length(), flags(),
                           static_cast<std::uint16_t>(input_.below(40))};
    store_table_words(memory_.shared(table_, 2 * std::size_t{kGrantPageSize}), index, entry.address,
                      format_ == QueueFormat::kPacked ? entry.packed_word1() : entry.split_word1());
  }

  /// Makes something available as a driver would, so that the interesting states are not rare.
  void offer() {
    if (format_ == QueueFormat::kSplit) {
      const auto head = static_cast<std::uint16_t>(input_.below(size_));
      driver_->bytes().store_relaxed16(
          vring::kRingEntries + 2 * std::size_t{next_avail_ & (size_ - 1)}, head);
      ++next_avail_;
      driver_->bytes().store_release16(vring::kRingIdx, next_avail_);
      return;
    }
    write_descriptor(slot_);
    const Descriptor last = load_packed(descriptors_->bytes(), slot_);
    descriptors_->bytes().store_release16(
        packed_flags_at(slot_),
        static_cast<std::uint16_t>((last.flags & 7U) | packed_avail_bits(wrap_)));
    if (++slot_ == size_) {
      slot_ = 0;
      wrap_ = !wrap_;
    }
  }

  void take() {
    const std::size_t max = input_.below(40);
    const auto count = queue_->take_heads(fetch_, GuestRef{}, max);
    if (input_.flag()) write_table_entry();
    fetch_.run();
    if (input_.flag()) write_table_entry();
    const auto chains = queue_->finish_take();
    if (!count) {
      require(!chains.has_value() && chains.error() == count.error());
      require(!queue_->take_heads(fetch_, GuestRef{}, 1).has_value());
      return;
    }
    require(*count <= max);
    if (!chains) return;
    require(chains->size() == *count);
    for (Chain& chain : *chains) {
      check(chain);
      held_.push_back(std::move(chain));
    }
    require(queue_->in_flight() <= max_in_flight_);
    require(queue_->outstanding() == held_.size());
  }

  void check(const Chain& chain) const {
    const auto sum = [](std::span<const Segment> segments) {
      std::uint64_t total = 0;
      for (const Segment& segment : segments) {
        require(segment.length != 0 && segment.address.holds(segment.length));
        require(GrantAddress::parse(segment.address.raw()).has_value());
        total += segment.length;
      }
      return total;
    };
    require(sum(chain.readable()) == chain.readable_length());
    require(sum(chain.writable()) == chain.writable_length());
    require(std::uint64_t{chain.readable_length()} + chain.writable_length() <= 0xffffffffU);
    require(chain.readable().size() + chain.writable().size() <= max_segments_);
    require(chain.head() < size_);
    for (const Chain& other : held_) require(other.head() != chain.head());
  }

  void complete() {
    if (held_.empty()) return;
    const std::size_t which = input_.below(static_cast<std::uint32_t>(held_.size()));
    Chain chain = std::move(held_[which]);
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(which));
    const std::uint32_t written = static_cast<std::uint32_t>(
        input_.take<std::uint32_t>() % (std::uint64_t{chain.writable_length()} + 1));
    queue_->complete(std::move(chain), written);
  }

  void publish() {
    static_cast<void>(queue_->publish());
    require(queue_->in_flight() >= held_.size());
  }

  void ask() {
    if (input_.flag()) {
      queue_->disable_notifications();
    } else {
      static_cast<void>(queue_->enable_notifications());
    }
  }

  void start_again() {
    if (++queues_made_ > kMaxQueues) return;
    if (input_.flag()) {
      queue_->abandon();
      require(queue_->in_flight() == 0);
      require(queue_->outstanding() == held_.size());
      for (Chain& chain : held_) queue_->complete(std::move(chain), 0);
    } else {
      queue_->abandon();
    }
    held_.clear();
    require(queue_->outstanding() == 0);
    create();
  }

  FuzzInput& input_;
  QueueFormat format_;
  std::uint32_t size_ = 0;
  std::uint32_t max_segments_ = 0;
  std::uint32_t max_in_flight_ = 0;
  std::optional<Area> descriptors_;
  std::optional<Area> driver_;
  std::optional<Area> device_;
  test::FakeGuestMemory memory_{{.first_reference = 8, .pages = 4}};
  test::FakeCopyBatch fetch_{CopyDirection::kFromGuest, memory_};
  GrantAddress table_ = GrantAddress::of(0);
  std::unique_ptr<DeviceQueue> queue_;
  std::vector<Chain> held_;  // after the queue: gone before it
  std::uint32_t queues_made_ = 1;
  std::uint16_t next_avail_ = 0;
  std::uint32_t slot_ = 0;
  bool wrap_ = true;
};

}  // namespace

void run_device_queue(QueueFormat format, const std::uint8_t* data, std::size_t size) {
  FuzzInput input(data, size);
  Session session(format, input);
  while (!input.is_empty()) session.step();
}

}  // namespace vmsg::fuzz
