#include "backend/device_session.hpp"

#include <algorithm>
#include <utility>

namespace vmsg {
namespace {

QueueFormat format_of(const QueueSetup& setup) {
  return setup.features.has(RingFeature::kRingPacked) ? QueueFormat::kPacked : QueueFormat::kSplit;
}

}  // namespace

DeviceSession::DeviceSession(std::uint16_t number, ServedDevice& device,
                             const Environment& environment, Log log)
    : number_(number), device_(device), environment_(environment), log_(std::move(log)) {}

DeviceSession::~DeviceSession() { VMSG_INVARIANT(is_idle()); }

bool DeviceSession::enable(const QueueSetup& setup) {
  if (queues_.size() >= environment_.max_queues) {
    log_.queue(setup.index).guest("refused, the limit is {} queues", environment_.max_queues);
    return false;
  }
  auto queue = std::make_unique<ServedQueue>();
  queue->index = setup.index;
  queue->size = setup.size;
  queue->is_packed = format_of(setup) == QueueFormat::kPacked;
  queue->guest = environment_.guest;
  queue->budget = environment_.budget;
  queue->owner = this;
  if (!map_areas(setup, *queue)) return false;

  const QueueLimits limits = device_.queue_limits(setup.index);
  auto ring = DeviceQueue::create({
      .format = format_of(setup),
      .size = setup.size,
      .areas = {queue->areas[0]->bytes(), queue->areas[1]->bytes(), queue->areas[2]->bytes()},
      .event_idx = setup.features.has(RingFeature::kEventIdx),
      .indirect = setup.features.has(RingFeature::kIndirectDesc),
      .in_order = setup.features.has(RingFeature::kInOrder),
      .max_chain_segments = limits.max_chain_segments,
      .max_in_flight = std::min(limits.max_in_flight, setup.size),
  });
  if (!ring) {
    log_.queue(setup.index).guest("refused: {} ({})", name(ring.error().fault), ring.error().value);
    return false;
  }
  queue->queue = std::move(*ring);

  Worker& worker = worker_for(setup.index);
  queue->service = device_.open_queue({setup, worker.io(), *queue});
  if (queue->service == nullptr) {
    log_.queue(setup.index).guest("refused by the device");
    return false;
  }
  worker.adopt(*queue);
  if (is_live_) worker.serve(*queue);
  queues_[setup.index] = std::move(queue);
  return true;
}

bool DeviceSession::map_areas(const QueueSetup& setup, ServedQueue& queue) {
  const QueueFormat format = format_of(setup);
  const AreaNumbers sizes = area_sizes(format, setup.size);
  struct Area {
    std::uint64_t address;
    std::uint64_t bytes;
    Access access;
  };
  // The device writes the used ring (split), the descriptor ring and its own suppression (packed).
  const std::array<Area, 3> areas{{
      {setup.descriptor_address, sizes.descriptors,
       format == QueueFormat::kPacked ? Access::kReadWrite : Access::kReadOnly},
      {setup.driver_address, sizes.driver, Access::kReadOnly},
      {setup.device_address, sizes.device, Access::kReadWrite},
  }};
  for (std::size_t i = 0; i < areas.size(); ++i) {
    const auto address = GrantAddress::parse(areas[i].address);
    if (!address || !address->holds(areas[i].bytes)) return false;
    auto range = environment_.memory.map(*address, areas[i].bytes, areas[i].access);
    if (!range) {
      log_.queue(setup.index).guest("area {} at {:#x} does not map", i, areas[i].address);
      return false;
    }
    queue.areas[i] = std::move(*range);
  }
  return true;
}

Worker& DeviceSession::worker_for(std::uint32_t index) {
  const std::uint32_t group = device_.queue_group(index);
  for (const auto& [other, queue] : queues_) {
    if (device_.queue_group(other) == group) return *queue->worker;
  }
  // Services of the group that have not ended yet run there too.
  for (const auto& queue : leaving_) {
    if (device_.queue_group(queue->index) == group) return *queue->worker;
  }
  return environment_.workers.least_loaded();
}

void DeviceSession::go_live() {
  is_live_ = true;
  for (const auto& [index, queue] : queues_) queue->worker->serve(*queue);
}

void DeviceSession::kick(std::uint32_t index, std::uint32_t) {
  const auto found = queues_.find(index);
  if (found != queues_.end()) found->second->worker->kick(*found->second);
}

void DeviceSession::stop() {
  is_live_ = false;
  for (const auto& [index, queue] : queues_) queue->worker->stop(*queue);
}

Release DeviceSession::release(std::uint32_t index) {
  const auto found = queues_.find(index);
  if (found == queues_.end()) return leaving_.empty() ? Release::kDone : Release::kPending;
  found->second->worker->remove(*found->second);
  leaving_.push_back(std::move(found->second));
  queues_.erase(found);
  waits_for_release_ = true;
  return Release::kPending;
}

Release DeviceSession::release_all() {
  is_live_ = false;
  for (auto& [index, queue] : queues_) {
    queue->worker->remove(*queue);
    leaving_.push_back(std::move(queue));
  }
  queues_.clear();
  if (leaving_.empty()) return Release::kDone;
  waits_for_release_ = true;
  environment_.listener.device_resetting(number_);
  return Release::kPending;
}

bool DeviceSession::bind_port(std::uint32_t index, std::uint32_t remote_port) {
  const auto found = queues_.find(index);
  if (found == queues_.end()) return false;
  const auto bound = found->second->worker->bind_port(*found->second, xen::RemotePort{remote_port});
  if (!bound) log_.queue(index).guest("{}", xen::to_string(bound.error()));
  found->second->has_port = bound.has_value();
  return bound.has_value();
}

void DeviceSession::unbind_port(std::uint32_t index) {
  const auto found = queues_.find(index);
  if (found == queues_.end()) return;
  found->second->worker->unbind_port(*found->second);
  found->second->has_port = false;
}

std::vector<QueueSnapshot> DeviceSession::snapshot() const {
  std::vector<QueueSnapshot> all;
  all.reserve(queues_.size());
  for (const auto& [index, queue] : queues_) {
    const auto value = [](const auto& counter) { return counter.load(std::memory_order_relaxed); };
    all.push_back({.index = index,
                   .size = queue->size,
                   .is_packed = queue->is_packed,
                   .worker = queue->worker->number(),
                   .has_port = queue->has_port,
                   .turns = value(queue->counters.turns),
                   .chains = value(queue->counters.chains),
                   .kicks = value(queue->counters.kicks),
                   .notifications = value(queue->counters.notifications),
                   .suppressed = value(queue->counters.suppressed)});
  }
  return all;
}

void DeviceSession::on_report(const WorkerReport& report) {
  // Of a queue on its way back only the end matters: its reset must not be followed by old news.
  const bool is_leaving =
      std::ranges::any_of(leaving_, [&](const auto& queue) { return queue.get() == report.queue; });
  if (is_leaving && report.kind != WorkerReport::Kind::kReleased) return;
  switch (report.kind) {
    case WorkerReport::Kind::kUsed:
      // ORDER: cleared before EVENT_USED is sent, so buffers used from now on are told again.
      report.queue->used_reported.exchange(false, std::memory_order_acq_rel);
      environment_.listener.device_used(number_, report.queue->index);
      return;
    case WorkerReport::Kind::kFault:
      log_fault(*report.queue, report.fault);
      environment_.listener.device_failed(number_);
      return;
    case WorkerReport::Kind::kBroken:
    case WorkerReport::Kind::kPassed:  // the pool's own
      return;
    case WorkerReport::Kind::kReleased:
      // Destroying it unmaps its areas: only after this is the memory really given back.
      std::erase_if(leaving_, [&](const auto& queue) { return queue.get() == report.queue; });
      if (leaving_.empty() && std::exchange(waits_for_release_, false)) {
        environment_.listener.device_released(number_);
      }
      return;
  }
}

void DeviceSession::log_fault(const ServedQueue& queue, const ServiceStop& stop) const {
  if (stop.kind == ServiceStop::Kind::kRing) {
    log_.queue(queue.index)
        .guest("{} ({:#x}); the device needs a reset", name(stop.ring.fault), stop.ring.value);
  } else {
    log_.queue(queue.index)
        .guest("{}; the device needs a reset", stop.service == ServiceFault::kNotGranted
                                                   ? "a buffer could not be copied"
                                                   : "a request has a wrong shape");
  }
}

}  // namespace vmsg
