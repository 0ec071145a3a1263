#include "devices/console/console_hub.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

namespace vmsg::console {
namespace {

constexpr std::uint32_t packed(const WindowSize& window) {
  return std::uint32_t{window.cols} << 16 | window.rows;
}

void put_control(ControlMessage& message, std::size_t port, std::uint16_t event,
                 std::uint16_t value) {
  const wire::Control control{
      .id = static_cast<std::uint32_t>(port), .event = event, .value = value};
  std::memcpy(message.bytes.data(), &control, sizeof(control));
  message.size = sizeof(control);
}

void append(ControlMessage& message, const void* data, std::size_t size) {
  std::memcpy(message.bytes.data() + message.size, data, size);
  message.size += size;
}

}  // namespace

ConsoleHub::ConsoleHub(std::vector<std::unique_ptr<ConsolePort>> ports, const WindowSize& window,
                       ConsoleCounters& counters, FileDescriptor emergency,
                       std::function<void()> on_window_changed)
    : ports_(std::move(ports)),
      guest_(ports_.size()),
      counters_(counters),
      on_window_changed_(std::move(on_window_changed)),
      window_(packed(window)),
      emergency_ready_(std::move(emergency)) {}

ConsoleHub::~ConsoleHub() { VMSG_INVARIANT(served_ == 0 && !emergency_read_.is_in_flight()); }

// ---- who is in charge ---------------------------------------------------------------------------

void ConsoleHub::join(IoRing& io) {
  if (served_++ != 0) return;
  io_ = &io;
  const std::lock_guard lock(mutex_);
  is_worker_in_charge_ = true;
}

void ConsoleHub::leave() {
  if (--served_ != 0) return;
  for (const auto& port : ports_) port->drain(*io_);
  emergency_read_.cancel(*io_);
}

bool ConsoleHub::is_draining() {
  if (served_ != 0) return false;
  const std::lock_guard lock(mutex_);
  if (!is_worker_in_charge_) return false;
  if (has_operations()) return true;
  move_emergency();
  is_worker_in_charge_ = false;
  return false;
}

bool ConsoleHub::has_operations() const {
  return emergency_read_.is_in_flight() ||
         std::ranges::any_of(ports_, [](const auto& port) { return port->has_operations(); });
}

// ---- turns --------------------------------------------------------------------------------------

// Linux looks for the window in the configuration space when it is told that it has changed, and
// not before. What it is told while it makes its terminal is lost; a terminal that writes is there.
void ConsoleHub::heard_from(std::size_t number) {
  if (number == 0 && std::exchange(owes_window_, false)) on_window_changed_();
}

void ConsoleHub::pump(std::size_t number, Nanoseconds now) {
  pump_emergency(now);
  ports_[number]->pump(*io_, now);
  look_for_changes(number);
}

void ConsoleHub::look_for_changes(std::size_t number) {
  const ConsolePort& port = *ports_[number];
  const auto window = port.stream().window();
  if (number == 0 && window && packed(*window) != window_.load(std::memory_order_relaxed)) {
    window_.store(packed(*window), std::memory_order_relaxed);
    on_window_changed_();
  }
  const GuestView& view = guest_[number];
  if (!view.is_ready) return;
  const bool has_new_window =
      has_size_ && port.settings().is_console && window && *window != view.told_window;
  if (has_new_window || port.stream().is_open() != view.is_told_open) wake_control();
}

void ConsoleHub::wake_control() {
  if (control_waker_ != nullptr) control_waker_->wake();
}

// ---- control messages ---------------------------------------------------------------------------

void ConsoleHub::take_control(const wire::Control& control) {
  const std::uint32_t number = control.id.get();
  const bool is_good = control.value.get() != 0;
  const std::uint16_t event = control.event.get();
  if (event == wire::kDeviceReady) {
    // A driver that cannot use the device says so with 0, and hears nothing more.
    for (GuestView& view : guest_) view = {.is_open = view.is_open, .tell_add = is_good};
  } else if (number < guest_.size() && event == wire::kPortReady) {
    GuestView& view = guest_[number];
    view.is_ready = is_good;
    view.tell_console = is_good && ports_[number]->settings().is_console;
    view.tell_name = is_good && !ports_[number]->settings().name.empty();
    view.is_told_open = false;
    view.told_window = {.cols = 0, .rows = 0};
  } else if (number < guest_.size() && event == wire::kPortOpen) {
    guest_[number].is_open = is_good;
    ports_[number]->wake();
  } else {
    counters_.bad_controls.add();
  }
  wake_control();
}

bool ConsoleHub::next_message(ControlMessage& message) {
  for (std::size_t number = 0; number < ports_.size(); ++number) {
    if (next_message_of(number, message)) return true;
  }
  return false;
}

bool ConsoleHub::next_message_of(std::size_t number, ControlMessage& message) {
  const ConsolePort& port = *ports_[number];
  GuestView& view = guest_[number];
  if (std::exchange(view.tell_add, false)) {
    put_control(message, number, wire::kPortAdd, 1);
    return true;
  }
  if (!view.is_ready) return false;
  if (std::exchange(view.tell_console, false)) {
    put_control(message, number, wire::kConsolePort, 1);
    return true;
  }
  if (std::exchange(view.tell_name, false)) {
    put_control(message, number, wire::kPortName, 1);
    append(message, port.settings().name.data(), port.settings().name.size());
    return true;
  }
  const auto window = port.stream().window();
  if (has_size_ && port.settings().is_console && window && *window != view.told_window) {
    view.told_window = *window;
    put_control(message, number, wire::kResize, 0);
    const wire::Resize resize{.cols = window->cols, .rows = window->rows};
    append(message, &resize, sizeof(resize));
    return true;
  }
  if (port.stream().is_open() != view.is_told_open) {
    view.is_told_open = !view.is_told_open;
    put_control(message, number, wire::kPortOpen, view.is_told_open ? 1 : 0);
    return true;
  }
  return false;
}

void ConsoleHub::negotiated(bool is_multiport, bool has_size) {
  is_multiport_ = is_multiport;
  has_size_ = has_size;
  owes_window_ = has_size && !is_multiport;
}

void ConsoleHub::reset() {
  is_multiport_ = has_size_ = owes_window_ = false;
  std::ranges::fill(guest_, GuestView{});
}

WindowSize ConsoleHub::window() const {
  const std::uint32_t value = window_.load(std::memory_order_relaxed);
  return {.cols = static_cast<std::uint16_t>(value >> 16),
          .rows = static_cast<std::uint16_t>(value)};
}

// ---- emergency writes ---------------------------------------------------------------------------

void ConsoleHub::write_emergency(std::byte character) {
  const std::lock_guard lock(mutex_);
  counters_.emergency.add();
  // A guest that writes faster than it is served loses the last ones.
  if (emergency_size_ < emergency_.size()) emergency_[emergency_size_++] = character;
  if (is_worker_in_charge_) {
    const std::uint64_t one = 1;
    // It can only fail when the counter is full, and then the worker is awake anyway.
    static_cast<void>(::write(emergency_ready_.get(), &one, sizeof(one)) == 0);
    return;
  }
  move_emergency();
  ports_.front()->flush(false);
}

void ConsoleHub::move_emergency() {
  ConsolePort& port = *ports_.front();
  const std::size_t room = port.make_room(0, emergency_size_);
  auto from = std::span(emergency_).first(room);
  for (const std::span<std::byte> part : port.output().reserve(0, room)) {
    std::ranges::copy(from.first(part.size()), part.begin());
    from = from.subspan(part.size());
  }
  port.output().commit(room);
  std::memmove(emergency_.data(), emergency_.data() + room, emergency_size_ - room);
  emergency_size_ -= room;
}

void ConsoleHub::pump_emergency(Nanoseconds now) {
  if (!emergency_read_.is_in_flight()) {
    if (io_uring_sqe* entry = emergency_read_.begin(*io_)) {
      io_uring_prep_read(entry, emergency_ready_.get(), &emergency_count_, sizeof(emergency_count_),
                         0);
    }
  }
  if (!has_emergency_) return;
  {
    const std::lock_guard lock(mutex_);
    move_emergency();
    has_emergency_ = emergency_size_ != 0;
  }
  // The queues of port 0 may have no turn of their own now.
  ports_.front()->pump(*io_, now);
}

void ConsoleHub::on_emergency(std::int32_t result) {
  if (result > 0) has_emergency_ = true;
  for (const auto& port : ports_) port->wake();
}

void ConsoleHub::flush() {
  for (const auto& port : ports_) port->flush(true);
}

}  // namespace vmsg::console
