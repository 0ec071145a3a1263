// A driver with one queue in fake guest memory, so that tests read like the protocol:
//
//   driver.chain().readable(header).writable(512).writable(1).publish();
//
// Built on DriverQueue. What a driver may not do is done by descriptor() and the area accessors:
// start from a valid chain, break one field.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tests/support/fake_guest_memory.hpp"
#include "transport/driver_queue.hpp"
#include "transport/ring_words.hpp"

namespace vmsg::test {

/// `count` bytes that are easy to tell apart: first, first + 1, ...
std::vector<std::byte> bytes(std::size_t count, std::uint8_t first = 1);

struct RingOptions {
  QueueFormat format = QueueFormat::kSplit;
  std::uint32_t size = 8;
  bool event_idx = false;
  bool indirect = false;
  bool in_order = false;
};

/// Every combination of format and features, for parametrised tests, and what each is called.
std::vector<RingOptions> all_ring_options();
std::string name_of(const RingOptions& ring);

class TestDriver {
 public:
  class ChainToBe;

  /// A buffer that came back.
  struct Used {
    std::uint64_t request = 0;
    std::uint32_t written = 0;
    std::vector<std::byte> data;  // all writable bytes, written or not

    friend bool operator==(const Used&, const Used&) = default;
  };

  TestDriver(FakeGuestMemory& memory, const RingOptions& options);

  /// Begins a chain. Requests are numbered from 0 in the order of their add() or publish().
  ChainToBe chain();

  [[nodiscard]] DriverQueue& queue() { return *queue_; }
  [[nodiscard]] const RingOptions& options() const { return options_; }
  [[nodiscard]] const AreaNumbers& addresses() const { return addresses_; }
  /// The guest's own view of the areas.
  [[nodiscard]] const QueueAreas& areas() const { return areas_; }

  /// The next used buffer; its grants are taken back. Ends the test program on a queue error.
  std::optional<Used> poll();
  /// All of them.
  std::vector<Used> poll_all();

  // Breaking things.

  /// Changes one descriptor of the ring, or of an indirect table: reads, calls, writes back.
  void descriptor(std::uint32_t index, const std::function<void(Descriptor&)>& change);
  void table_entry(std::uint64_t request, std::uint32_t index,
                   const std::function<void(Descriptor&)>& change);
  /// Where the indirect table of a request lies.
  [[nodiscard]] Segment table_of(std::uint64_t request) const;
  [[nodiscard]] const std::vector<Segment>& readable_of(std::uint64_t request) const;
  [[nodiscard]] const std::vector<Segment>& writable_of(std::uint64_t request) const;

 private:
  struct Request {
    std::vector<Segment> readable;
    std::vector<Segment> writable;
    std::optional<Segment> table;
  };
  void release(const Request& request);

  FakeGuestMemory& memory_;
  RingOptions options_;
  AreaNumbers addresses_;
  QueueAreas areas_;
  std::unique_ptr<DriverQueue> queue_;
  std::map<std::uint64_t, Request> requests_;
  std::uint64_t next_request_ = 0;
};

class TestDriver::ChainToBe {
 public:
  explicit ChainToBe(TestDriver& driver) : driver_(driver) {}

  /// A buffer of its own page or pages, granted read-only as Linux does.
  ChainToBe&& readable(std::span<const std::byte> data) &&;
  ChainToBe&& readable(std::size_t count) && { return std::move(*this).readable(bytes(count)); }
  ChainToBe&& writable(std::size_t count) &&;
  /// Memory that the test has chosen itself.
  ChainToBe&& readable_at(const Segment& segment) &&;
  ChainToBe&& readable_times(std::size_t times, const Segment& segment) &&;
  ChainToBe&& writable_at(const Segment& segment) &&;
  /// The next buffer begins here in its first page.
  ChainToBe&& at_offset(std::uint32_t offset) &&;
  /// Put the descriptors into a table. It begins `offset` bytes into a page.
  ChainToBe&& indirect(std::uint32_t offset = 0) &&;

  AddOutcome try_add() &&;
  /// Adds and returns the request's number.
  std::uint64_t add() &&;
  /// Adds, publishes, and says whether the device wants a notification.
  bool publish() &&;

 private:
  TestDriver& driver_;
  Request request_;
  std::uint32_t offset_ = 0;
  std::optional<std::uint32_t> table_offset_;
};

}  // namespace vmsg::test
