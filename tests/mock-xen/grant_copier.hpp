// Grant copy as Linux's gntdev and Xen do it, on the shared grant tables and the domains' memory.
//
// gntdev cuts segments at local page borders and hands the pieces to Xen in batches of 16. That
// shows: a segment it refuses (EINVAL) ends the call, and the pieces of the unfinished batch are
// never done although their status says okay.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

// Xen's headers say nothing about C++.
extern "C" {
#include <xengnttab.h>
}

#include "tests/mock-xen/client.hpp"
#include "tests/mock-xen/segment.hpp"

namespace vmsg::mock {

class GrantCopier {
 public:
  explicit GrantCopier(Client& client) : client_(client) {}
  ~GrantCopier();
  GrantCopier(const GrantCopier&) = delete;
  GrantCopier& operator=(const GrantCopier&) = delete;

  /// 0 or errno. Calls must not overlap.
  int copy(std::uint32_t count, xengnttab_grant_copy_segment_t* segments);

 private:
  static constexpr std::size_t kBatch = 16;

  /// A domain's whole memory, mapped here once.
  struct Window {
    std::uint32_t incarnation = 0;
    std::byte* base = nullptr;
  };
  /// At most one page, on both sides.
  struct Piece {
    xengnttab_grant_copy_segment_t* segment = nullptr;
    std::uint32_t done = 0;  ///< bytes of the segment before this piece
    std::uint32_t size = 0;
  };
  struct Side {
    std::byte* at = nullptr;
    std::int16_t status = 0;
  };

  /// Whole pages of the caller's memory that one segment or several touch.
  struct LocalRange {
    std::uintptr_t first = 0;
    std::uintptr_t end = 0;
    bool writable = false;
  };

  static LocalRange local_range(const xengnttab_grant_copy_segment_t& segment, bool writable);
  /// Asks the kernel once for each run of pages instead of once for each segment: a question costs
  /// more than the copy. False: somebody has to look at each segment to know which one is bad.
  bool is_local_side_accessible(std::uint32_t count,
                                const xengnttab_grant_copy_segment_t* segments);
  int add(xengnttab_grant_copy_segment_t& segment);
  void flush();
  std::int16_t copy_piece(const Piece& piece);
  Side acquire(std::uint32_t domid, std::uint32_t ref, bool write, std::size_t hazard);
  void release(std::size_t hazard);
  std::byte* find_window(std::uint32_t domid, const DomainArea& area);

  Client& client_;
  std::map<std::uint32_t, Window> windows_;
  std::array<Piece, kBatch> batch_{};
  std::size_t batched_ = 0;
  std::vector<LocalRange> ranges_;
  bool is_all_accessible_ = false;
};

}  // namespace vmsg::mock
