#include "tools/vmsg-guest/guest_loop.hpp"

#include <poll.h>

#include <algorithm>
#include <utility>

namespace vmsg::guest {

Instant now() { return std::chrono::steady_clock::now().time_since_epoch(); }

void GuestLoop::add(int fd, Handler on_readable) {
  sources_.push_back({fd, std::move(on_readable)});
}

void GuestLoop::remove(int fd) {
  std::erase_if(sources_, [fd](const Source& source) { return source.fd == fd; });
}

bool GuestLoop::run_until(const std::function<bool()>& is_done, std::chrono::nanoseconds patience) {
  const Instant deadline = now() + patience;
  while (!is_done()) {
    const auto wanted = ticker_ ? ticker_(now()) : std::nullopt;
    if (is_done()) return true;
    const Instant until = wanted ? std::min(*wanted, deadline) : deadline;
    const Instant time = now();
    if (time >= deadline) return false;

    std::vector<pollfd> polled;
    polled.reserve(sources_.size());
    for (const Source& source : sources_) {
      polled.push_back({.fd = source.fd, .events = POLLIN, .revents = 0});
    }
    const auto left = std::max(until - time, Instant{0});
    timespec limit{};
    limit.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(left).count();
    limit.tv_nsec = (left % std::chrono::seconds(1)).count();
    if (ppoll(polled.data(), polled.size(), &limit, nullptr) <= 0) continue;
    for (const pollfd& ready : polled) {
      if (ready.revents == 0) continue;
      // A handler may have removed another one's descriptor.
      const auto source = std::ranges::find(sources_, ready.fd, &Source::fd);
      if (source == sources_.end()) continue;
      const Handler handler = source->on_readable;
      handler();
    }
  }
  return true;
}

}  // namespace vmsg::guest
