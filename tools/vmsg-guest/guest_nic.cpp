#include "tools/vmsg-guest/guest_nic.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace vmsg::guest {
namespace {

using net::kHeaderSize;
using net::NetConfig;
using net::NetHeader;

constexpr std::uint32_t kReceiveQueue = 0;
constexpr std::uint32_t kSendQueue = 1;

}  // namespace

Result<std::unique_ptr<GuestNic>, Failure> GuestNic::open(GuestLink& link,
                                                          std::unique_ptr<GuestDevice> device,
                                                          const NicOptions& options) {
  std::unique_ptr<GuestNic> nic(new GuestNic(std::move(device), options));
  if (auto done = nic->set_up(link); !done) return std::unexpected(done.error());
  return nic;
}

GuestNic::GuestNic(std::unique_ptr<GuestDevice> device, const NicOptions& options)
    : options_(options), random_(options.seed), device_(std::move(device)) {}

Result<void, Failure> GuestNic::set_up(GuestLink& link) {
  auto config = device_->read_config();
  if (!config) return std::unexpected(config.error());
  NetConfig known;
  std::memcpy(&known, config->data(), std::min(config->size(), sizeof(known)));
  mac_.bytes = known.mac;
  if (has(features(), net::NetFeature::kMtu)) mtu_ = known.mtu.get();

  for (auto [index, queue] : {std::pair{kReceiveQueue, &receive_}, std::pair{kSendQueue, &send_}}) {
    const auto& info = device_->state().info();
    if (index >= info.max_virtqueues) return std::unexpected("the device has too few queues");
    auto added = device_->add_queue(index, options_.queue_size);
    if (!added) return std::unexpected(added.error());
    *queue = *added;
  }
  auto receive_pages = GuestBuffers::create(link, options_.receive_buffers, Access::kReadWrite);
  if (!receive_pages) return std::unexpected(receive_pages.error());
  receive_pages_.emplace(std::move(*receive_pages));
  auto send_pages = GuestBuffers::create(
      link, options_.send_buffers * (options_.send_buffer_size / kGrantPageSize),
      Access::kReadOnly);
  if (!send_pages) return std::unexpected(send_pages.error());
  send_pages_.emplace(std::move(*send_pages));
  for (std::uint32_t i = 0; i < options_.send_buffers; ++i) free_to_send_.push_back(i);

  if (auto live = device_->go_live(); !live) return live;
  for (std::uint32_t i = 0; i < options_.receive_buffers; ++i) {
    if (auto offered = offer(i); !offered) return offered;
  }
  device_->publish(*receive_);
  return {};
}

std::span<const Segment> GuestNic::divide(GrantAddress address, std::uint32_t length) {
  cuts_.clear();
  const auto most = std::min<std::uint32_t>(options_.most_descriptors, length);
  const auto pieces =
      most <= 1 ? 1 : std::uniform_int_distribution<std::uint32_t>(1, most)(random_);
  std::uniform_int_distribution<std::uint32_t> place(1, length - 1);
  for (std::uint32_t i = 1; i < pieces; ++i) cuts_.push_back(place(random_));
  cuts_.push_back(length);
  std::ranges::sort(cuts_);
  pieces_.clear();
  std::uint32_t at = 0;
  for (const std::uint32_t cut : cuts_) {
    if (cut > at) pieces_.push_back({*address.checked_add(at), cut - at});
    at = cut;
  }
  return pieces_;
}

Result<void, Failure> GuestNic::offer(std::uint32_t buffer) {
  const auto address =
      *receive_pages_->address()->checked_add(std::uint64_t{buffer} * kGrantPageSize);
  std::span<const Segment> pieces = divide(address, options_.receive_buffer_size);
  // Every other buffer that is not out needs a descriptor at least.
  const DriverQueue& queue = *receive_->queue;
  const Segment whole{address, options_.receive_buffer_size};
  if (queue.free_descriptors() + queue.outstanding() + 1 <
      options_.receive_buffers + pieces.size()) {
    pieces = std::span(&whole, 1);
  }
  if (receive_->queue->add({}, pieces, buffer) != AddOutcome::kAdded) {
    return std::unexpected("the receive queue takes no such buffer");
  }
  return {};
}

