// The regions that one guest shares for long (SHARE_REGION): which part of its grant addresses is
// mapped already, so that buffers in it need no grant work.
//
// Changed by one thread, the owner's; read by any number of workers without a lock. What readers
// see is a table that never changes: a change makes a new one and puts it in the old one's place.
// A reader may still hold the old table, and memory that the old table names, until the end of the
// turn that it is in. So withdraw() takes a region out of sight and hands over what is left of it;
// the owner keeps that until every worker has ended a turn (WorkerPool::after_all_turns), and only
// then is the memory unmapped and the guest told.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "transport/guest_memory.hpp"
#include "xenbus-glue/grant_map.hpp"

namespace vmsg {

enum class RegionError : std::uint8_t {
  kBadRange,   // no pages, unaligned, past the last reference, overlaps or id in use
  kNotMapped,  // the guest's references do not map for writing
  kLimit,      // a limit of ours
  kUnknown,    // no such region
};

/// Pages that the regions of all guests together may have: mappings are a resource of the whole
/// domain, and what one guest takes another one lacks. One thread.
class RegionBudget {
 public:
  explicit RegionBudget(std::uint32_t pages) : left_(pages) {}

  [[nodiscard]] bool take(std::uint32_t pages) {
    if (pages > left_) return false;
    left_ -= pages;
    return true;
  }
  void give_back(std::uint32_t pages) { left_ += pages; }
  [[nodiscard]] std::uint32_t left() const { return left_; }

 private:
  std::uint32_t left_;
};

class SharedRegions {
 private:
  struct Table;

 public:
  struct Limits {
    std::uint32_t regions = 16;
    std::uint32_t pages = 65536;  // of all regions together
  };

  /// A region out of sight. Destroying it really gives its memory back: not before all workers
  /// have ended a turn, and not after the mapper.
  class Withdrawn {
   public:
    Withdrawn(Withdrawn&& other) noexcept;
    Withdrawn& operator=(Withdrawn&&) = delete;
    ~Withdrawn();

   private:
    friend class SharedRegions;
    Withdrawn(RegionBudget& budget, xen::GrantMap map,
              std::vector<std::unique_ptr<const Table>> tables);

    RegionBudget& budget_;
    xen::GrantMap map_;
    std::vector<std::unique_ptr<const Table>> tables_;
  };

  /// `mapper` and `budget` outlive this.
  SharedRegions(xen::GrantMapper& mapper, RegionBudget& budget, xen::DomainId domain,
                const Limits& limits);
  SharedRegions(const SharedRegions&) = delete;
  SharedRegions& operator=(const SharedRegions&) = delete;
  /// No worker reads it any more.
  ~SharedRegions();

  /// Maps `pages` consecutive references from `address` on. Workers find it from now on.
  [[nodiscard]] Result<void, RegionError> share(std::uint32_t region, GrantAddress address,
                                                std::uint32_t pages);
  /// Workers that look from now on do not find it.
  [[nodiscard]] Result<Withdrawn, RegionError> withdraw(std::uint32_t region);

  /// On any thread. The bytes of a range that lies in one region as a whole; nullopt otherwise.
  /// They may be used until the end of the worker's turn.
  [[nodiscard]] std::optional<SharedBytes> find(GrantAddress address, std::uint64_t bytes) const {
    // ORDER: pairs with the release in show(): the table's content before the pointer to it.
    const Table* const table = table_.load(std::memory_order_acquire);
    if (table == nullptr) return std::nullopt;
    return find_in(*table, address, bytes);
  }

  [[nodiscard]] std::size_t size() const { return regions_.size(); }
  [[nodiscard]] std::uint32_t pages() const { return pages_; }

 private:
  struct Region {
    std::uint32_t id;
    std::uint64_t first;  // raw grant address of the first byte
    xen::GrantMap map;
  };

  static std::optional<SharedBytes> find_in(const Table& table, GrantAddress address,
                                            std::uint64_t bytes);
  /// Shows the workers what `regions_` says.
  void show();

  xen::GrantMapper& mapper_;
  RegionBudget& budget_;
  xen::DomainId domain_;
  Limits limits_;
  std::uint32_t pages_ = 0;
  std::vector<Region> regions_;  // sorted by address, never overlapping

  std::atomic<const Table*> table_{nullptr};  // what workers see; null without a region
  std::unique_ptr<const Table> shown_;        // the same, owned
  // Tables that a worker may still be reading; the next withdrawal takes them along. One a share(),
  // so never more than there may be regions.
  std::vector<std::unique_ptr<const Table>> old_tables_;
};

}  // namespace vmsg
