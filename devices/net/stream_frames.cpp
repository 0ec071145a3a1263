#include "devices/net/stream_frames.hpp"

#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "devices/net/net_protocol.hpp"

namespace vmsg::net {
namespace {

constexpr std::size_t kLengthSize = 4;
constexpr std::size_t kBufferSize = std::size_t{256} * 1024;  // a few of the longest frames
constexpr std::size_t kMaxFrames = 64;

std::size_t load_length(std::span<const std::byte> bytes) {
  std::size_t length = 0;
  for (std::size_t i = 0; i < kLengthSize; ++i) {
    length = length << 8U | std::to_integer<std::size_t>(bytes[i]);
  }
  return length;
}

void store_length(std::span<std::byte> bytes, std::size_t length) {
  for (std::size_t i = kLengthSize; i-- > 0; length >>= 8U) {
    bytes[i] = static_cast<std::byte>(length & 0xffU);
  }
}

}  // namespace

// ---- the connection -----------------------------------------------------------------------------

StreamConnection::StreamConnection(std::string path)
    : path_(std::move(path)), buffer_(kBufferSize) {}

Result<void, int> StreamConnection::connect() {
  if (is_connected()) return {};
  if (operations_ != 0) return std::unexpected(EBUSY);
  socket_ = FileDescriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_.is_open()) return std::unexpected(errno);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.copy(std::data(address.sun_path), sizeof(address.sun_path) - 1);
  // On a unix socket this does not wait: it succeeds, or the other side has no room.
  // SAFETY: every socket address begins with the family that says how long it is.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
  if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    const int error = errno;
    socket_ = {};
    return std::unexpected(error);
  }
  begin_ = end_ = 0;
  is_connected_.store(true, std::memory_order_relaxed);
  if (on_change_) on_change_(true);
  return {};
}

void StreamConnection::lost() {
  if (!is_connected_.exchange(false, std::memory_order_relaxed)) return;
  // Ends what is under way; closed when that has ended.
  static_cast<void>(::shutdown(socket_.get(), SHUT_RDWR));
  if (on_change_) on_change_(false);
}

std::span<std::byte> StreamConnection::free_space() {
  if (begin_ == end_) begin_ = end_ = 0;
  if (buffer_.size() - end_ < kLengthSize + kMaxFrame) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  return std::span(buffer_).subspan(end_);
}

std::optional<std::span<const std::byte>> StreamConnection::peek_frame() {
  const auto bytes = std::span<const std::byte>(buffer_).subspan(begin_, end_ - begin_);
  if (!is_connected() || bytes.size() < kLengthSize) return std::nullopt;
  const std::size_t length = load_length(bytes);
  if (length > kMaxFrame) {
    lost();
    return std::nullopt;
  }
  if (bytes.size() - kLengthSize < length) return std::nullopt;
  return bytes.subspan(kLengthSize, length);
}

void StreamConnection::drop_frame(std::size_t size) { begin_ += kLengthSize + size; }

// ---- receiving ----------------------------------------------------------------------------------

StreamReceiver::StreamReceiver(StreamConnection& connection, IoRing& io, FrameListener& listener)
    : connection_(connection),
      io_(io),
      listener_(listener),
      bytes_(kBufferSize),
      frames_(kMaxFrames) {}

void StreamReceiver::request(std::size_t) {
  if (is_receiving_ || is_stopped_) return;
  take_frames();
  // What is here is delivered first: the guest's pace is the other side's.
  if (!frames_.empty() || !connection_.connect()) return;
  io_uring_sqe* entry = io_.prepare(*this);
  if (entry == nullptr) return;
  const auto space = connection_.free_space();
  io_uring_prep_recv(entry, connection_.fd(), space.data(), space.size(), 0);
  is_receiving_ = true;
  connection_.operation_begins();
}

void StreamReceiver::on_complete(std::int32_t result, bool) {
  is_receiving_ = false;
  connection_.operation_ends();
  if (result > 0) {
    connection_.add_received(static_cast<std::size_t>(result));
    if (!is_stopped_) take_frames();
  } else if (result == 0 || (result != -EAGAIN && result != -EINTR && result != -ECANCELED)) {
    connection_.lost();
  }
  listener_.host_progressed();
}

