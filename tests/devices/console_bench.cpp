#include "tests/devices/console_bench.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace vmsg::console::test {
namespace {

// How often the host is waited for in vain, and how long each time.
constexpr int kPatience = 100;
constexpr std::uint64_t kWait = 50'000'000;

std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// Numbers of a device, by name.
class NumberSink final : public CounterSink {
 public:
  void operations(std::string_view name, const OperationCounters& counters) override {
    numbers[std::string(name)] = counters.operations.value();
    numbers[std::string(name) + "-bytes"] = counters.bytes.value();
  }
  void number(std::string_view name, std::uint64_t value) override {
    numbers[std::string(name)] = value;
  }
  std::map<std::string, std::uint64_t> numbers;
};

}  // namespace

ConsoleBench::ConsoleBench(const DeviceParameters& parameters, const RingOptions& ring)
    : ring_(ring), io_(IoRing::create(64).value()) {
  const auto options = parse_options(parameters);
  VMSG_INVARIANT(options.has_value());
  device_ = std::move(ConsoleDevice::create(*options).value());
  device_->set_host(host_);
}

ConsoleBench::~ConsoleBench() { VMSG_INVARIANT(unserve()); }

std::string ConsoleBench::fact(const std::string& name) const {
  for (const auto& [key, value] : device_->published()) {
    if (key == name) return value;
  }
  return {};
}

std::uint64_t ConsoleBench::number(const std::string& name) const {
  NumberSink sink;
  device_->report(sink);
  return sink.numbers.at(name);
}

void ConsoleBench::negotiate(bool is_multiport) {
  selection_ = device_->device_features();
  if (!is_multiport) selection_.clear(wire::kFeatureMultiport);
  device_->features_negotiated(selection_);
}

void ConsoleBench::serve(std::uint32_t index) {
  auto served = std::make_unique<Served>(ring_, index);
  QueueSetup setup;
  setup.index = index;
  setup.features = selection_;
  served->service = device_->open_queue({setup, *io_, *served});
  served_[index] = std::move(served);
}

bool ConsoleBench::unserve() {
  for (auto& [index, served] : served_) {
    served->pair.device.abandon();
    served->service->abandon();
  }
  for (int i = 0; i < kPatience; ++i) {
    const bool is_busy = std::ranges::any_of(
        served_, [](const auto& entry) { return entry.second->service->has_work_in_flight(); });
    if (!is_busy) {
      served_.clear();
      device_->reset();
      return true;
    }
    io_->submit_and_wait(kWait);
    io_->reap(64);
  }
  return false;
}

void ConsoleBench::send(std::uint32_t index, std::span<const std::byte> bytes) {
  static_cast<void>(driver(index).chain().readable(bytes).publish());
  kick(index);
}

void ConsoleBench::send(std::uint32_t index, const std::string& text) {
  send(index, as_bytes(text));
}

void ConsoleBench::send_control(std::uint32_t id, std::uint16_t event, std::uint16_t value) {
  const wire::Control control{.id = id, .event = event, .value = value};
  send(wire::kControlTransmitQueue, std::as_bytes(std::span(&control, 1)));
}

void ConsoleBench::offer(std::uint32_t index, std::size_t bytes) {
  static_cast<void>(driver(index).chain().writable(bytes).publish());
  kick(index);
}

std::string ConsoleBench::received(std::uint32_t index) {
  std::string text;
  for (const auto& used : driver(index).poll_all()) {
    for (const std::byte byte : std::span(used.data).first(used.written)) {
      text += static_cast<char>(byte);
    }
  }
  return text;
}

std::vector<ConsoleBench::Told> ConsoleBench::told() {
  std::vector<Told> all;
  for (const auto& used : driver(wire::kControlReceiveQueue).poll_all()) {
    wire::Control control;
    VMSG_INVARIANT(used.written >= sizeof(control));
    std::memcpy(&control, used.data.data(), sizeof(control));
    std::string rest;
    for (std::size_t i = sizeof(control); i < used.written; ++i) {
      rest += static_cast<char>(used.data[i]);
    }
    all.push_back({control.id.get(), control.event.get(), control.value.get(), rest});
  }
  return all;
}

bool ConsoleBench::turn() {
  std::vector<Served*> ready;
  for (auto& [index, served] : served_) {
    const auto at = served->service->wants_turn_at();
    if (std::exchange(served->is_ready, false) || (at && *at <= now_)) {
      ready.push_back(served.get());
    }
  }
  if (ready.empty()) return false;
  for (Served* served : ready) {
    const std::size_t room = served->service->room();
    auto chains = served->pair.take(room);
    VMSG_INVARIANT(chains.has_value());
    if (room > 0 && chains->size() == room) served->is_ready = true;
    served->service->take(*chains, GuestRef{}, served->pair.fetch, now_);
    served->pair.fetch.run();
  }
  for (Served* served : ready) {
    if (const auto fault = served->service->start(now_)) fault_ = fault;
  }
  io_->submit_and_wait(0);
  io_->reap(64);
  if (fault_) return false;
  for (Served* served : ready) {
    served->service->deliver(GuestRef{}, served->pair.store);
    served->pair.store.run();
    if (const auto fault = served->service->retire(served->pair.device, now_)) fault_ = fault;
    static_cast<void>(served->pair.device.publish());
  }
  return true;
}

bool ConsoleBench::run_until(const std::function<bool()>& is_done) {
  for (int waits = 0; waits < kPatience;) {
    if (is_done()) return true;
    if (fault_) return false;
    if (turn()) continue;
    io_->submit_and_wait(kWait);
    if (io_->reap(64) == 0) {
      ++waits;
      now_ += kWait;
    }
  }
  return is_done();
}

void ConsoleBench::settle() {
  // Twice: what was prepared may have ended at once.
  for (int i = 0; i < 2; ++i) {
    int turns = 0;
    while (turn()) {
      ASSERT_LT(++turns, 10'000) << "somebody wants turns without end";
    }
    io_->submit_and_wait(0);
    io_->reap(64);
  }
}

FileDescriptor open_terminal(const std::string& path) {
  return FileDescriptor(open(path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
}

FileDescriptor connect_to(const std::string& path) {
  FileDescriptor client(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  VMSG_INVARIANT(path.size() < sizeof(address.sun_path));
  std::memcpy(static_cast<char*>(address.sun_path), path.data(), path.size());
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): SAFETY: as unix(7) has it.
  const auto* general = reinterpret_cast<const sockaddr*>(&address);
  VMSG_INVARIANT(connect(client.get(), general, sizeof(address)) == 0);
  return client;
}

bool read_some(const FileDescriptor& from, std::string& text) {
  std::array<char, 65536> buffer{};
  while (true) {
    const ssize_t count = read(from.get(), buffer.data(), buffer.size());
    if (count <= 0) return count < 0 && errno == EAGAIN;
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) {
    text[i] = static_cast<char>(static_cast<std::uint8_t>(i ^ (i >> 8) * 7 ^ (i >> 16) * 13));
  }
  return text;
}

}  // namespace vmsg::console::test
