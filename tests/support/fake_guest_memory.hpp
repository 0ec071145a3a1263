// A guest's memory without a guest: pages behind consecutive grant references, which a test may
// make read-only, revoke, and write to at any moment; and a CopyBatch over it that counts.
//
// What the hypervisor would check is checked here: reference granted, write allowed, ranges page
// by page with a status each. Nothing here knows virtqueues.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "transport/guest_memory.hpp"

namespace vmsg::test {

enum class PageGrant : std::uint8_t { kNone, kReadOnly, kReadWrite };

class FakeGuestMemory final : public GuestMemory {
 public:
  struct Options {
    std::uint32_t first_reference = 8;
    std::uint32_t pages = 1024;
  };

  FakeGuestMemory();
  explicit FakeGuestMemory(const Options& options);
  /// Nothing is mapped any more.
  ~FakeGuestMemory() override;

  // The guest's own view.

  /// Grants `bytes` of memory that nothing else uses, from a page border on, zeroed.
  GrantAddress allocate(std::size_t bytes, PageGrant grant = PageGrant::kReadWrite);
  /// The same, beginning `offset` bytes into its first page.
  GrantAddress allocate_at(std::uint32_t offset, std::size_t bytes,
                           PageGrant grant = PageGrant::kReadWrite);
  /// Takes the grants back, as a driver does when its buffer was used. What is copied from or to
  /// it afterwards fails.
  void release(GrantAddress address, std::size_t bytes);
  /// The guest's view of its memory: always there, whatever is granted.
  std::span<std::byte> bytes(GrantAddress address, std::size_t size);
  SharedBytes shared(GrantAddress address, std::size_t size);

  /// From now on the page behind the reference is granted like this. Mappings that exist stay.
  void set_grant(std::uint32_t reference, PageGrant grant);
  void revoke(GrantAddress address, std::size_t size);

  // The device side's view.

  [[nodiscard]] Result<std::unique_ptr<MappedRange>, MemoryError> map(GrantAddress address,
                                                                      std::uint64_t bytes,
                                                                      Access access) override;
  /// One page's worth of a copy.
  [[nodiscard]] CopyOutcome copy(const PagePiece& piece, std::byte* local, CopyDirection direction);

  /// How many mappings exist.
  [[nodiscard]] std::size_t mappings() const { return mappings_; }
  [[nodiscard]] std::uint32_t first_reference() const { return first_reference_; }
  [[nodiscard]] std::uint32_t pages() const { return static_cast<std::uint32_t>(grants_.size()); }

 private:
  class Mapping;
  [[nodiscard]] bool may_access(std::uint32_t reference, Access access) const;
  std::byte* at(GrantAddress address, std::size_t size);

  std::uint32_t first_reference_;
  std::vector<std::byte> storage_;  // one page more than granted, to begin at a page border
  std::byte* base_;
  std::vector<PageGrant> grants_;
  std::vector<bool> is_in_use_;
  std::size_t search_from_ = 0;
  std::size_t mappings_ = 0;
};

/// Copies at run(), in the order of the adds, as one grant-copy call would.
class FakeCopyBatch final : public CopyBatch {
 public:
  /// Guest 0 is `memory`.
  FakeCopyBatch(CopyDirection direction, FakeGuestMemory& memory);

  void add_guest(std::uint16_t domain, FakeGuestMemory& memory);

  void add(const GuestRef& guest, GrantAddress address, std::span<std::byte> local,
           CopyOutcome& outcome) override;
  void run() override;
  [[nodiscard]] CopyDirection direction() const override { return direction_; }

  // Counters since the beginning.
  [[nodiscard]] std::size_t runs() const { return runs_; }
  [[nodiscard]] std::size_t segments() const { return segments_; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] std::size_t pending() const { return pending_.size(); }

  /// The next run() fails as a whole.
  void fail_next_run() { fail_next_run_ = true; }
  /// Called at the beginning of each run(): a guest that changes its memory just now.
  void before_run(std::function<void()> action) { before_run_ = std::move(action); }

 private:
  struct Copy {
    FakeGuestMemory* memory;
    GrantAddress address;
    std::span<std::byte> local;
    CopyOutcome* outcome;
  };
  void run_one(const Copy& copy);

  CopyDirection direction_;
  std::map<std::uint16_t, FakeGuestMemory*> guests_;
  std::vector<Copy> pending_;
  std::function<void()> before_run_;
  bool fail_next_run_ = false;
  std::size_t runs_ = 0;
  std::size_t segments_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace vmsg::test
