#include "devices/console/console_port.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace vmsg::console {
namespace {

constexpr std::size_t kInputBytes = 16384;

/// Results that ask to wait for the descriptor. Linux says EINTR for a terminal whose users have
/// left, too: only the wait tells.
bool must_wait(std::int32_t result) { return result == -EAGAIN || result == -EINTR; }

}  // namespace

ConsolePort::ConsolePort(std::unique_ptr<HostStream> stream, Settings settings,
                         ConsoleCounters& counters)
    : settings_(std::move(settings)),
      counters_(counters),
      stream_(std::move(stream)),
      output_(settings_.backlog),
      input_(kInputBytes) {
  stream_->set_listener(*this);
}

ConsolePort::~ConsolePort() { VMSG_INVARIANT(!has_operations()); }

void ConsolePort::wake() {
  if (receive_waker_ != nullptr) receive_waker_->wake();
  if (transmit_waker_ != nullptr) transmit_waker_->wake();
}

void ConsolePort::pump(IoRing& io, Nanoseconds now) {
  drains_on_ = nullptr;
  stream_->pump(io, now);
  if (stream_->is_finished()) leave_stream(io, now);
  if (stream_->is_finished()) return;  // once nothing uses it any more
  if (waits_since_ && settings_.patience != 0 && now >= *waits_since_ + settings_.patience) {
    is_stalled_ = true;
  }
  pump_output(io);
  pump_input(io);
}

std::optional<Nanoseconds> ConsolePort::wants_turn_at() const {
  const auto at = stream_->wants_turn_at();
  if (!waits_since_ || is_stalled_ || settings_.patience == 0) return at;
  const Nanoseconds over = *waits_since_ + settings_.patience;
  return at ? std::min(*at, over) : over;
}

// ---- connections --------------------------------------------------------------------------------

bool ConsolePort::uses_descriptor() const {
  return write_.is_in_flight() || writable_.is_in_flight() || read_.is_in_flight() ||
         readable_.is_in_flight();
}

void ConsolePort::leave_stream(IoRing& io, Nanoseconds now) {
  if (uses_descriptor()) {
    write_.cancel(io);
    writable_.cancel(io);
    read_.cancel(io);
    readable_.cancel(io);
    return;
  }
  stream_->leave();
  // What the old listener did says nothing about the next.
  write_must_wait_ = read_must_wait_ = is_stalled_ = false;
  waits_since_.reset();
  stream_->pump(io, now);
}

void ConsolePort::drain(IoRing& io) {
  drains_on_ = &io;
  writable_.cancel(io);
  read_.cancel(io);
  readable_.cancel(io);
  stream_->cancel(io);
  go_on_draining();
}

void ConsolePort::go_on_draining() {
  if (drains_on_ == nullptr || write_.is_in_flight()) return;
  stream_->go_on(*drains_on_);
  // Who is too slow now gets the rest later.
  if (!write_must_wait_) pump_output(*drains_on_);
}

void ConsolePort::stream_changed() {
  wake();
  go_on_draining();
}

bool ConsolePort::has_operations() const { return uses_descriptor() || stream_->has_operations(); }

// ---- output -------------------------------------------------------------------------------------

std::size_t ConsolePort::make_room(std::size_t planned, std::size_t wanted) {
  const std::size_t free = output_.free() - planned;
  // What is being written at this moment cannot be dropped; its end comes soon.
  if (free >= wanted || takes_output() || write_.is_in_flight()) return std::min(free, wanted);
  const std::size_t dropped = std::min(wanted - free, output_.size());
  output_.consume(dropped);
  counters_.dropped_output.add(dropped);
  return free + dropped;
}

bool ConsolePort::has_room() const {
  return output_.free() != 0 || (!takes_output() && !write_.is_in_flight());
}

void ConsolePort::note_waiting(Nanoseconds now) {
  if (!waits_since_ && takes_output()) waits_since_ = now;
}

void ConsolePort::pump_output(IoRing& io) {
  if (output_.is_empty() || !stream_->can_write()) return;
  if (write_.is_in_flight() || writable_.is_in_flight()) return;
  io_uring_sqe* entry = write_must_wait_ ? writable_.begin(io) : write_.begin(io);
  if (entry == nullptr) return wake();
  if (write_must_wait_) {
    io_uring_prep_poll_add(entry, stream_->descriptor(), POLLOUT);
    return;
  }
  const auto bytes = output_.front();
  stream_->prepare_write(entry, bytes.first(std::min(bytes.size(), stream_->most_to_write())));
}

void ConsolePort::on_written(std::int32_t result) {
  if (result > 0) {
    output_.consume(static_cast<std::size_t>(result));
    stream_->wrote(static_cast<std::size_t>(result));
    is_stalled_ = false;
    waits_since_.reset();
  } else if (must_wait(result)) {
    write_must_wait_ = true;
  } else if (result != -ECANCELED) {
    stream_->write_failed(-result);
  }
  wake();
  go_on_draining();
}

void ConsolePort::on_writable(std::int32_t result) {
  write_must_wait_ = false;
  // A terminal without users is neither writable nor an error: only this tells.
  if (result > 0 && (result & (POLLHUP | POLLERR)) != 0) stream_->hung_up();
  wake();
}

void ConsolePort::flush(bool may_wait) {
  while (!output_.is_empty()) {
    const std::size_t count = stream_->flush(output_.front(), may_wait);
    if (count == 0) return;
    output_.consume(count);
  }
}

// ---- input --------------------------------------------------------------------------------------

void ConsolePort::pump_input(IoRing& io) {
  if (wanted_ == 0 || !input().empty() || !stream_->gives_input()) return;
  if (read_.is_in_flight() || readable_.is_in_flight()) return;
  io_uring_sqe* entry = read_must_wait_ ? readable_.begin(io) : read_.begin(io);
  if (entry == nullptr) return wake();
  if (read_must_wait_) {
    io_uring_prep_poll_add(entry, stream_->descriptor(), POLLIN);
    return;
  }
  // Not more than the guest can take: what stays behind is the kernel's to hold back.
  stream_->prepare_read(entry, std::span(input_).first(std::min(wanted_, input_.size())));
}

void ConsolePort::on_read(std::int32_t result) {
  if (result > 0) {
    input_begin_ = 0;
    input_end_ = static_cast<std::size_t>(result);
  } else if (must_wait(result)) {
    read_must_wait_ = true;
  } else if (result != -ECANCELED) {
    stream_->read_ended(-result);
  }
  wake();
}

void ConsolePort::on_readable(std::int32_t) {
  read_must_wait_ = false;
  wake();
}

}  // namespace vmsg::console
