#include "tools/vmsg-guest/guest_device.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace vmsg::guest {
namespace {

std::string_view words(DriverFailure why) {
  switch (why) {
    case DriverFailure::kTimedOut:
      return "no answer in time";
    case DriverFailure::kBadResponse:
      return "an answer that makes no sense";
    case DriverFailure::kGone:
      return "the device is gone";
    case DriverFailure::kLinkLost:
      return "the bus is closed";
    case DriverFailure::kRefusedByBus:
      return "the bus refused the request";
    case DriverFailure::kBadDevice:
      return "device information that makes no sense";
    case DriverFailure::kMissingFeature:
      return "a feature is missing that this bus cannot do without";
    case DriverFailure::kFeaturesRefused:
      return "the device refused the features";
    case DriverFailure::kStatusRefused:
      return "the device refused a status";
    case DriverFailure::kResetTimedOut:
      return "the reset does not end";
    case DriverFailure::kNeedsReset:
      return "the device needs a reset";
    case DriverFailure::kGivenUp:
      return "given up";
    case DriverFailure::kNotNow:
      return "not possible in this state";
    case DriverFailure::kOutOfRange:
      return "outside of the configuration space";
    case DriverFailure::kBadQueue:
      return "a queue of that size cannot be";
    case DriverFailure::kReadFirst:
      return "the configuration must be read first";
    case DriverFailure::kRejected:
      return "the device refused the write";
    case DriverFailure::kUnstable:
      return "the configuration keeps changing";
    case DriverFailure::kNoSuchQueue:
      return "no such queue";
    case DriverFailure::kQueueInUse:
      return "the queue is in use";
    case DriverFailure::kInconsistent:
      return "the device contradicts itself about a queue";
    case DriverFailure::kNotApplied:
      return "the device did not take the queue";
  }
  return "unknown";
}

Failure broken(const GuestQueue& queue, const QueueError& error) {
  return fmt::format("queue {}: the device side broke it: {} ({:#x})", queue.index,
                     name(error.fault), error.value);
}

std::uint32_t pages_for(std::uint64_t bytes) {
  return static_cast<std::uint32_t>((bytes + kGrantPageSize - 1) / kGrantPageSize);
}

}  // namespace

GuestDevice::GuestDevice(GuestLink& link, std::uint16_t number, const DeviceChoice& choice)
    : link_(link),
      choice_(choice),
      device_(link.bus(), number, *this, {.notification_data_allowed = false}) {}

GuestDevice::~GuestDevice() {
  for (auto& [index, queue] : queues_) {
    if (queue.port.is_open()) link_.drop_port(queue.port.local());
  }
}

FeatureSet GuestDevice::select_features(const FeatureSet& offered) {
  FeatureSet wanted;
  if (!choice_.features_of || *choice_.features_of == device_.info().device_id) {
    wanted = choice_.features;
  }
  if (choice_.packed) wanted.set(RingFeature::kRingPacked);
  if (choice_.event_idx) wanted.set(RingFeature::kEventIdx);
  if (choice_.indirect) wanted.set(RingFeature::kIndirectDesc);
  if (choice_.in_order) wanted.set(RingFeature::kInOrder);
  return wanted & offered;
}

Result<void, Failure> GuestDevice::bring_up() {
  device_.start(now());
  link_.pump();
  return wait([this] { return is_ready_; }, "the device to come up");
}