Result<void, Failure> GuestNic::collect_sent() {
  while (true) {
    const auto used = device_->poll_used(*send_);
    if (!used) return std::unexpected(used.error());
    if (!*used) return {};
    if ((*used)->written != 0) return std::unexpected("the device wrote to a frame that was sent");
    free_to_send_.push_back(static_cast<std::uint32_t>((*used)->cookie));
  }
}

Result<std::size_t, Failure> GuestNic::room() {
  if (auto collected = collect_sent(); !collected) return std::unexpected(collected.error());
  return std::min<std::size_t>(free_to_send_.size(),
                               send_->queue->free_descriptors() / options_.most_descriptors);
}

Result<void, Failure> GuestNic::add(const NetHeader& header, std::span<const std::byte> frame) {
  if (kHeaderSize + frame.size() > options_.send_buffer_size) {
    return std::unexpected(fmt::format("a frame of {} bytes is too long", frame.size()));
  }
  const std::uint32_t buffer = free_to_send_.back();
  free_to_send_.pop_back();
  const std::uint64_t at = std::uint64_t{buffer} * options_.send_buffer_size;
  send_pages_->bytes().store(at, header);
  send_pages_->bytes().copy_in(at + kHeaderSize, frame);
  const auto length = static_cast<std::uint32_t>(kHeaderSize + frame.size());
  const auto pieces = divide(*send_pages_->address()->checked_add(at), length);
  if (send_->queue->add(pieces, {}, buffer) != AddOutcome::kAdded) {
    return std::unexpected("the transmit queue takes no such frame");
  }
  return {};
}

Result<void, Failure> GuestNic::drain() {
  while (send_->queue->outstanding() > 0) {
    const auto used = device_->wait_used(*send_);
    if (!used) return std::unexpected(used.error());
    free_to_send_.push_back(static_cast<std::uint32_t>(used->cookie));
  }
  return {};
}

Result<std::size_t, Failure> GuestNic::receive(const FrameHandler& handler) {
  std::size_t frames = 0;
  std::size_t buffers = 0;
  while (true) {
    const auto polled = device_->poll_used(*receive_);
    if (!polled) return std::unexpected(polled.error());
    if (!*polled) break;
    const UsedBuffer used = **polled;
    if (used.written > options_.receive_buffer_size || used.written == 0) {
      return std::unexpected(fmt::format("the device wrote {} bytes into a buffer of {}",
                                         used.written, options_.receive_buffer_size));
    }
    const std::size_t at = frame_.size();
    frame_.resize(at + used.written);
    receive_pages_->bytes().copy_out(used.cookie * kGrantPageSize, std::span(frame_).subspan(at));
    if (parts_missing_ == 0) {
      if (frame_.size() < kHeaderSize) return std::unexpected("a frame came without its header");
      NetHeader header;
      std::memcpy(&header, frame_.data(), sizeof(header));
      parts_missing_ = header.num_buffers.get();
      if (parts_missing_ == 0) return std::unexpected("a frame came that takes no buffer");
    }
    if (--parts_missing_ == 0) {
      NetHeader header;
      std::memcpy(&header, frame_.data(), sizeof(header));
      handler(header, std::span<const std::byte>(frame_).subspan(kHeaderSize));
      frame_.clear();
      ++frames;
    }
    if (auto offered = offer(static_cast<std::uint32_t>(used.cookie)); !offered) {
      return std::unexpected(offered.error());
    }
    ++buffers;
  }
  if (buffers > 0) device_->publish(*receive_);
  return frames;
}

Result<bool, Failure> GuestNic::wait(std::chrono::nanoseconds patience) {
  const std::array<GuestQueue*, 2> queues{receive_, send_};
  return device_->wait_any(queues, patience);
}

}  // namespace vmsg::guest
