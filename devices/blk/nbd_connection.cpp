#include "devices/blk/nbd_connection.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>

namespace vmsg::blk {
namespace {

constexpr std::uint64_t kMostRangeBytes = std::uint64_t{1} << 30;

std::string last_error() {
  const char* const words = nbd_get_error();
  return words == nullptr ? "unknown error of libnbd" : words;
}

/// A server that vanishes without a word is noticed within some 30 s.
void watch_peer(int fd) {
  constexpr int kOn = 1;
  constexpr int kIdleSeconds = 10;
  constexpr int kProbeSeconds = 5;
  constexpr int kProbes = 4;
  constexpr int kUnansweredMilliseconds = 30'000;
  const auto set = [fd](int level, int name, int value) {
    // A socket that is not TCP has none of it and needs none.
    static_cast<void>(setsockopt(fd, level, name, &value, sizeof(value)));
  };
  set(SOL_SOCKET, SO_KEEPALIVE, kOn);
  set(IPPROTO_TCP, TCP_KEEPIDLE, kIdleSeconds);
  set(IPPROTO_TCP, TCP_KEEPINTVL, kProbeSeconds);
  set(IPPROTO_TCP, TCP_KEEPCNT, kProbes);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, kUnansweredMilliseconds);
}

std::uint32_t block_size(nbd_handle* handle, int which, std::uint32_t fallback) {
  const std::int64_t value = nbd_get_block_size(handle, which);
  constexpr std::int64_t kMost = 65536;
  if (value < 512 || value > kMost || !std::has_single_bit(static_cast<std::uint64_t>(value))) {
    return fallback;
  }
  return static_cast<std::uint32_t>(value);
}

Result<NbdExport, std::string> inspect(nbd_handle* handle) {
  NbdExport exported;
  const std::int64_t size = nbd_get_size(handle);
  if (size < 0) return std::unexpected(last_error());
  DiskTraits& traits = exported.traits;
  traits.logical_block = block_size(handle, LIBNBD_SIZE_MINIMUM, traits.logical_block);
  traits.physical_block = std::max(block_size(handle, LIBNBD_SIZE_PREFERRED, traits.logical_block),
                                   traits.logical_block);
  traits.is_read_only = nbd_is_read_only(handle) > 0;
  traits.may_use_several_queues = nbd_can_multi_conn(handle) > 0;
  exported.size = static_cast<std::uint64_t>(size) / traits.logical_block * traits.logical_block;
  exported.can_flush = nbd_can_flush(handle) > 0;
  exported.can_fua = nbd_can_fua(handle) > 0;
  const RangeLimits limits{.max_bytes = kMostRangeBytes, .alignment = traits.logical_block};
  if (nbd_can_trim(handle) > 0) traits.discard = limits;
  if (nbd_can_zero(handle) > 0) traits.write_zeroes = limits;
  return exported;
}

}  // namespace

Result<NbdConnection, std::string> connect_nbd(const std::string& uri,
                                               std::chrono::seconds patience,
                                               const std::atomic<bool>& is_stopped) {
  constexpr int kStepMilliseconds = 100;
  NbdHandle handle(nbd_create());
  if (handle == nullptr) return std::unexpected(last_error());
  static_cast<void>(nbd_set_uri_allow_local_file(handle.get(), true));
  if (nbd_aio_connect_uri(handle.get(), uri.c_str()) != 0) return std::unexpected(last_error());
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (nbd_aio_is_ready(handle.get()) == 0) {
    if (nbd_aio_is_dead(handle.get()) != 0 || nbd_aio_is_closed(handle.get()) != 0) {
      return std::unexpected(last_error());
    }
    if (is_stopped || std::chrono::steady_clock::now() >= deadline) {
      return std::unexpected(std::string("the server does not answer"));
    }
    if (nbd_poll(handle.get(), kStepMilliseconds) < 0) return std::unexpected(last_error());
  }
  auto exported = inspect(handle.get());
  if (!exported) return std::unexpected(exported.error());
  watch_peer(nbd_aio_get_fd(handle.get()));
  return NbdConnection{std::move(handle), *exported};
}

}  // namespace vmsg::blk