void StreamReceiver::take_frames() {
  while (frames_.room() > 0) {
    const auto frame = connection_.peek_frame();
    if (!frame) return;
    const auto piece = bytes_.take(kHeaderSize + frame->size());
    if (piece.empty()) return;
    std::ranges::fill(piece.first(kHeaderSize), std::byte{0});
    std::ranges::copy(*frame, piece.begin() + kHeaderSize);
    connection_.drop_frame(frame->size());
    frames_.push(std::span<std::byte>(piece));
  }
}

void StreamReceiver::release(std::size_t count) {
  for (; count > 0; --count) {
    bytes_.give_back(frames_.front());
    frames_.pop();
  }
}

void StreamReceiver::stop() {
  is_stopped_ = true;
  if (is_receiving_) io_.cancel(*this);
}

// ---- sending ------------------------------------------------------------------------------------

StreamTransmitter::StreamTransmitter(StreamConnection& connection, IoRing& io,
                                     FrameListener& listener, std::size_t capacity)
    : connection_(connection),
      io_(io),
      listener_(listener),
      results_(capacity),
      pending_(capacity),
      vectors_(capacity) {}

bool StreamTransmitter::send(std::size_t slot, std::span<std::byte> bytes) {
  if (!connection_.is_connected()) {
    results_[slot] = ENOTCONN;
    return true;
  }
  results_[slot].reset();
  // The length takes the last bytes of the header, which the other side does not know.
  const auto sent = bytes.subspan(kHeaderSize - kLengthSize);
  store_length(sent, bytes.size() - kHeaderSize);
  pending_.push({.slot = slot, .bytes = sent});
  return true;
}

void StreamTransmitter::flush() {
  if (is_sending_ || pending_.empty() || is_stopped_) return;
  if (!connection_.is_connected()) return fail_all(ENOTCONN);
  io_uring_sqe* entry = io_.prepare(*this);
  if (entry == nullptr) return;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    const auto bytes = pending_[i].bytes;
    vectors_[i] = {.iov_base = bytes.data(), .iov_len = bytes.size()};
  }
  message_ = {};
  message_.msg_iov = vectors_.data();
  message_.msg_iovlen = pending_.size();
  io_uring_prep_sendmsg(entry, connection_.fd(), &message_, MSG_NOSIGNAL);
  is_sending_ = true;
  connection_.operation_begins();
}

void StreamTransmitter::on_complete(std::int32_t result, bool) {
  is_sending_ = false;
  connection_.operation_ends();
  if (result > 0) {
    sent(static_cast<std::size_t>(result));
  } else if (result != -EAGAIN && result != -EINTR && result != -ECANCELED) {
    connection_.lost();
    fail_all(result == 0 ? EPIPE : -result);
  }
  // Half a frame cannot be taken back: the rest of the stream would be read wrongly.
  if (is_stopped_ && !pending_.empty() && pending_.front().has_begun) connection_.lost();
  listener_.host_progressed();
}

void StreamTransmitter::sent(std::size_t bytes) {
  while (bytes > 0 && !pending_.empty()) {
    Pending& oldest = pending_.front();
    if (bytes < oldest.bytes.size()) {
      oldest.bytes = oldest.bytes.subspan(bytes);
      oldest.has_begun = true;
      return;
    }
    bytes -= oldest.bytes.size();
    results_[oldest.slot] = 0;
    pending_.pop();
  }
}

void StreamTransmitter::fail_all(int error) {
  for (; !pending_.empty(); pending_.pop()) results_[pending_.front().slot] = error;
}

void StreamTransmitter::stop() {
  is_stopped_ = true;
  if (is_sending_) {
    io_.cancel(*this);
  } else if (!pending_.empty() && pending_.front().has_begun) {
    connection_.lost();
  }
}

}  // namespace vmsg::net
