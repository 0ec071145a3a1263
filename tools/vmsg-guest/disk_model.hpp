// What the sectors of a disk may hold, as far as a driver that wrote them knows: the shadow that
// `vmsg-guest blk verify` compares with. Pure; the disk is somebody else's.
//
// Every write has a version, and every sector of it says which sector and version it is, in a
// pattern that nothing else has. A sector of which all operations have been answered has one value.
// It may have one of several after an operation that was never answered (a reset came between), and
// after a loss of power also any value since the one that a flush made safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace vmsg::guest {

inline constexpr std::uint32_t kModelSector = 512;

enum class Change : std::uint8_t { kWrite, kZero, kDiscard };

/// A range of sectors and the version that an operation gave it.
struct VersionedRange {
  std::uint64_t sector = 0;
  std::uint32_t count = 0;
  std::uint32_t version = 0;
};

class DiskModel {
 public:
  /// Nothing is known about the sectors yet: anything is right until they are written.
  DiskModel(std::uint64_t sectors, std::uint64_t seed);

  [[nodiscard]] std::uint64_t sectors() const { return sectors_.size(); }

  /// The operation is about to be made available. Its version goes into the pattern.
  [[nodiscard]] VersionedRange begin(Change change, std::uint64_t sector, std::uint32_t count);
  /// The device said that it is done.
  void done(Change change, const VersionedRange& range);
  /// It was never answered, or failed: it may have happened or not.
  void unknown(Change change, const VersionedRange& range);

  /// What a flush makes safe: everything that was done when it was made available.
  [[nodiscard]] std::vector<VersionedRange> begin_flush();
  void flush_done(const std::vector<VersionedRange>& covered);
  void flush_failed(std::vector<VersionedRange> covered);

  /// What was not safe may be gone.
  void power_cut();

  /// The bytes of a write.
  void fill(const VersionedRange& range, std::span<std::byte> out) const;
  /// Compares what was read, of which nothing is under way; after that it is the value. The answer
  /// says what is wrong, nothing when all is right.
  [[nodiscard]] std::optional<std::string> check(std::uint64_t sector,
                                                 std::span<const std::byte> bytes);

  [[nodiscard]] bool save(const std::string& path) const;
  [[nodiscard]] static std::optional<DiskModel> load(const std::string& path);

 private:
  // `now`: as long as there was no loss; `since`: what a loss may bring back.
  static constexpr std::uint32_t kZeroNow = 1;
  static constexpr std::uint32_t kAnyNow = 2;
  static constexpr std::uint32_t kZeroSince = 4;
  static constexpr std::uint32_t kAnySince = 8;

  struct Sector {
    std::uint32_t safe = 0;  // the version that a flush covered last
    std::uint32_t low = 0;   // the oldest and the newest version that it may have now
    std::uint32_t high = 0;
    std::uint32_t flags = kAnyNow | kAnySince;
  };

  [[nodiscard]] std::uint64_t word(std::uint64_t sector, std::uint32_t version,
                                   std::size_t index) const;
  [[nodiscard]] bool is_pattern(std::uint64_t sector, std::uint32_t version,
                                std::span<const std::byte> bytes) const;

  std::uint64_t seed_;
  std::uint32_t version_ = 0;
  std::vector<Sector> sectors_;
  std::vector<VersionedRange> unflushed_;
};

}  // namespace vmsg::guest
