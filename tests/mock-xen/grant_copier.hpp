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
};

}  // namespace vmsg::mock
