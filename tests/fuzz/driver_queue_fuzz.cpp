// The driver side with a device that publishes whatever it wants: the bytes decide the options,
// then a sequence of the driver's own calls and of writes to everything that a device can write.
// What must hold: each cookie comes back at most once and only if it is out, never with more bytes
// than its buffer has, free descriptors add up, an error stays.
#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "tests/fuzz/fuzz_input.hpp"
#include "transport/driver_queue.hpp"

namespace vmsg::fuzz {
namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

class Session {
 public:
  explicit Session(FuzzInput& input) : input_(input) {
    const std::uint8_t features = input.take<std::uint8_t>();
    format_ = (features & 1) != 0 ? QueueFormat::kPacked : QueueFormat::kSplit;
    size_ =
        format_ == QueueFormat::kPacked ? input.below(17) + 1 : std::uint32_t{1} << input.below(5);
    const AreaNumbers sizes = area_sizes(format_, size_);
    const std::array<std::uint64_t, 3> bytes{sizes.descriptors, sizes.driver, sizes.device};
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      memory_[i] = std::make_unique<std::byte[]>(bytes[i]);
      areas_[i] = SharedBytes::unchecked_wrap(memory_[i].get(), bytes[i]);
    }
    auto queue = DriverQueue::create({.format = format_,
                                      .size = size_,
                                      .areas = {areas_[0], areas_[1], areas_[2]},
                                      .event_idx = (features & 2) != 0,
                                      .indirect = true,
                                      .in_order = (features & 4) != 0});
    require(queue.has_value());
    queue_ = std::move(*queue);
  }

  void step() {
    switch (input_.take<std::uint8_t>() % 8) {
      case 0:
      case 1:
        return add();
      case 2:
        static_cast<void>(queue_->publish());
        return;
      case 3:
        return poll();
      case 4:
        return use();
      case 5: {
        const SharedBytes& area = areas_[input_.below(3)];
        area.store_relaxed16(
            2 * std::size_t{input_.below(static_cast<std::uint32_t>(area.size() / 2))},
            input_.take<std::uint16_t>());
        return;
      }
      case 6:
        return queue_->disable_callbacks();
      default:
        static_cast<void>(queue_->enable_callbacks());
        static_cast<void>(queue_->notification_data());
    }
  }

 private:
  struct Buffer {
    std::uint32_t capacity;
    std::uint32_t descriptors;
  };

  void add() {
    std::vector<Segment> readable(input_.below(5), Segment{GrantAddress::of(1), 7});
    std::vector<Segment> writable;
    std::uint32_t capacity = 0;
    for (std::uint32_t n = input_.below(5); n != 0; --n) {
      writable.push_back({GrantAddress::of(2), input_.below(100)});
      capacity += writable.back().length;
    }
    std::array<std::byte, 10 * vring::kDescriptorSize> table_memory{};
    const IndirectTable table{
        GrantAddress::of(3), SharedBytes::unchecked_wrap(table_memory.data(), table_memory.size())};
    const bool has_table = input_.flag();
    const AddOutcome outcome =
        queue_->add(readable, writable, next_cookie_, has_table ? &table : nullptr);
    if (outcome != AddOutcome::kAdded) return;
    const auto segments = static_cast<std::uint32_t>(readable.size() + writable.size());
    const Buffer buffer{capacity, has_table ? 1 : segments};
    out_.emplace(next_cookie_++, buffer);
    descriptors_out_ += buffer.descriptors;
    require(queue_->free_descriptors() == size_ - descriptors_out_);
  }

  /// What a device writes when it behaves, nearly.
  void use() {
    const auto id = static_cast<std::uint16_t>(input_.below(size_ + 1));
    const std::uint32_t written = input_.below(120);
    const std::uint32_t slot = input_.below(size_);
    if (format_ == QueueFormat::kSplit) {
      areas_[2].store_relaxed32(4 + 8 * std::size_t{slot}, id);
      areas_[2].store_relaxed32(4 + 8 * std::size_t{slot} + 4, written);
      areas_[2].store_release16(2, static_cast<std::uint16_t>(used_idx_ += input_.below(3)));
    } else {
      areas_[0].store_relaxed32(16 * std::size_t{slot} + 8, written);
      areas_[0].store_relaxed16(16 * std::size_t{slot} + 12, id);
      areas_[0].store_release16(16 * std::size_t{slot} + 14, input_.flag() ? 0x8082 : 0x0002);
    }
  }

  void poll() {
    const auto used = queue_->poll_used();
    if (!used) {
      const auto again = queue_->poll_used();
      require(!again.has_value() && again.error() == used.error());
      return;
    }
    if (!*used) return;
    const auto found = out_.find((*used)->cookie);
    require(found != out_.end());
    require((*used)->written <= found->second.capacity);
    descriptors_out_ -= found->second.descriptors;
    out_.erase(found);
    require(queue_->outstanding() == out_.size());
    require(queue_->free_descriptors() == size_ - descriptors_out_);
  }

  FuzzInput& input_;
  QueueFormat format_ = QueueFormat::kSplit;
  std::uint32_t size_ = 0;
  std::array<std::unique_ptr<std::byte[]>, 3> memory_;
  std::array<SharedBytes, 3> areas_;
  std::unique_ptr<DriverQueue> queue_;
  std::map<std::uint64_t, Buffer> out_;
  std::uint64_t next_cookie_ = 0;
  std::uint32_t descriptors_out_ = 0;
  std::uint32_t used_idx_ = 0;
};

}  // namespace
}  // namespace vmsg::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vmsg::fuzz::FuzzInput input(data, size);
  vmsg::fuzz::Session session(input);
  while (!input.is_empty()) session.step();
  return 0;
}
