// Frames over a stream socket, each behind its length in four bytes, most significant first: what
// passt and the stream network backends of QEMU speak. There are no vnet headers, hence no
// offloads.
//
// A connection outlives the guest's resets: what was read of a frame stays here. All of it runs on
// the one worker that has the queues.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "devices/bounded_queue.hpp"
#include "devices/byte_ring.hpp"
#include "devices/file_descriptor.hpp"
#include "devices/net/frame_io.hpp"

namespace vmsg::net {

class StreamConnection {
 public:
  explicit StreamConnection(std::string path);

  /// Connects if it is not connected and nothing of the last connection is under way any more. The
  /// error is an errno value.
  Result<void, int> connect();
  /// The other side has gone or broke the protocol.
  void lost();
  [[nodiscard]] bool is_connected() const { return is_connected_.load(std::memory_order_relaxed); }
  [[nodiscard]] int fd() const { return socket_.get(); }
  void set_listener(std::function<void(bool)> on_change) { on_change_ = std::move(on_change); }

  /// Operations on the socket: it stays open while there are any.
  void operation_begins() { ++operations_; }
  void operation_ends() { --operations_; }

  // What was received and not taken yet.
  [[nodiscard]] std::span<std::byte> free_space();
  void add_received(std::size_t bytes) { end_ += bytes; }
  /// The next whole frame, valid until free_space(); nullopt when there is none. A length that
  /// cannot be loses the connection.
  [[nodiscard]] std::optional<std::span<const std::byte>> peek_frame();
  void drop_frame(std::size_t size);

 private:
  const std::string path_;
  FileDescriptor socket_;
  std::atomic<bool> is_connected_{false};
  unsigned operations_ = 0;
  std::function<void(bool)> on_change_;
  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

class StreamReceiver final : public FrameReceiver, private IoCompletion {
 public:
  StreamReceiver(StreamConnection& connection, IoRing& io, FrameListener& listener);

  void request(std::size_t frames) override;
  bool is_idle() const override { return !is_receiving_; }
  bool has_failed() const override { return !connection_.is_connected(); }
  std::size_t received() const override { return frames_.size(); }
  std::span<std::byte> frame(std::size_t index) override { return frames_[index]; }
  void release(std::size_t count) override;
  bool has_work_in_flight() const override { return is_receiving_; }
  void stop() override;

 private:
  void on_complete(std::int32_t result, bool is_last) override;
  void take_frames();

  StreamConnection& connection_;
  IoRing& io_;
  FrameListener& listener_;
  ByteRing bytes_;
  BoundedQueue<std::span<std::byte>> frames_;
  bool is_receiving_ = false;
  bool is_stopped_ = false;
};

class StreamTransmitter final : public FrameTransmitter, private IoCompletion {
 public:
  StreamTransmitter(StreamConnection& connection, IoRing& io, FrameListener& listener,
                    std::size_t capacity);

  bool send(std::size_t slot, std::span<std::byte> bytes) override;
  void flush() override;
  std::optional<int> result(std::size_t slot) const override { return results_[slot]; }
  bool has_work_in_flight() const override { return is_sending_; }
  void stop() override;

 private:
  struct Pending {
    std::size_t slot = 0;
    std::span<std::byte> bytes;  // of them what is not sent yet
    bool has_begun = false;
  };
  void on_complete(std::int32_t result, bool is_last) override;
  void sent(std::size_t bytes);
  void fail_all(int error);

  StreamConnection& connection_;
  IoRing& io_;
  FrameListener& listener_;
  std::vector<std::optional<int>> results_;
  BoundedQueue<Pending> pending_;
  std::vector<iovec> vectors_;
  msghdr message_{};
  bool is_sending_ = false;
  bool is_stopped_ = false;
};

}  // namespace vmsg::net
