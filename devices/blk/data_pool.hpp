// The memory that the data of a queue's requests passes through: page-aligned runs out of one
// region that was allocated when the queue was set up. Untouched pages cost nothing, and low ones
// are reused first, so a queue with little traffic stays small.
//
// Anonymous memory, as grant copies need it; not for several threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "transport/result.hpp"

namespace vmsg::blk {

class DataPool {
 public:
  static constexpr std::size_t kPageSize = 4096;

  /// The size is rounded up to pages. Null-sized when there is no memory: see is_valid().
  explicit DataPool(std::size_t bytes);
  ~DataPool();
  DataPool(const DataPool&) = delete;
  DataPool& operator=(const DataPool&) = delete;

  [[nodiscard]] bool is_valid() const { return base_ != nullptr; }

  /// A run of whole pages that holds `bytes`; nothing when none is free now. Give it back.
  [[nodiscard]] std::optional<std::span<std::byte>> take(std::size_t bytes);
  void give_back(std::span<std::byte> run);

  /// All of it, for those who prepare something with it; what is whose is known by take() alone.
  [[nodiscard]] std::span<std::byte> memory() const { return {base_, size()}; }

  [[nodiscard]] std::size_t size() const { return pages_ * kPageSize; }
  [[nodiscard]] std::size_t free_pages() const { return free_pages_; }

 private:
  void mark(std::size_t first, std::size_t count, bool is_used);

  std::byte* base_ = nullptr;
  std::size_t pages_;
  std::size_t free_pages_;
  std::vector<std::uint64_t> used_;  // a bit a page; those behind the last page are set
};

}  // namespace vmsg::blk
