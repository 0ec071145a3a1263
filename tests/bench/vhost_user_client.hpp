// The driver's half of vhost-user, as far as one queue of a block device needs it: the same driver
// loop as ours against another device side. Guest addresses are grant addresses here too: for the
// device side they are numbers in its memory table.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "transport/driver_queue.hpp"
#include "transport/result.hpp"

namespace vmsg::bench {

class VhostUserClient {
 public:
  struct Options {
    std::string socket;
    std::uint32_t queue_size = 128;
    bool event_idx = true;
    bool indirect = false;
    std::uint64_t buffer_bytes = 0;
  };

  /// Connects, shares memory and starts queue 0. The error is one line for a person.
  static Result<std::unique_ptr<VhostUserClient>, std::string> connect(const Options& options);
  ~VhostUserClient();
  VhostUserClient(const VhostUserClient&) = delete;
  VhostUserClient& operator=(const VhostUserClient&) = delete;

  [[nodiscard]] DriverQueue& queue() { return *queue_; }
  /// Memory for buffers, and its address for the device.
  [[nodiscard]] SharedBytes buffers() const { return buffers_; }
  [[nodiscard]] GrantAddress buffers_address() const { return buffers_address_; }

  void kick() const;
  /// Readable when the device side has called.
  [[nodiscard]] int call_fd() const { return call_; }
  void clear() const;

 private:
  VhostUserClient() = default;
  Result<void, std::string> start(const Options& options);
  [[nodiscard]] bool send(std::uint32_t request, const void* payload, std::uint32_t size,
                          int fd = -1) const;
  [[nodiscard]] Result<std::uint64_t, std::string> ask(std::uint32_t request) const;

  int socket_ = -1;
  int memory_fd_ = -1;
  int kick_ = -1;
  int call_ = -1;
  std::byte* base_ = nullptr;
  std::size_t bytes_ = 0;
  std::unique_ptr<DriverQueue> queue_;
  SharedBytes buffers_;
  GrantAddress buffers_address_ = GrantAddress::of(0);
};

}  // namespace vmsg::bench
