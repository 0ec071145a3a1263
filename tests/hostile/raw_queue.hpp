// A virtqueue of an entropy device that is written field by field, right or wrong.
#pragma once

#include <cstdint>

#include "tests/hostile/attacker.hpp"
#include "transport/queue_layout.hpp"

namespace vmsg::hostile {

class RawQueue {
 public:
  static constexpr std::uint32_t kSize = 16;

  /// Areas and kSize buffers of a page each, granted as they have to be. Nothing is told to the
  /// device side yet.
  RawQueue(Attacker& attacker, QueueFormat format);

  /// SET_VQUEUE of queue 0 as it should be; an adversary changes what it likes.
  [[nodiscard]] SetVqueueRequest request() const;
  /// Sends it and says whether the device side enabled the queue.
  bool enable(const SetVqueueRequest& request);
  /// Enables it, gives it an event channel if asked to, and sets DRIVER_OK.
  void go_live(bool with_port);

  // ---- split
  void descriptor(std::uint32_t index, std::uint64_t address, std::uint32_t length,
                  std::uint16_t flags, std::uint16_t next) const;
  void available(std::uint16_t position, std::uint16_t head) const;
  void set_available_index(std::uint16_t index) const;
  [[nodiscard]] std::uint16_t used_index() const;

  // ---- packed: `flags` without the two bits that make it available
  void packed(std::uint32_t index, std::uint64_t address, std::uint32_t length, std::uint16_t id,
              std::uint16_t flags, bool is_available = true) const;
  [[nodiscard]] bool is_used(std::uint32_t index) const;

  /// One writable buffer of `length` bytes in slot `slot`, in the format of the queue, published.
  void publish_one(std::uint32_t slot, std::uint32_t length) const;
  /// Whether the buffer of slot `slot` (the first use of the ring) came back.
  [[nodiscard]] bool came_back(std::uint32_t slot) const;

  void kick() const;
  [[nodiscard]] std::uint64_t buffer(std::uint32_t slot) const;
  [[nodiscard]] SharedBytes buffer_bytes(std::uint32_t slot) const;

  [[nodiscard]] SharedBytes descriptors() const { return descriptors_.bytes(); }
  [[nodiscard]] SharedBytes driver() const { return driver_.bytes(); }
  [[nodiscard]] SharedBytes device() const { return device_.bytes(); }
  void unshare_areas();
  void unshare_buffers() { buffers_.unshare(); }

 private:
  Attacker& attacker_;
  const QueueFormat format_;
  xen::SharedPages descriptors_;
  xen::SharedPages driver_;
  xen::SharedPages device_;
  xen::SharedPages buffers_;
  xen::Port port_;
};

}  // namespace vmsg::hostile
