#include "devices/net/tap_interface.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "devices/net/net_protocol.hpp"

namespace vmsg::net {
namespace {

// Younger than the headers of Debian 12, whose kernel does without.
constexpr unsigned kTunUso4 = 0x20;
constexpr unsigned kTunUso6 = 0x40;

std::string words(int error) { return std::generic_category().message(error); }

ifreq request_for(const std::string& name, int flags) {
  ifreq request{};
  name.copy(std::data(request.ifr_name), IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(flags);
  return request;
}

bool set_offload(int fd, unsigned bits) {
  // The request takes its argument by value.
  return ioctl(fd, TUNSETOFFLOAD, static_cast<unsigned long>(bits)) == 0;
}

unsigned offload_bits(const FeatureSet& offloads) {
  if (!has(offloads, NetFeature::kGuestCsum)) return 0;
  unsigned bits = TUN_F_CSUM;
  if (has(offloads, NetFeature::kGuestTso4)) bits |= TUN_F_TSO4;
  if (has(offloads, NetFeature::kGuestTso6)) bits |= TUN_F_TSO6;
  if (has(offloads, NetFeature::kGuestEcn) && (bits & (TUN_F_TSO4 | TUN_F_TSO6)) != 0) {
    bits |= TUN_F_TSO_ECN;
  }
  // The kernel takes both or none.
  if (has(offloads, NetFeature::kGuestUso4) && has(offloads, NetFeature::kGuestUso6)) {
    bits |= kTunUso4 | kTunUso6;
  }
  return bits;
}

}  // namespace

Result<TapInterface, std::string> TapInterface::open(const std::string& name,
                                                     std::uint32_t queues) {
  TapInterface tap;
  tap.name_ = name;
  const int flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (queues > 1 ? IFF_MULTI_QUEUE : 0);
  for (std::uint32_t i = 0; i < queues; ++i) {
    // O_NONBLOCK: io_uring then tries at once and polls when there is nothing, on any kernel.
    FileDescriptor fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!fd.is_open()) {
      return std::unexpected(
          fmt::format("cannot open /dev/net/tun: {} (is the module tun loaded?)", words(errno)));
    }
    ifreq request = request_for(name, flags);
    if (ioctl(fd.get(), TUNSETIFF, &request) != 0) {
      const int error = errno;
      return std::unexpected(error == EBUSY
                                 ? fmt::format("the interface {} is in use already", name)
                                 : fmt::format("cannot make the interface {} with {} queues: {}",
                                               name, queues, words(error)));
    }
    int header_size = kHeaderSize;
    int little_endian = 1;
    int carrier = 0;
    if (ioctl(fd.get(), TUNSETVNETHDRSZ, &header_size) != 0 ||
        ioctl(fd.get(), TUNSETVNETLE, &little_endian) != 0 ||
        ioctl(fd.get(), TUNSETCARRIER, &carrier) != 0) {
      return std::unexpected(fmt::format("cannot set up the interface {}: {}", name, words(errno)));
    }
    tap.queues_.push_back(std::move(fd));
  }
  tap.is_attached_.assign(queues, true);
  tap.knows_uso_ = set_offload(tap.queue(0), TUN_F_CSUM | kTunUso4 | kTunUso6);
  static_cast<void>(set_offload(tap.queue(0), 0));
  tap.apply({});
  return tap;
}

void TapInterface::apply(const HostSettings& settings) {
  // None of these fails for a reason of the guest's; what is not applied shows as frames that are
  // dropped and counted.
  static_cast<void>(set_offload(queue(0), offload_bits(settings.guest_offloads)));
  for (std::uint32_t i = 1; i < queues_.size(); ++i) {
    const bool is_wanted = i < settings.active_pairs;
    if (is_attached_[i] == is_wanted) continue;
    ifreq request{};
    request.ifr_flags = static_cast<short>(is_wanted ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE);
    if (ioctl(queue(i), TUNSETQUEUE, &request) == 0) is_attached_[i] = is_wanted;
  }
  int carrier = settings.has_carrier ? 1 : 0;
  static_cast<void>(ioctl(queue(0), TUNSETCARRIER, &carrier) == 0);
}

}  // namespace vmsg::net
