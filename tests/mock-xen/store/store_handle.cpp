#include "tests/mock-xen/store/store_handle.hpp"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <system_error>
#include <utility>

namespace vmsg::mock::store {
StoreHandle::StoreHandle(std::unique_ptr<Client> client, bool filters_unwatched)
    : client_(std::move(client)), filters_unwatched_(filters_unwatched) {}

StoreHandle::~StoreHandle() {
  // Wakes the reader: its next read finds the end.
  ::shutdown(client_->fd(), SHUT_RDWR);
  if (reader_.joinable()) reader_.join();
  close_pipe();
}

void StoreHandle::abandon() {
  client_.reset();
  close_pipe();
}

bool StoreHandle::start_reader() {
  const std::lock_guard requests(request_mutex_);  // nobody else is reading
  const std::lock_guard queues(queue_mutex_);
  if (has_reader_) return true;

  // Signals are for the program's own threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = 0;
  try {
    reader_ = std::thread(&StoreHandle::read_until_closed, this);
    has_reader_ = true;
  } catch (const std::system_error& failure) {
    error = failure.code().value();
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) errno = error;
  return error == 0;
}

std::optional<Buffer> StoreHandle::talk(xsd_sockmsg_type type, xs_transaction_t transaction,
                                        std::span<const std::string_view> parts) {
  std::size_t length = 0;
  for (const std::string_view part : parts) length += part.size();
  if (length > XENSTORE_PAYLOAD_MAX) {
    errno = E2BIG;
    return std::nullopt;
  }
  const xsd_sockmsg header = {.type = static_cast<std::uint32_t>(type),
                              .req_id = 0,
                              .tx_id = transaction,
                              .len = static_cast<std::uint32_t>(length)};

  const std::lock_guard requests(request_mutex_);
  std::optional<Message> reply;
  if (send(header, parts)) reply = next_reply();
  if (reply && reply->header.type == XS_ERROR) {
    errno = error_of_name(reply->body.bytes.get());
    return std::nullopt;
  }
  if (!reply || reply->header.type != header.type) {
    break_connection();
    errno = reply ? EBADF : errno;
    return std::nullopt;
  }
  return std::move(reply->body);
}

bool StoreHandle::send(const xsd_sockmsg& header, std::span<const std::string_view> parts) {
  {
    const std::lock_guard queues(queue_mutex_);
    if (is_broken_) {
      errno = EBADF;
      return false;
    }
  }
  std::array<char, sizeof(xsd_sockmsg) + XENSTORE_PAYLOAD_MAX> message;
  std::memcpy(message.data(), &header, sizeof header);
  std::size_t size = sizeof header;
  for (const std::string_view part : parts) {
    if (part.empty()) continue;
    std::memcpy(message.data() + size, part.data(), part.size());
    size += part.size();
  }
  for (std::size_t sent = 0; sent < size;) {
    const ssize_t n = ::send(client_->fd(), message.data() + sent, size - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    sent += static_cast<std::size_t>(n);
  }
  return true;
}

// At least `size` bytes in the input buffer.
bool StoreHandle::fill(std::size_t size) {
  if (input_begin_ == input_end_) input_begin_ = input_end_ = 0;
  if (input_begin_ + size > input_.size()) {
    std::memmove(input_.data(), input_.data() + input_begin_, input_end_ - input_begin_);
    input_end_ -= std::exchange(input_begin_, 0);
  }
  while (input_end_ - input_begin_ < size) {
    const ssize_t n =
        ::recv(client_->fd(), input_.data() + input_end_, input_.size() - input_end_, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = EBADF;
    if (n <= 0) return false;
    input_end_ += static_cast<std::size_t>(n);
  }
  return true;
}

std::optional<StoreHandle::Message> StoreHandle::receive() {
  Message message;
  if (!fill(sizeof message.header)) return std::nullopt;
  std::memcpy(&message.header, input_.data() + input_begin_, sizeof message.header);
  const std::size_t length = message.header.len;
  if (length > XENSTORE_PAYLOAD_MAX) {
    errno = EBADF;
    return std::nullopt;
  }
  if (!fill(sizeof message.header + length)) return std::nullopt;
  message.body = Buffer::copy_of({input_.data() + input_begin_ + sizeof message.header, length});
  input_begin_ += sizeof message.header + length;
  return message;
}

std::optional<StoreHandle::Message> StoreHandle::next_reply() {
  std::unique_lock queues(queue_mutex_);
  if (has_reader_) {
    reply_arrived_.wait(queues, [this] { return !replies_.empty() || is_broken_; });
    if (replies_.empty()) {
      errno = EINVAL;  // as the real library has it when the connection ends under a request
      return std::nullopt;
    }
    std::optional<Message> reply = std::move(replies_.front());
    replies_.pop_front();
    return reply;
  }
  queues.unlock();  // no reader can start meanwhile: that takes request_mutex_
  for (;;) {
    std::optional<Message> message = receive();
    if (!message || message->header.type != XS_WATCH_EVENT) return message;
    queue_event(std::move(message->body));
  }
}

void StoreHandle::read_until_closed() {
  while (std::optional<Message> message = receive()) {
    if (message->header.type == XS_WATCH_EVENT) {
      queue_event(std::move(message->body));
      continue;
    }
    const std::lock_guard queues(queue_mutex_);
    replies_.push_back(std::move(*message));
    reply_arrived_.notify_one();
  }
  break_connection();
}

// What is on the wire cannot be trusted any more: the next byte may be in the middle of a message.
void StoreHandle::break_connection() {
  const int error = errno;
  ::shutdown(client_->fd(), SHUT_RDWR);
  const std::lock_guard queues(queue_mutex_);
  is_broken_ = true;
  reply_arrived_.notify_all();
  event_arrived_.notify_all();
  errno = error;
}

}  // namespace vmsg::mock::store
