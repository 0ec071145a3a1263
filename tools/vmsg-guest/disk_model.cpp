#include "tools/vmsg-guest/disk_model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <utility>

namespace vmsg::guest {
namespace {

constexpr std::size_t kWords = kModelSector / sizeof(std::uint64_t);
constexpr std::uint64_t kMagic = 0x3130'6c65'646f'6d76;

std::uint64_t mix(std::uint64_t value) {
  value += 0x9e37'79b9'7f4a'7c15;
  value = (value ^ (value >> 30U)) * 0xbf58'476d'1ce4'e5b9;
  value = (value ^ (value >> 27U)) * 0x94d0'49bb'1331'11eb;
  return value ^ (value >> 31U);
}

}  // namespace

DiskModel::DiskModel(std::uint64_t sectors, std::uint64_t seed) : seed_(seed), sectors_(sectors) {}

VersionedRange DiskModel::begin(Change change, std::uint64_t sector, std::uint32_t count) {
  const VersionedRange range{.sector = sector, .count = count, .version = ++version_};
  for (Sector& one : std::span(sectors_).subspan(sector, count)) {
    one.high = range.version;
    if (change == Change::kZero) one.flags |= kZeroSince;
    if (change == Change::kDiscard) one.flags |= kAnySince;
  }
  return range;
}

void DiskModel::done(Change change, const VersionedRange& range) {
  for (Sector& one : std::span(sectors_).subspan(range.sector, range.count)) {
    one.low = range.version;
    one.flags &= ~(kZeroNow | kAnyNow);
    if (change == Change::kZero) one.flags |= kZeroNow;
    if (change == Change::kDiscard) one.flags |= kAnyNow;
  }
  unflushed_.push_back(range);
}

void DiskModel::unknown(Change change, const VersionedRange& range) {
  for (Sector& one : std::span(sectors_).subspan(range.sector, range.count)) {
    if (change == Change::kZero) one.flags |= kZeroNow;
    if (change == Change::kDiscard) one.flags |= kAnyNow;
  }
}

std::vector<VersionedRange> DiskModel::begin_flush() { return std::exchange(unflushed_, {}); }

void DiskModel::flush_done(const std::vector<VersionedRange>& covered) {
  for (const VersionedRange& range : covered) {
    for (Sector& one : std::span(sectors_).subspan(range.sector, range.count)) {
      one.safe = std::max(one.safe, range.version);
      if (one.safe != one.high) continue;
      one.flags &= ~(kZeroSince | kAnySince);
      if ((one.flags & kZeroNow) != 0) one.flags |= kZeroSince;
      if ((one.flags & kAnyNow) != 0) one.flags |= kAnySince;
    }
  }
}

void DiskModel::flush_failed(std::vector<VersionedRange> covered) {
  unflushed_.insert(unflushed_.end(), covered.begin(), covered.end());
}

void DiskModel::power_cut() {
  for (Sector& one : sectors_) {
    one.low = std::min(one.low, one.safe);
    if ((one.flags & kZeroSince) != 0) one.flags |= kZeroNow;
    if ((one.flags & kAnySince) != 0) one.flags |= kAnyNow;
  }
  unflushed_.clear();
}

std::uint64_t DiskModel::word(std::uint64_t sector, std::uint32_t version,
                              std::size_t index) const {
  if (index == 0) return sector;
  if (index == 1) return version;
  return mix(seed_ ^ (sector << 20U) ^ (std::uint64_t{version} << 1U)) + index;
}

void DiskModel::fill(const VersionedRange& range, std::span<std::byte> out) const {
  for (std::uint32_t i = 0; i < range.count; ++i) {
    const std::uint64_t sector = range.sector + i;
    const std::uint64_t base = word(sector, range.version, 2) - 2;
    for (std::size_t at = 0; at < kWords; ++at) {
      const std::uint64_t value = at < 2 ? word(sector, range.version, at) : base + at;
      std::memcpy(out.data() + std::size_t{i} * kModelSector + at * sizeof(value), &value,
                  sizeof(value));
    }
  }
}

bool DiskModel::is_pattern(std::uint64_t sector, std::uint32_t version,
                           std::span<const std::byte> bytes) const {
  const std::uint64_t base = word(sector, version, 2) - 2;
  for (std::size_t at = 0; at < kWords; ++at) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at * sizeof(value), sizeof(value));
    if (value != (at < 2 ? word(sector, version, at) : base + at)) return false;
  }
  return true;
}

std::optional<std::string> DiskModel::check(std::uint64_t sector,
                                            std::span<const std::byte> bytes) {
  for (std::size_t at = 0; at < bytes.size(); at += kModelSector, ++sector) {
    Sector& one = sectors_[sector];
    const auto data = bytes.subspan(at, kModelSector);
    if ((one.flags & kAnyNow) != 0) continue;
    std::uint64_t found = 0;
    std::memcpy(&found, data.data() + sizeof(found), sizeof(found));
    const auto version = static_cast<std::uint32_t>(found);
    if (found >= one.low && found <= one.high && is_pattern(sector, version, data)) {
      // Now it is known. A zero of the same version would have been zeros.
      one.low = version;
      one.high = version;
      one.flags &= ~kZeroNow;
      continue;
    }
    const bool is_zero = std::ranges::all_of(data, [](std::byte b) { return b == std::byte{0}; });
    if (is_zero && (one.flags & kZeroNow) != 0) {
      if (one.low != one.high) one.low = one.high = ++version_;
      continue;
    }
    std::uint64_t first = 0;
    std::memcpy(&first, data.data(), sizeof(first));
    const bool is_ours = is_pattern(sector, version, data);
    return fmt::format(
        "sector {}: versions {} to {}{} are right, found {}", sector, one.low, one.high,
        (one.flags & kZeroNow) != 0 ? " or zeros" : "",
        is_zero   ? std::string("zeros")
        : is_ours ? fmt::format("version {}", version)
                  : fmt::format("bytes of no version (it begins {:#x} {:#x})", first, found));
  }
  return std::nullopt;
}

bool DiskModel::save(const std::string& path) const {
  std::ofstream file(path + ".new", std::ios::binary | std::ios::trunc);
  const auto put = [&](const auto& value) {
    file.write(reinterpret_cast<const char*>(&value), sizeof(value));  // NOLINT: plain bytes
  };
  put(kMagic);
  put(seed_);
  put(version_);
  put(std::uint64_t{sectors_.size()});
  put(std::uint64_t{unflushed_.size()});
  for (const Sector& one : sectors_) put(one);
  for (const VersionedRange& range : unflushed_) put(range);
  file.close();
  return !file.fail() && std::rename((path + ".new").c_str(), path.c_str()) == 0;
}

std::optional<DiskModel> DiskModel::load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const auto get = [&](auto& value) {
    file.read(reinterpret_cast<char*>(&value), sizeof(value));  // NOLINT: plain bytes
  };
  std::uint64_t magic = 0;
  std::uint64_t seed = 0;
  std::uint32_t version = 0;
  std::uint64_t sectors = 0;
  std::uint64_t ranges = 0;
  get(magic);
  get(seed);
  get(version);
  get(sectors);
  get(ranges);
  if (!file || magic != kMagic) return std::nullopt;
  DiskModel model(sectors, seed);
  model.version_ = version;
  for (Sector& one : model.sectors_) get(one);
  model.unflushed_.resize(ranges);
  for (VersionedRange& range : model.unflushed_) get(range);
  if (!file) return std::nullopt;
  return model;
}

}  // namespace vmsg::guest
