// Where the random bytes of virtio-rng come from.
#pragma once

#include <cstddef>
#include <span>

namespace vmsg::rng {

class EntropySource {
 public:
  EntropySource() = default;
  EntropySource(const EntropySource&) = delete;
  EntropySource& operator=(const EntropySource&) = delete;
  virtual ~EntropySource() = default;

  /// Fills some of `out` from its start without blocking and returns how many bytes; 0 when there
  /// is nothing now.
  [[nodiscard]] virtual std::size_t fill(std::span<std::byte> out) = 0;
};

/// The kernel's generator. Stateless: one serves all guests and threads.
class KernelEntropy final : public EntropySource {
 public:
  std::size_t fill(std::span<std::byte> out) override;
};

}  // namespace vmsg::rng
