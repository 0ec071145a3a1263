// What a client knows by itself, whatever way its calls take.
#include <unistd.h>

#include <utility>

#include "tests/mock-xen/client.hpp"
#include "tests/mock-xen/segment.hpp"

namespace vmsg::mock {

int Client::take_extra_fd() { return std::exchange(extra_fd_, -1); }

bool Client::is_ours() const { return pid_ == ::getpid(); }

bool Client::is_domain_alive() const {
  const DomainArea& area = segment_->domains[hello_.domain_slot];
  return area.incarnation.load(std::memory_order_acquire) == incarnation_ &&
         area.alive.load(std::memory_order_acquire) != 0;
}

void Client::count(Counter counter, std::uint64_t by) const {
  segment_->domains[hello_.domain_slot].counters[static_cast<std::size_t>(counter)].fetch_add(
      by, std::memory_order_relaxed);
}

}  // namespace vmsg::mock
