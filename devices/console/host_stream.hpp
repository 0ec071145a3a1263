// Where the bytes of a port go to on the host and come from: a terminal, a socket or a file. It
// knows no guest and no queue.
//
// All members are called by whoever is in charge of the port's I/O at the time: the worker that
// serves the device's queues or, while there is none, the control thread (flush() alone).
#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "devices/console/console_options.hpp"
#include "devices/device_counters.hpp"
#include "devices/io_ring.hpp"
#include "transport/result.hpp"

namespace vmsg::console {

/// A moment of the worker's monotonic clock, in nanoseconds.
using Nanoseconds = std::uint64_t;
inline constexpr Nanoseconds kSecond = 1'000'000'000;

/// Whom a stream tells that something changed: it wants a pump().
class StreamListener {
 public:
  StreamListener() = default;
  StreamListener(const StreamListener&) = delete;
  StreamListener& operator=(const StreamListener&) = delete;
  virtual ~StreamListener() = default;

  virtual void stream_changed() = 0;
};

class HostStream {
 public:
  HostStream() = default;
  HostStream(const HostStream&) = delete;
  HostStream& operator=(const HostStream&) = delete;
  virtual ~HostStream() = default;

  void set_listener(StreamListener& listener) { listener_ = &listener; }

  /// Whether somebody is there, as the guest is told.
  [[nodiscard]] virtual bool is_open() const = 0;
  /// Whether output gets somewhere. If not, old output gives way to new; if so, none is lost.
  [[nodiscard]] virtual bool takes_output() const = 0;
  /// Whether a write is possible right now; only if takes_output().
  [[nodiscard]] virtual bool can_write() const { return takes_output(); }
  /// Whether a read is worth trying.
  [[nodiscard]] virtual bool gives_input() const = 0;

  /// The descriptor to wait on for reading or writing, while one of the above is true.
  [[nodiscard]] virtual int descriptor() const = 0;
  /// Reads and writes never wait: they end with -EAGAIN.
  virtual void prepare_read(io_uring_sqe* entry, std::span<std::byte> into) = 0;
  virtual void prepare_write(io_uring_sqe* entry, std::span<const std::byte> bytes) = 0;
  [[nodiscard]] virtual std::size_t most_to_write() const {
    return std::numeric_limits<std::size_t>::max();
  }
  virtual void wrote(std::size_t count) { static_cast<void>(count); }
  /// The error is an errno value.
  virtual void write_failed(int error) = 0;
  /// A wait for room ended because nobody is there any more.
  virtual void hung_up() = 0;
  /// The end of input (0), or an error.
  virtual void read_ended(int error) = 0;

  /// Nothing more will come of the present connection. Once no operation uses descriptor() any
  /// more, leave() gives it up.
  [[nodiscard]] virtual bool is_finished() const { return false; }
  virtual void leave() {}

  /// A turn: looks at what happened and prepares its own operations.
  virtual void pump(IoRing& io, Nanoseconds now) = 0;
  [[nodiscard]] virtual std::optional<Nanoseconds> wants_turn_at() const { return std::nullopt; }
  /// Ends what it waits for.
  virtual void cancel(IoRing& io) { static_cast<void>(io); }
  /// After cancel(): does what stands between it and the next write, and nothing else.
  virtual void go_on(IoRing& io) { static_cast<void>(io); }
  [[nodiscard]] virtual bool has_operations() const { return false; }

  /// The window of who is there, if it is known.
  [[nodiscard]] virtual std::optional<WindowSize> window() const { return std::nullopt; }

  /// Writes what can be written at once, without a worker; says how much. `may_wait`: on a thread
  /// that may wait for a disk.
  virtual std::size_t flush(std::span<const std::byte> bytes, bool may_wait) = 0;

  /// What an administrator wants to know, such as {"tty", "/dev/pts/3"}.
  [[nodiscard]] virtual std::pair<std::string, std::string> fact() const = 0;

  // Since it was made. On any thread.
  [[nodiscard]] std::uint64_t errors() const { return errors_.value(); }
  [[nodiscard]] std::uint64_t rotations() const { return rotations_.value(); }
  [[nodiscard]] std::uint64_t dropped_input() const { return dropped_input_.value(); }

 protected:
  void tell() {
    if (listener_ != nullptr) listener_->stream_changed();
  }
  void count_error() { errors_.add(); }
  void count_rotation() { rotations_.add(); }
  void count_dropped_input(std::uint64_t bytes) { dropped_input_.add(bytes); }

 private:
  StreamListener* listener_ = nullptr;
  Counter errors_;
  Counter rotations_;
  Counter dropped_input_;
};

/// May block for a moment. The error says in words what is wrong with which path.
[[nodiscard]] Result<std::unique_ptr<HostStream>, std::string> open_stream(
    const PortOptions& port, const ConsoleOptions& options);

/// Takes back what such ports of a process that was killed left on the host under a name that leads
/// elsewhere now.
void remove_leftovers(const ConsoleOptions& options);

}  // namespace vmsg::console