Result<GuestQueue*, Failure> GuestDevice::add_queue(std::uint32_t index, std::uint32_t size) {
  const FeatureSet& selection = device_.selection();
  const QueueFormat format =
      selection.has(RingFeature::kRingPacked) ? QueueFormat::kPacked : QueueFormat::kSplit;
  const AreaNumbers sizes = area_sizes(format, size);
  // Granted with the rights that the device needs and no more.
  const std::array<std::pair<std::uint64_t, Access>, 3> areas{{
      {sizes.descriptors, format == QueueFormat::kPacked ? Access::kReadWrite : Access::kReadOnly},
      {sizes.driver, Access::kReadOnly},
      {sizes.device, Access::kReadWrite},
  }};
  std::array<xen::SharedPages, 3> shared;
  std::array<GrantAddress, 3> addresses{GrantAddress::of(0), GrantAddress::of(0),
                                        GrantAddress::of(0)};
  for (std::size_t i = 0; i < areas.size(); ++i) {
    auto pages = link_.sharer().share_consecutive(link_.device_domain(), pages_for(areas[i].first),
                                                  areas[i].second);
    if (!pages) return std::unexpected("queue memory: " + xen::to_string(pages.error()));
    shared[i] = std::move(*pages);
    addresses[i] = *shared[i].address();
  }
  auto queue = DriverQueue::create(
      {.format = format,
       .size = size,
       .areas = {shared[0].bytes().sub(0, sizes.descriptors),
                 shared[1].bytes().sub(0, sizes.driver), shared[2].bytes().sub(0, sizes.device)},
       .event_idx = selection.has(RingFeature::kEventIdx),
       .indirect = selection.has(RingFeature::kIndirectDesc),
       .in_order = selection.has(RingFeature::kInOrder)});
  if (!queue) return std::unexpected(fmt::format("a queue of {} entries cannot be", size));

  std::optional<DriverResult<void>> done;
  SetVqueueRequest setup{};
  setup.index = index;
  setup.size = size;
  setup.descriptor_addr = addresses[0].raw();
  setup.driver_addr = addresses[1].raw();
  setup.device_addr = addresses[2].raw();
  device_.setup_queue(setup, now(), [&](const DriverResult<void>& result) { done = result; });
  link_.pump();
  if (auto waited = wait([&] { return done.has_value(); }, "the queue's set-up"); !waited) {
    return std::unexpected(waited.error());
  }
  if (!*done) return std::unexpected(fmt::format("queue {}: {}", index, words(done->error())));

  GuestQueue& made = queues_[index];
  made.index = index;
  made.descriptors = std::move(shared[0]);
  made.driver = std::move(shared[1]);
  made.device = std::move(shared[2]);
  made.queue = std::move(*queue);
  if (!choice_.queue_channels || !link_.has_queue_channels()) return &made;

  auto port = link_.make_port([&made] { made.was_used = true; });
  if (!port) return std::unexpected(port.error());
  std::optional<std::uint16_t> status;
  const auto begun = link_.bus().queue_event_channel(
      device_.number(), index, static_cast<std::uint32_t>(port->local()), now(),
      [&](const Result<std::uint16_t, RequestFailure>& result) {
        status = result.value_or(std::uint16_t{0xffff});
      });
  if (!begun) return std::unexpected("the bus takes no request for an event channel");
  link_.pump();
  if (auto waited = wait([&] { return status.has_value(); }, "the queue's event channel");
      !waited) {
    return std::unexpected(waited.error());
  }
  if (*status != VMSG_XEN_QEC_OK) {
    return std::unexpected(
        fmt::format("queue {}: event channel refused, status {}", index, *status));
  }
  made.port = std::move(*port);
  return &made;
}

Result<void, Failure> GuestDevice::go_live() {
  std::optional<DriverResult<void>> done;
  device_.go_live(now(), [&](const DriverResult<void>& result) { done = result; });
  link_.pump();
  if (auto waited = wait([&] { return done.has_value(); }, "DRIVER_OK"); !waited) return waited;
  if (!*done) return std::unexpected(std::string(words(done->error())));
  return {};
}

Result<void, Failure> GuestDevice::stop() {
  std::optional<DriverResult<void>> done;
  device_.stop(now(), [&](const DriverResult<void>& result) { done = result; });
  link_.pump();
  if (auto waited = wait([&] { return done.has_value(); }, "the reset"); !waited) return waited;
  if (!*done) return std::unexpected(std::string(words(done->error())));
  for (auto& [index, queue] : queues_) {
    if (queue.port.is_open()) link_.drop_port(queue.port.local());
  }
  queues_.clear();
  return {};
}

Result<std::vector<std::byte>, Failure> GuestDevice::read_config() {
  std::vector<std::byte> config(device_.info().config_size);
  if (config.empty()) return config;
  std::optional<DriverResult<std::uint32_t>> done;
  device_.read_config(0, config, now(),
                      [&](const DriverResult<std::uint32_t>& result) { done = result; });
  link_.pump();
  if (auto waited = wait([&] { return done.has_value(); }, "the configuration"); !waited) {
    return std::unexpected(waited.error());
  }
  if (!*done) return std::unexpected(std::string(words(done->error())));
  return config;
}

