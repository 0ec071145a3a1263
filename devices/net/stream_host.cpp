#include "devices/net/stream_host.hpp"

#include <fmt/format.h>

#include <system_error>

namespace vmsg::net {
namespace {

constexpr std::uint16_t kUsualMtu = 1500;

}  // namespace

Result<std::unique_ptr<NetHost>, std::string> StreamHost::open(const NetOptions& options) {
  std::unique_ptr<StreamHost> host(new StreamHost(options.socket, options.mtu.value_or(kUsualMtu)));
  if (const auto connected = host->connection_.connect(); !connected) {
    return std::unexpected(fmt::format("socket='{}': {}", options.socket,
                                       std::generic_category().message(connected.error())));
  }
  return host;
}

std::unique_ptr<FrameReceiver> StreamHost::open_receiver(std::uint32_t, IoRing& io,
                                                         FrameListener& listener) {
  return std::make_unique<StreamReceiver>(connection_, io, listener);
}

std::unique_ptr<FrameTransmitter> StreamHost::open_transmitter(std::uint32_t, IoRing& io,
                                                               FrameListener& listener,
                                                               std::size_t capacity) {
  return std::make_unique<StreamTransmitter>(connection_, io, listener, capacity);
}

}  // namespace vmsg::net
