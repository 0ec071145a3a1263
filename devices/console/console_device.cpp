#include "devices/console/console_device.hpp"

#include <fmt/format.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "devices/console/console_queues.hpp"
#include "devices/console/console_wire.hpp"

namespace vmsg::console {
namespace {

constexpr std::uint32_t kVendor = 0x4d534756;  // "VGSM" as bytes
constexpr std::uint32_t kDataQueueSize = 64;
constexpr std::uint32_t kControlQueueSize = 32;
constexpr std::uint32_t kMaxSegments = 64;

constexpr std::uint32_t kEmergencyOffset = offsetof(wire::Config, emerg_wr);

/// What a fact of one port is called among those of all.
std::string fact_name(std::size_t port, const std::string& name) {
  return port == 0 ? name : fmt::format("port{}-{}", port, name);
}

}  // namespace

Result<std::unique_ptr<ConsoleDevice>, std::string> ConsoleDevice::create(
    const ConsoleOptions& options) {
  std::vector<std::unique_ptr<HostStream>> streams;
  for (std::size_t i = 0; i < options.ports.size(); ++i) {
    auto stream = open_stream(options.ports[i], options);
    if (!stream) return std::unexpected(fmt::format("port {}: {}", i, stream.error()));
    streams.push_back(std::move(*stream));
  }
  FileDescriptor emergency(eventfd(0, EFD_CLOEXEC));
  if (!emergency.is_open()) {
    return std::unexpected("eventfd: " + std::generic_category().message(errno));
  }
  return std::unique_ptr<ConsoleDevice>(
      new ConsoleDevice(options, std::move(streams), std::move(emergency)));
}

ConsoleDevice::ConsoleDevice(const ConsoleOptions& options,
                             std::vector<std::unique_ptr<HostStream>> streams,
                             FileDescriptor emergency)
    : options_(options), window_(options.size) {
  const auto ports = static_cast<std::uint32_t>(streams.size());
  identity_.device_id = wire::kDeviceId;
  identity_.vendor_id = kVendor;
  identity_.config_size = sizeof(wire::Config);
  identity_.max_virtqueues = options.offers_multiport() ? 2 * (ports + 1) : 2;

  std::vector<std::unique_ptr<ConsolePort>> made;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    ConsolePort::Settings settings{.name = options.ports[i].name,
                                   .is_console = options.ports[i].is_console,
                                   .backlog = options.backlog};
    // A program that uses a channel waits as long as it takes; a console of Linux spins while it
    // waits, and the guest with it.
    if (settings.is_console) settings.patience = options.patience * kSecond;
    made.push_back(
        std::make_unique<ConsolePort>(std::move(streams[i]), std::move(settings), counters_));
  }
  hub_ = std::make_unique<ConsoleHub>(std::move(made), options.size, counters_,
                                      std::move(emergency), [this] { tell_config_changed(); });
}

ConsoleDevice::~ConsoleDevice() { hub_->flush(); }

FeatureSet ConsoleDevice::device_features() const {
  FeatureSet features{wire::kFeatureSize, wire::kFeatureEmergWrite};
  if (options_.offers_multiport()) features.set(wire::kFeatureMultiport);
  return features;
}

void ConsoleDevice::features_negotiated(const FeatureSet& selection) {
  hub_->negotiated(selection.has(wire::kFeatureMultiport), selection.has(wire::kFeatureSize));
}

std::uint32_t ConsoleDevice::max_queue_size(std::uint32_t index) const {
  if (index >= identity_.max_virtqueues) return 0;
  return wire::is_control_queue(index) ? kControlQueueSize : kDataQueueSize;
}

bool ConsoleDevice::has_queue(std::uint32_t index, const FeatureSet& selection) const {
  return index < 2 || (selection.has(wire::kFeatureMultiport) && index < identity_.max_virtqueues);
}

void ConsoleDevice::read_config(std::uint32_t offset, std::span<std::byte> out) const {
  const wire::Config config{.cols = window_.cols,
                            .rows = window_.rows,
                            .max_nr_ports = static_cast<std::uint32_t>(options_.ports.size()),
                            .emerg_wr = 0};
  std::array<std::byte, sizeof(config)> bytes{};
  std::memcpy(bytes.data(), &config, sizeof(config));
  std::ranges::copy(std::span(bytes).subspan(offset, out.size()), out.begin());
}

ConfigWrite ConsoleDevice::write_config(std::uint32_t offset, std::span<const std::byte> bytes) {
  // The register takes a character in its lowest byte, with or without the rest of it.
  if (offset != kEmergencyOffset || bytes.empty()) return ConfigWrite::kRefused;
  hub_->write_emergency(bytes.front());
  return ConfigWrite::kApplied;
}

bool ConsoleDevice::is_always_writable(std::uint32_t offset, std::uint32_t length) const {
  return offset >= kEmergencyOffset && length <= sizeof(wire::Config) - offset;
}

PublishedFacts ConsoleDevice::published() const {
  PublishedFacts facts;
  for (std::size_t i = 0; i < hub_->ports().size(); ++i) {
    auto [name, value] = hub_->ports()[i]->stream().fact();
    facts.emplace_back(fact_name(i, name), std::move(value));
    if (!options_.ports[i].link.empty()) {
      facts.emplace_back(fact_name(i, "link"), options_.ports[i].link);
    }
  }
  return facts;
}

void ConsoleDevice::report(CounterSink& sink) const {
  std::uint64_t errors = 0;
  std::uint64_t rotations = 0;
  std::uint64_t dropped_input = 0;
  for (const auto& port : hub_->ports()) {
    errors += port->stream().errors();
    rotations += port->stream().rotations();
    dropped_input += port->stream().dropped_input();
  }
  sink.operations("transmit", counters_.transmit);
  sink.operations("receive", counters_.receive);
  sink.number("dropped-output-bytes", counters_.dropped_output.value());
  sink.number("dropped-input-bytes", dropped_input);
  sink.number("emergency-characters", counters_.emergency.value());
  sink.number("bad-control-messages", counters_.bad_controls.value());
  sink.number("host-errors", errors);
  sink.number("rotations", rotations);
}

QueueLimits ConsoleDevice::queue_limits(std::uint32_t) const {
  return {.max_chain_segments = kMaxSegments, .max_in_flight = kMaxInFlight};
}

std::unique_ptr<QueueService> ConsoleDevice::open_queue(const QueueContext& context) {
  return console::open_queue(context, *hub_, counters_);
}

}  // namespace vmsg::console
