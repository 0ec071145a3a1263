// One port between a guest and the host: what the guest has said and the host has not taken yet,
// and the other way round. It moves bytes between its buffers and its HostStream through the
// worker's io_uring, and knows no queues.
//
// The guest's output is copied into a bounded buffer. While somebody takes it, a full buffer makes
// the guest wait and nothing is lost; while nobody does, the oldest bytes give way to the newest,
// and whoever comes later sees those. Input is read only when the guest has room for it: the rest
// waits where the writer notices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "devices/console/byte_ring.hpp"
#include "devices/console/console_counters.hpp"
#include "devices/console/host_stream.hpp"
#include "devices/console/io_operation.hpp"
#include "devices/queue_service.hpp"

namespace vmsg::console {

class ConsolePort final : private StreamListener {
 public:
  struct Settings {
    std::string name;
    bool is_console = false;
    std::size_t backlog = 65536;
    Nanoseconds patience = 0;  // with a listener that takes nothing; 0 for ever
  };

  /// `counters` outlives the port.
  ConsolePort(std::unique_ptr<HostStream> stream, Settings settings, ConsoleCounters& counters);
  ~ConsolePort() override;

  [[nodiscard]] const Settings& settings() const { return settings_; }
  [[nodiscard]] HostStream& stream() { return *stream_; }
  [[nodiscard]] const HostStream& stream() const { return *stream_; }

  /// Whom to wake when there is something to do for the queue; null while it is not served.
  void set_receive_waker(QueueWaker* waker) { receive_waker_ = waker; }
  void set_transmit_waker(QueueWaker* waker) { transmit_waker_ = waker; }
  void wake();

  /// A turn: moves what can be moved.
  void pump(IoRing& io, Nanoseconds now);
  [[nodiscard]] std::optional<Nanoseconds> wants_turn_at() const;

  /// The last turn for now: what the host takes without waiting is still handed over, everything
  /// else ends. It is over when has_operations() is false.
  void drain(IoRing& io);
  [[nodiscard]] bool has_operations() const;

  // Output.

  [[nodiscard]] ByteRing& output() { return output_; }
  /// Whether the guest has to wait rather than lose something.
  [[nodiscard]] bool takes_output() const { return stream_->takes_output() && !is_stalled_; }
  /// How many of `wanted` bytes can be reserved behind `planned` ones that are reserved already.
  /// Drops the oldest bytes for them while nobody takes any.
  [[nodiscard]] std::size_t make_room(std::size_t planned, std::size_t wanted);
  /// Whether make_room() would find some.
  [[nodiscard]] bool has_room() const;
  void count_dropped(std::uint64_t bytes) { counters_.dropped_output.add(bytes); }
  /// The guest waits for room.
  void note_waiting(Nanoseconds now);
  /// Without a worker: hands over what can be handed over at once.
  void flush(bool may_wait);

  // Input.

  /// How many bytes the guest has room for; 0 while it does not want any.
  void set_wanted(std::size_t bytes) { wanted_ = bytes; }
  [[nodiscard]] std::span<std::byte> input() {
    return std::span(input_).subspan(input_begin_, input_end_ - input_begin_);
  }
  void consume_input(std::size_t count) { input_begin_ += count; }

 private:
  void stream_changed() override;
  void go_on_draining();
  void pump_output(IoRing& io);
  void pump_input(IoRing& io);
  [[nodiscard]] bool uses_descriptor() const;
  void leave_stream(IoRing& io, Nanoseconds now);
  void on_written(std::int32_t result);
  void on_writable(std::int32_t result);
  void on_read(std::int32_t result);
  void on_readable(std::int32_t result);

  const Settings settings_;
  IoRing* drains_on_ = nullptr;  // while it drains
  ConsoleCounters& counters_;
  std::unique_ptr<HostStream> stream_;
  QueueWaker* receive_waker_ = nullptr;
  QueueWaker* transmit_waker_ = nullptr;

  ByteRing output_;
  bool write_must_wait_ = false;
  bool is_stalled_ = false;  // who listens has taken nothing for too long
  std::optional<Nanoseconds> waits_since_;

  std::vector<std::byte> input_;
  std::size_t input_begin_ = 0;
  std::size_t input_end_ = 0;
  std::size_t wanted_ = 0;
  bool read_must_wait_ = false;

  IoOperation<ConsolePort> write_{*this, &ConsolePort::on_written};
  IoOperation<ConsolePort> writable_{*this, &ConsolePort::on_writable};
  IoOperation<ConsolePort> read_{*this, &ConsolePort::on_read};
  IoOperation<ConsolePort> readable_{*this, &ConsolePort::on_readable};
};

}  // namespace vmsg::console
