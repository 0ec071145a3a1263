#include "tests/fuzz/memory_hosts.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "backend/device_maker.hpp"
#include "devices/blk/blk_device.hpp"
#include "devices/console/console_device.hpp"
#include "devices/console/host_stream.hpp"
#include "devices/device_types.hpp"
#include "devices/file_descriptor.hpp"
#include "devices/net/net_device.hpp"
#include "devices/rng/rng_device.hpp"

namespace vmsg::fuzz {
namespace {

constexpr std::size_t kDiskBytes = std::size_t{64} << 10;
constexpr net::MacAddress kMac{{0x00, 0x16, 0x3e, 0, 0, 1}};

/// In the list of its kind for as long as it lives.
class ListedDisk final : public test::MemoryDisk {
 public:
  ListedDisk() : MemoryDisk(kDiskBytes) { MemoryHosts::all().disks.push_back(this); }
  ~ListedDisk() override { std::erase(MemoryHosts::all().disks, this); }
};

class ListedNetwork final : public net::FakeNetHost {
 public:
  ListedNetwork() {
    can_offload = net::all_offloads();
    MemoryHosts::all().networks.push_back(this);
  }
  ~ListedNetwork() override { std::erase(MemoryHosts::all().networks, this); }
};

/// The same bytes each time.
class CountedEntropy final : public rng::EntropySource {
 public:
  std::size_t fill(std::span<std::byte> out) override {
    std::ranges::fill(out, std::byte{7});
    return MemoryHosts::all().is_out_of_entropy ? 0 : out.size();
  }
};

CountedEntropy& entropy() {
  static CountedEntropy source;
  return source;
}

}  // namespace

/// A pair of sockets, which the kernel serves at once.
class MemoryStream final : public console::HostStream {
 public:
  MemoryStream() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
      std::abort();
    }
    ours_ = FileDescriptor(ends[0]);
    hosts_ = FileDescriptor(ends[1]);
    MemoryHosts::all().streams.push_back(this);
  }
  ~MemoryStream() override { std::erase(MemoryHosts::all().streams, this); }

  [[nodiscard]] int host_end() const { return hosts_.get(); }
  void hang_up() { hosts_ = FileDescriptor(); }

  bool is_open() const override { return is_open_; }
  bool takes_output() const override { return is_open_; }
  bool gives_input() const override { return gives_input_; }
  int descriptor() const override { return ours_.get(); }
  void prepare_read(io_uring_sqe* entry, std::span<std::byte> into) override {
    io_uring_prep_recv(entry, ours_.get(), into.data(), into.size(), MSG_DONTWAIT);
  }
  void prepare_write(io_uring_sqe* entry, std::span<const std::byte> bytes) override {
    io_uring_prep_send(entry, ours_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  void write_failed(int) override {
    count_error();
    is_open_ = false;
  }
  void hung_up() override { is_open_ = false; }
  void read_ended(int) override { gives_input_ = false; }
  void pump(IoRing&, console::Nanoseconds) override {}
  std::size_t flush(std::span<const std::byte> bytes, bool) override {
    const ssize_t sent =
        ::send(ours_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent > 0 ? static_cast<std::size_t>(sent) : 0;
  }
  std::pair<std::string, std::string> fact() const override { return {"tty", "memory"}; }

 private:
  FileDescriptor ours_;
  FileDescriptor hosts_;
  bool is_open_ = true;
  bool gives_input_ = true;
};

MemoryHosts& MemoryHosts::all() {
  static MemoryHosts hosts;
  return hosts;
}

void MemoryHosts::end_all() {
  for (test::MemoryDisk* disk : disks) disk->stop_holding();
  for (net::FakeNetHost* network : networks) network->takes_frames = true;
}

void MemoryHosts::say(MemoryStream& stream, std::size_t bytes) {
  const std::vector<char> text(bytes, 'x');
  static_cast<void>(
      ::send(stream.host_end(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
}

void MemoryHosts::hear(MemoryStream& stream) {
  std::array<char, 4096> text{};
  static_cast<void>(::recv(stream.host_end(), text.data(), text.size(), MSG_DONTWAIT));
}

void MemoryHosts::hang_up(MemoryStream& stream) { stream.hang_up(); }

namespace {

DeviceMaker::Made refused(std::string words) {
  return std::unexpected(OpenError{.words = std::move(words)});
}

DeviceMaker::Made open_in_memory(std::string_view type, const DeviceParameters& parameters) {
  if (std::exchange(MemoryHosts::all().refuses_next, false)) return refused("not today");
  if (type == "blk") {
    const auto options = blk::parse_options(parameters);
    if (!options) return refused(options.error());
    return std::make_unique<blk::BlkDevice>(*options, std::make_unique<ListedDisk>());
  }
  if (type == "console") {
    const auto options = console::parse_options(parameters);
    if (!options) return refused(options.error());
    auto created = console::ConsoleDevice::create(*options);
    if (!created) return refused(created.error());
    return std::move(*created);
  }
  if (type == "net") {
    const auto options = net::parse_options(parameters);
    if (!options) return refused(options.error());
    return std::make_unique<net::NetDevice>(*options, options->mac.value_or(kMac),
                                            std::make_unique<ListedNetwork>());
  }
  if (type == "rng") {
    const auto options = rng::parse_options(parameters);
    if (!options) return refused(options.error());
    return std::make_unique<rng::RngDevice>(*options, entropy());
  }
  return refused(unknown_type(type));
}

}  // namespace
}  // namespace vmsg::fuzz

// ---- in place of console's host_stream.cpp ------------------------------------------------------

namespace vmsg::console {

Result<std::unique_ptr<HostStream>, std::string> open_stream(const PortOptions&,
                                                             const ConsoleOptions&) {
  return std::make_unique<fuzz::MemoryStream>();
}

void remove_leftovers(const ConsoleOptions&) {}

}  // namespace vmsg::console

// ---- in place of device_maker.cpp ---------------------------------------------------------------

namespace vmsg {

// As there, nobody hears from within a call.

DeviceMaker::DeviceMaker(boost::asio::io_context& context, DeviceCatalog& catalog,
                         std::chrono::milliseconds patience)
    : context_(context), catalog_(catalog), patience_(patience) {}

DeviceMaker::~DeviceMaker() = default;

void DeviceMaker::start() {}

void DeviceMaker::make(std::string type, DeviceParameters parameters, DeviceContext,
                       std::function<void(Made)> done) {
  boost::asio::post(context_,
                    [type = std::move(type), parameters = std::move(parameters),
                     done = std::move(done)] { done(fuzz::open_in_memory(type, parameters)); });
}

void DeviceMaker::destroy(std::unique_ptr<ServedDevice> device, std::function<void()> done) {
  boost::asio::post(context_, [device = std::move(device), done = std::move(done)]() mutable {
    device.reset();
    done();
  });
}

}  // namespace vmsg