Result<void, Failure> GuestDevice::write_config(std::uint32_t offset,
                                                std::span<const std::byte> bytes) {
  std::optional<DriverResult<void>> done;
  device_.write_config(offset, bytes, now(),
                       [&](const DriverResult<void>& result) { done = result; });
  link_.pump();
  if (auto waited = wait([&] { return done.has_value(); }, "the configuration"); !waited) {
    return waited;
  }
  if (!*done) return std::unexpected(std::string(words(done->error())));
  return {};
}

void GuestDevice::publish(GuestQueue& queue) {
  if (!queue.queue->publish()) return;
  if (queue.port.is_open()) {
    static_cast<void>(queue.port.notify());
    return;
  }
  static_cast<void>(device_.kick(queue.index, 0));
  link_.pump();
}

Result<std::optional<UsedBuffer>, Failure> GuestDevice::poll_used(GuestQueue& queue) {
  const auto used = queue.queue->poll_used();
  if (!used) return std::unexpected(broken(queue, used.error()));
  return *used;
}

Result<bool, Failure> GuestDevice::wait_any(std::span<GuestQueue* const> queues,
                                            std::chrono::nanoseconds patience) {
  if (!link_.failure().empty()) return std::unexpected(link_.failure());
  if (!failure_.empty()) return std::unexpected(failure_);
  for (GuestQueue* queue : queues) queue->was_used = false;
  for (GuestQueue* queue : queues) {
    if (queue->queue->enable_callbacks()) return true;
  }
  const bool is_there = link_.loop().run_until(
      [&] {
        return !failure_.empty() || !link_.failure().empty() ||
               std::ranges::any_of(queues, [](const GuestQueue* q) { return q->was_used; });
      },
      patience);
  if (!link_.failure().empty()) return std::unexpected(link_.failure());
  if (!failure_.empty()) return std::unexpected(failure_);
  return is_there;
}

Result<UsedBuffer, Failure> GuestDevice::wait_used(GuestQueue& queue) {
  std::optional<Result<std::optional<UsedBuffer>, QueueError>> polled;
  const auto look = [&] {
    polled = queue.queue->poll_used();
    if (!*polled || **polled) return true;
    // Nothing yet: ask to be told, and look once more.
    queue.was_used = false;
    if (!queue.queue->enable_callbacks()) return false;
    polled = queue.queue->poll_used();
    return !*polled || polled->value().has_value();
  };
  if (auto waited = wait(look, "the device to use a buffer"); !waited) {
    return std::unexpected(waited.error());
  }
  if (!*polled) {
    return std::unexpected(broken(queue, polled->error()));
  }
  return **polled.value();
}

Result<GuestBuffers, Failure> GuestDevice::share_buffers(std::uint32_t pages, Access access) {
  return GuestBuffers::create(link_, pages, access);
}

void GuestDevice::used(std::uint32_t queue) {
  if (const auto found = queues_.find(queue); found != queues_.end()) found->second.was_used = true;
}

void GuestDevice::failed(DriverFailure why) { failure_ = words(why); }

Result<bool, Failure> GuestDevice::run_until(const std::function<bool()>& is_done,
                                             std::chrono::nanoseconds patience) {
  const bool is_over = link_.loop().run_until(
      [&] { return is_done() || !failure_.empty() || !link_.failure().empty(); }, patience);
  if (!link_.failure().empty()) return std::unexpected(link_.failure());
  if (!failure_.empty()) return std::unexpected(failure_);
  return is_over;
}

Result<void, Failure> GuestDevice::wait(const std::function<bool()>& is_done,
                                        std::string_view what) {
  const auto is_over = run_until(is_done, link_.options().patience);
  if (!is_over) return std::unexpected(is_over.error());
  if (!*is_over) return std::unexpected(fmt::format("waited in vain for {}", what));
  return {};
}

}  // namespace vmsg::guest
