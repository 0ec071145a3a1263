// The layouts and numbers of virtio-blk (virtio 1.3, 5.2), byte for byte, with the field names of
// the specification. tests/devices/blk_spec_test.cpp compares them with Linux's header.
#pragma once

#include <array>
#include <cstdint>

#include "transport/endian.hpp"

namespace vmsg::blk::wire {

inline constexpr std::uint32_t kDeviceId = 2;
inline constexpr std::uint32_t kSectorSize = 512;
inline constexpr std::size_t kIdBytes = 20;

// Feature bits.
inline constexpr unsigned kFeatureSizeMax = 1;
inline constexpr unsigned kFeatureSegMax = 2;
inline constexpr unsigned kFeatureReadOnly = 5;
inline constexpr unsigned kFeatureBlockSize = 6;
inline constexpr unsigned kFeatureFlush = 9;
inline constexpr unsigned kFeatureTopology = 10;
inline constexpr unsigned kFeatureConfigWce = 11;
inline constexpr unsigned kFeatureMultiQueue = 12;
inline constexpr unsigned kFeatureDiscard = 13;
inline constexpr unsigned kFeatureWriteZeroes = 14;
inline constexpr unsigned kFeatureSecureErase = 16;

// Request types.
inline constexpr std::uint32_t kTypeIn = 0;
inline constexpr std::uint32_t kTypeOut = 1;
inline constexpr std::uint32_t kTypeFlush = 4;
inline constexpr std::uint32_t kTypeGetId = 8;
inline constexpr std::uint32_t kTypeDiscard = 11;
inline constexpr std::uint32_t kTypeWriteZeroes = 13;
inline constexpr std::uint32_t kTypeSecureErase = 14;

// Status bytes.
inline constexpr std::uint8_t kStatusOk = 0;
inline constexpr std::uint8_t kStatusIoError = 1;
inline constexpr std::uint8_t kStatusUnsupported = 2;

inline constexpr std::uint32_t kRangeFlagUnmap = 1;

/// What every request begins with.
struct RequestHeader {
  Le32 type;
  Le32 reserved;
  Le64 sector;
};
static_assert(sizeof(RequestHeader) == 16);

/// The data of a discard, write zeroes or secure erase request: one or more of these.
struct Range {
  Le64 sector;
  Le32 num_sectors;
  Le32 flags;
};
static_assert(sizeof(Range) == 16);

struct Config {
  Le64 capacity;
  Le32 size_max;
  Le32 seg_max;
  struct Geometry {
    Le16 cylinders;
    std::uint8_t heads = 0;
    std::uint8_t sectors = 0;
  } geometry;
  Le32 blk_size;
  struct Topology {
    std::uint8_t physical_block_exp = 0;
    std::uint8_t alignment_offset = 0;
    Le16 min_io_size;
    Le32 opt_io_size;
  } topology;
  std::uint8_t writeback = 0;
  std::uint8_t unused0 = 0;
  Le16 num_queues;
  Le32 max_discard_sectors;
  Le32 max_discard_seg;
  Le32 discard_sector_alignment;
  Le32 max_write_zeroes_sectors;
  Le32 max_write_zeroes_seg;
  std::uint8_t write_zeroes_may_unmap = 0;
  std::array<std::uint8_t, 3> unused1{};
  Le32 max_secure_erase_sectors;
  Le32 max_secure_erase_seg;
  Le32 secure_erase_sector_alignment;
  struct Zoned {
    Le32 zone_sectors;
    Le32 max_open_zones;
    Le32 max_active_zones;
    Le32 max_append_sectors;
    Le32 write_granularity;
    std::uint8_t model = 0;
    std::array<std::uint8_t, 3> unused2{};
  } zoned;
};
static_assert(sizeof(Config) == 96);

}  // namespace vmsg::blk::wire
