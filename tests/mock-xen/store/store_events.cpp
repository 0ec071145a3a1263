// The watch events of a handle: a queue, and a pipe that is readable while there are some.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "tests/mock-xen/store/store_handle.hpp"

namespace vmsg::mock::store {

void StoreHandle::close_pipe() {
  for (int& end : event_pipe_) {
    if (end >= 0) ::close(std::exchange(end, -1));
  }
}

void StoreHandle::queue_event(Buffer event) {
  const std::lock_guard queues(queue_mutex_);
  if (events_.empty()) set_readable();
  events_.push_back(std::move(event));
  event_arrived_.notify_one();
}

std::optional<Buffer> StoreHandle::next_event(bool may_wait) {
  std::unique_lock queues(queue_mutex_);
  if (may_wait) event_arrived_.wait(queues, [this] { return !events_.empty() || is_broken_; });
  if (events_.empty()) {
    errno = is_broken_ ? EINVAL : EAGAIN;
    return std::nullopt;
  }
  Buffer event = std::move(events_.front());
  events_.pop_front();
  if (events_.empty()) clear_readable();
  return event;
}

int StoreHandle::event_fd() {
  const std::lock_guard queues(queue_mutex_);
  if (event_pipe_[0] < 0) {
    if (::pipe2(event_pipe_.data(), O_CLOEXEC) != 0) {
      event_pipe_ = {-1, -1};
      return -1;
    }
    if (!events_.empty()) set_readable();
  }
  return event_pipe_[0];
}

void StoreHandle::forget_events(std::string_view path, std::string_view token) {
  const std::lock_guard queues(queue_mutex_);
  const bool was_empty = events_.empty();
  std::erase_if(events_, [&](const Buffer& event) {
    const std::string event_path = event.bytes.get();
    const std::string_view rest = event.view().substr(std::min(event_path.size() + 1, event.size));
    return rest.substr(0, rest.find('\0')) == token &&
           xs_path_is_subpath(std::string(path).c_str(), event_path.c_str());
  });
  if (!was_empty && events_.empty()) clear_readable();
}

// One byte is in the pipe while there are events.
void StoreHandle::set_readable() {
  if (event_pipe_[1] < 0) return;
  while (::write(event_pipe_[1], "", 1) < 0 && errno == EINTR) continue;
}

void StoreHandle::clear_readable() {
  if (event_pipe_[0] < 0) return;
  char byte = 0;
  while (::read(event_pipe_[0], &byte, 1) < 0 && errno == EINTR) continue;
}

}  // namespace vmsg::mock::store
