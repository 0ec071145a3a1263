#include "tests/bench/guest_lane.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

namespace vmsg::bench {
namespace {

constexpr std::uint32_t kBlockDevice = 2;

std::uint32_t pages_for(std::uint64_t bytes) {
  return static_cast<std::uint32_t>((bytes + kGrantPageSize - 1) / kGrantPageSize);
}

}  // namespace

Result<std::unique_ptr<GuestLane>, std::string> GuestLane::create(const GuestLaneOptions& options) {
  std::unique_ptr<GuestLane> lane(new GuestLane);
  if (auto started = lane->start(options); !started) return std::unexpected(started.error());
  return lane;
}

GuestLane::~GuestLane() {
  if (device_ != nullptr) static_cast<void>(device_->stop());
  port_.close();
  lane_.reset();
  buffers_.reset();
  device_.reset();
  if (link_ != nullptr) link_->close();
}

Result<void, std::string> GuestLane::start(const GuestLaneOptions& options) {
  auto link = guest::GuestLink::connect(
      loop_, {.shared_regions = options.shared_regions, .patience = std::chrono::seconds(60)});
  if (!link) return std::unexpected(link.error());
  link_ = std::move(*link);

  guest::DeviceChoice choice = options.device;
  choice.queue_channels = false;  // bound below, on a handle that nothing else waits on
  choice.indirect = options.lane.indirect;
  const std::set<std::uint16_t> numbers = link_->devices();
  for (const std::uint16_t number : numbers) {
    device_ = std::make_unique<guest::GuestDevice>(*link_, number, choice);
    if (auto up = device_->bring_up(); !up) return std::unexpected(up.error());
    if (device_->state().info().device_id == kBlockDevice) break;
    static_cast<void>(device_->stop());
    device_.reset();
  }
  if (device_ == nullptr) return std::unexpected("the guest has no block device");

  const auto config = device_->read_config();
  if (!config) return std::unexpected(config.error());
  std::uint64_t sectors = 0;
  if (config->size() < sizeof(sectors)) return std::unexpected("the device has no capacity");
  std::memcpy(&sectors, config->data(), sizeof(sectors));

  LaneOptions lane = options.lane;
  lane.disk_bytes = sectors * 512;
  const std::uint32_t size =
      options.queue_size != 0 ? options.queue_size : BlockLane::entries_for(lane);
  const auto queue = device_->add_queue(options.queue, size);
  if (!queue) return std::unexpected(queue.error());
  if (auto bound = bind_port(options.queue); !bound) return bound;

  const std::uint64_t bytes = BlockLane::memory_for(lane);
  auto buffers = device_->share_buffers(pages_for(bytes), Access::kReadWrite);
  if (!buffers) return std::unexpected(buffers.error());
  buffers_.emplace(std::move(*buffers));
  lane_ =
      std::make_unique<BlockLane>(*(*queue)->queue, buffers_->bytes(), *buffers_->address(), lane);
  return device_->go_live();
}

Result<void, std::string> GuestLane::bind_port(std::uint32_t queue) {
  auto events = xen::EventChannels::open();
  if (!events) return std::unexpected("event channels: " + xen::to_string(events.error()));
  events_.emplace(std::move(*events));
  auto port = events_->alloc_unbound(link_->device_domain());
  if (!port) return std::unexpected("event channel: " + xen::to_string(port.error()));
  std::optional<std::uint16_t> status;
  const auto begun = link_->bus().queue_event_channel(
      device_->state().number(), queue, static_cast<std::uint32_t>(port->local()), guest::now(),
      [&](const Result<std::uint16_t, RequestFailure>& result) {
        status = result.value_or(std::uint16_t{0xffff});
      });
  if (!begun) return std::unexpected("the bus takes no request for an event channel");
  link_->pump();
  const bool is_answered =
      loop_.run_until([&] { return status.has_value(); }, std::chrono::seconds(60));
  if (!is_answered || *status != VMSG_XEN_QEC_OK) {
    return std::unexpected("the queue gets no event channel");
  }
  port_ = std::move(*port);
  return {};
}

void GuestLane::clear() {
  while (true) {
    const auto pending = events_->next_pending();
    if (!pending || !*pending) return;
    static_cast<void>(events_->unmask(**pending));
  }
}

}  // namespace vmsg::bench
