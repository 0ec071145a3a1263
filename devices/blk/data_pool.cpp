#include "devices/blk/data_pool.hpp"

#include <sys/mman.h>

#include <bit>

namespace vmsg::blk {
namespace {

constexpr std::size_t kBits = 64;

/// `count` (at most 64) bits from `first` on.
constexpr std::uint64_t bits(std::size_t first, std::size_t count) {
  const std::uint64_t low = count == kBits ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
  return low << first;
}

}  // namespace

DataPool::DataPool(std::size_t bytes)
    : pages_((bytes + kPageSize - 1) / kPageSize),
      free_pages_(pages_),
      used_((pages_ + kBits - 1) / kBits) {
  if (pages_ % kBits != 0) used_.back() = ~bits(0, pages_ % kBits);
  void* const memory = mmap(nullptr, size(), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;
  // A child of this process must not share pages that the kernel writes to.
  static_cast<void>(madvise(memory, size(), MADV_DONTFORK));
  base_ = static_cast<std::byte*>(memory);
}

DataPool::~DataPool() {
  if (base_ != nullptr) munmap(base_, size());
}

std::optional<std::span<std::byte>> DataPool::take(std::size_t bytes) {
  const std::size_t wanted = (bytes + kPageSize - 1) / kPageSize;
  if (wanted == 0 || wanted > free_pages_) return std::nullopt;
  std::size_t first = 0;
  std::size_t found = 0;  // free pages in a row before `at`
  std::size_t at = 0;
  while (at < pages_) {
    // From here to the end of the word: what is used is zero now, what is free is one.
    const std::uint64_t free = ~used_[at / kBits] >> (at % kBits);
    const auto here = static_cast<std::size_t>(std::countr_one(free));
    if (here == 0) {
      found = 0;
      at += free == 0 ? kBits - at % kBits : static_cast<std::size_t>(std::countr_zero(free));
      continue;
    }
    if (found == 0) first = at;
    found += here;
    at += here;
    if (found >= wanted) {
      mark(first, wanted, true);
      return std::span(base_ + first * kPageSize, wanted * kPageSize).first(bytes);
    }
    if (at % kBits != 0) found = 0;  // a used page follows
  }
  return std::nullopt;
}

void DataPool::give_back(std::span<std::byte> run) {
  const auto first = static_cast<std::size_t>(run.data() - base_) / kPageSize;
  mark(first, (run.size() + kPageSize - 1) / kPageSize, false);
}

void DataPool::mark(std::size_t first, std::size_t count, bool is_used) {
  free_pages_ = is_used ? free_pages_ - count : free_pages_ + count;
  while (count > 0) {
    const std::size_t here = std::min(count, kBits - first % kBits);
    std::uint64_t& word = used_[first / kBits];
    const std::uint64_t mask = bits(first % kBits, here);
    VMSG_INVARIANT((word & mask) == (is_used ? 0 : mask));
    word ^= mask;
    first += here;
    count -= here;
  }
}

}  // namespace vmsg::blk
