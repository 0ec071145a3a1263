#include "tools/vmsg-guest/guest_console.hpp"

#include <fmt/format.h>
#include <linux/virtio_console.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

namespace vmsg::guest {
namespace {

constexpr std::uint32_t kDataBuffers = 32;
constexpr std::uint32_t kControlBuffers = 16;
constexpr std::uint32_t kControlQueues = 2;

std::string_view event_name(std::uint16_t event) {
  constexpr std::array<std::string_view, 8> kNames{"device ready", "port add",     "port remove",
                                                   "port ready",   "console port", "resize",
                                                   "port open",    "port name"};
  return event < kNames.size() ? kNames.at(event) : "unknown event";
}

std::uint16_t word(std::span<const std::byte> bytes, std::size_t at) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[at]) |
                                    std::to_integer<unsigned>(bytes[at + 1]) << 8U);
}

}  // namespace

Result<std::unique_ptr<GuestConsole>, Failure> GuestConsole::open(
    GuestDevice& device, std::uint32_t port, std::function<void(const std::string&)> say) {
  std::unique_ptr<GuestConsole> console(new GuestConsole(device, port, std::move(say)));
  if (auto done = console->set_up(); !done) return std::unexpected(done.error());
  return console;
}

Result<void, Failure> GuestConsole::set_up() {
  is_multiport_ = device_.state().selection().has(unsigned{VIRTIO_CONSOLE_F_MULTIPORT});
  if (!is_multiport_ && port_ != 0) return std::unexpected("the device has one port only");
  const std::uint32_t first = port_ == 0 ? 0 : 2 * port_ + kControlQueues;
  if (first + 1 >= device_.state().info().max_virtqueues) {
    return std::unexpected(fmt::format("the device has no port {}", port_));
  }
  if (auto made = make_pipe(receive_, first, Access::kReadWrite); !made) return made;
  if (auto made = make_pipe(transmit_, first + 1, Access::kReadOnly); !made) return made;
  if (is_multiport_) {
    if (auto made = make_pipe(control_receive_, 2, Access::kReadWrite); !made) return made;
    if (auto made = make_pipe(control_transmit_, 3, Access::kReadOnly); !made) return made;
  }
  if (auto live = device_.go_live(); !live) return live;
  if (auto offered = offer_all(receive_); !offered) return offered;
  if (!is_multiport_) return {};
  if (auto offered = offer_all(control_receive_); !offered) return offered;
  return tell(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
}

Result<void, Failure> GuestConsole::make_pipe(GuestPipe& pipe, std::uint32_t index, Access access) {
  const bool is_control = index == 2 || index == 3;
  const std::uint32_t pages = is_control ? kControlBuffers : kDataBuffers;
  auto queue = device_.add_queue(index, pages);
  if (!queue) return std::unexpected(queue.error());
  pipe.queue = *queue;
  auto buffers = device_.share_buffers(pages, access);
  if (!buffers) return std::unexpected(buffers.error());
  pipe.buffers.emplace(std::move(*buffers));
  for (std::uint32_t i = pages; i > 0; --i) pipe.free.push_back(i - 1);
  return {};
}

Result<void, Failure> GuestConsole::offer_all(GuestPipe& pipe) {
  for (; !pipe.free.empty(); pipe.free.pop_back()) {
    const std::uint64_t page = pipe.free.back();
    const auto address = pipe.buffers->address()->checked_add(page * kPiece);
    const std::array<Segment, 1> segment{Segment{*address, kPiece}};
    if (pipe.queue->queue->add({}, segment, page) != AddOutcome::kAdded) {
      return std::unexpected("a queue takes no more buffers");
    }
  }
  device_.publish(*pipe.queue);
  return {};
}

Result<void, Failure> GuestConsole::write(std::span<const std::byte> bytes) {
  const std::uint64_t page = transmit_.free.back();
  transmit_.free.pop_back();
  const auto address = transmit_.buffers->address()->checked_add(page * kPiece);
  transmit_.buffers->bytes().copy_in(page * kPiece, bytes);
  const std::array<Segment, 1> segment{Segment{*address, static_cast<std::uint32_t>(bytes.size())}};
  if (transmit_.queue->queue->add(segment, {}, page) != AddOutcome::kAdded) {
    return std::unexpected("the transmit queue takes no more buffers");
  }
  ++unwritten_;
  device_.publish(*transmit_.queue);
  return {};
}

Result<void, Failure> GuestConsole::tell(std::uint32_t port, std::uint16_t event,
                                         std::uint16_t value) {
  if (control_transmit_.free.empty()) return std::unexpected("the control queue is full");
  const std::uint64_t page = control_transmit_.free.back();
  control_transmit_.free.pop_back();
  const virtio_console_control control{.id = port, .event = event, .value = value};
  control_transmit_.buffers->bytes().copy_in(page * kPiece, std::as_bytes(std::span(&control, 1)));
  const auto address = control_transmit_.buffers->address()->checked_add(page * kPiece);
  const std::array<Segment, 1> segment{Segment{*address, sizeof(control)}};
  if (control_transmit_.queue->queue->add(segment, {}, page) != AddOutcome::kAdded) {
    return std::unexpected("the control queue takes no more buffers");
  }
  device_.publish(*control_transmit_.queue);
  return {};
}

Result<void, Failure> GuestConsole::hear(std::span<const std::byte> message) {
  virtio_console_control control{};
  if (message.size() < sizeof(control)) return std::unexpected("a control message is too short");
  std::memcpy(&control, message.data(), sizeof(control));
  const auto rest = message.subspan(sizeof(control));
  std::string text = fmt::format("port {}: {}", control.id, event_name(control.event));
  if (control.event == VIRTIO_CONSOLE_PORT_NAME) {
    text += ' ';
    for (const std::byte byte : rest) text += static_cast<char>(byte);
  } else if (control.event == VIRTIO_CONSOLE_RESIZE && rest.size() >= 4) {
    text += fmt::format(" {}x{}", word(rest, 0), word(rest, 2));
  } else {
    text += fmt::format(" {}", control.value);
  }
  say_(text);
  if (control.event != VIRTIO_CONSOLE_PORT_ADD) return {};
  if (auto told = tell(control.id, VIRTIO_CONSOLE_PORT_READY, 1); !told) return told;
  if (control.id != port_) return {};
  return tell(port_, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

Result<void, Failure> GuestConsole::close_port() {
  if (!is_multiport_) return {};
  return tell(port_, VIRTIO_CONSOLE_PORT_OPEN, 0);
}

Result<std::optional<UsedBuffer>, Failure> GuestConsole::next_used(GuestPipe& pipe) {
  if (pipe.queue == nullptr) return std::nullopt;
  auto used = pipe.queue->queue->poll_used();
  // Nothing yet: ask to be told, and look once more.
  if (used && !*used && pipe.queue->queue->enable_callbacks()) {
    used = pipe.queue->queue->poll_used();
  }
  if (used) return *used;
  return std::unexpected(fmt::format("queue {}: the device side broke it: {} ({:#x})",
                                     pipe.queue->index, name(used.error().fault),
                                     used.error().value));
}

Result<bool, Failure> GuestConsole::collect_sent(GuestPipe& pipe) {
  bool is_busy = false;
  while (true) {
    const auto used = next_used(pipe);
    if (!used) return std::unexpected(used.error());
    if (!*used) return is_busy;
    pipe.free.push_back((*used)->cookie);
    if (&pipe == &transmit_) --unwritten_;
    is_busy = true;
  }
}

Result<bool, Failure> GuestConsole::collect_received(GuestPipe& pipe, const Taker& take) {
  std::array<std::byte, kPiece> bytes{};
  bool is_busy = false;
  while (true) {
    const auto used = next_used(pipe);
    if (!used) return std::unexpected(used.error());
    if (!*used) break;
    const auto text = std::span(bytes).first(std::min((*used)->written, kPiece));
    pipe.buffers->bytes().copy_out((*used)->cookie * kPiece, text);
    pipe.free.push_back((*used)->cookie);
    is_busy = true;
    if (&pipe == &receive_) {
      if (!take(text)) return std::unexpected("cannot write what the host says");
    } else if (auto heard = hear(text); !heard) {
      return std::unexpected(heard.error());
    }
  }
  if (pipe.queue != nullptr && !pipe.free.empty()) {
    if (auto offered = offer_all(pipe); !offered) return std::unexpected(offered.error());
  }
  return is_busy;
}

Result<bool, Failure> GuestConsole::turn(const Taker& take) {
  bool is_busy = false;
  for (GuestPipe* pipe : {&transmit_, &control_transmit_}) {
    const auto moved = collect_sent(*pipe);
    if (!moved) return moved;
    is_busy = is_busy || *moved;
  }
  for (GuestPipe* pipe : {&receive_, &control_receive_}) {
    const auto moved = collect_received(*pipe, take);
    if (!moved) return moved;
    is_busy = is_busy || *moved;
  }
  return is_busy;
}

}  // namespace vmsg::guest
