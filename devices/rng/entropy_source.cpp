#include "devices/rng/entropy_source.hpp"

#include <sys/random.h>

namespace vmsg::rng {

std::size_t KernelEntropy::fill(std::span<std::byte> out) {
  // GRND_NONBLOCK: a worker serves other guests too, it must not wait for the pool to get ready.
  const ssize_t got = getrandom(out.data(), out.size(), GRND_NONBLOCK);
  return got > 0 ? static_cast<std::size_t>(got) : 0;
}

}  // namespace vmsg::rng
