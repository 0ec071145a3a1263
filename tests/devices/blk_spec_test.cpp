// The numbers and layouts of virtio-blk, against a second source: the header that Linux exports.
#include <gtest/gtest.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>

#include <array>
#include <cstddef>
#include <utility>

#include "devices/blk/blk_wire.hpp"

namespace vmsg::blk {
namespace {

using Linux = virtio_blk_config;
using Ours = wire::Config;

TEST(BlkSpec, FeatureBitsAreThoseOfLinux) {
  EXPECT_EQ(wire::kFeatureSizeMax, unsigned{VIRTIO_BLK_F_SIZE_MAX});
  EXPECT_EQ(wire::kFeatureSegMax, unsigned{VIRTIO_BLK_F_SEG_MAX});
  EXPECT_EQ(wire::kFeatureReadOnly, unsigned{VIRTIO_BLK_F_RO});
  EXPECT_EQ(wire::kFeatureBlockSize, unsigned{VIRTIO_BLK_F_BLK_SIZE});
  EXPECT_EQ(wire::kFeatureFlush, unsigned{VIRTIO_BLK_F_FLUSH});
  EXPECT_EQ(wire::kFeatureTopology, unsigned{VIRTIO_BLK_F_TOPOLOGY});
  EXPECT_EQ(wire::kFeatureConfigWce, unsigned{VIRTIO_BLK_F_CONFIG_WCE});
  EXPECT_EQ(wire::kFeatureMultiQueue, unsigned{VIRTIO_BLK_F_MQ});
  EXPECT_EQ(wire::kFeatureDiscard, unsigned{VIRTIO_BLK_F_DISCARD});
  EXPECT_EQ(wire::kFeatureWriteZeroes, unsigned{VIRTIO_BLK_F_WRITE_ZEROES});
  EXPECT_EQ(wire::kFeatureSecureErase, unsigned{VIRTIO_BLK_F_SECURE_ERASE});
}

TEST(BlkSpec, RequestTypesAndStatusesAreThoseOfLinux) {
  EXPECT_EQ(wire::kDeviceId, std::uint32_t{VIRTIO_ID_BLOCK});
  EXPECT_EQ(wire::kTypeIn, std::uint32_t{VIRTIO_BLK_T_IN});
  EXPECT_EQ(wire::kTypeOut, std::uint32_t{VIRTIO_BLK_T_OUT});
  EXPECT_EQ(wire::kTypeFlush, std::uint32_t{VIRTIO_BLK_T_FLUSH});
  EXPECT_EQ(wire::kTypeGetId, std::uint32_t{VIRTIO_BLK_T_GET_ID});
  EXPECT_EQ(wire::kTypeDiscard, std::uint32_t{VIRTIO_BLK_T_DISCARD});
  EXPECT_EQ(wire::kTypeWriteZeroes, std::uint32_t{VIRTIO_BLK_T_WRITE_ZEROES});
  EXPECT_EQ(wire::kTypeSecureErase, std::uint32_t{VIRTIO_BLK_T_SECURE_ERASE});
  EXPECT_EQ(wire::kStatusOk, VIRTIO_BLK_S_OK);
  EXPECT_EQ(wire::kStatusIoError, VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(wire::kStatusUnsupported, VIRTIO_BLK_S_UNSUPP);
  EXPECT_EQ(wire::kRangeFlagUnmap, std::uint32_t{VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP});
  EXPECT_EQ(wire::kIdBytes, std::size_t{VIRTIO_BLK_ID_BYTES});
}

TEST(BlkSpec, RequestLayoutsAreThoseOfLinux) {
  EXPECT_EQ(sizeof(wire::RequestHeader), sizeof(virtio_blk_outhdr));
  EXPECT_EQ(offsetof(wire::RequestHeader, sector), offsetof(virtio_blk_outhdr, sector));
  EXPECT_EQ(sizeof(wire::Range), sizeof(virtio_blk_discard_write_zeroes));
  EXPECT_EQ(offsetof(wire::Range, num_sectors),
            offsetof(virtio_blk_discard_write_zeroes, num_sectors));
  EXPECT_EQ(offsetof(wire::Range, flags), offsetof(virtio_blk_discard_write_zeroes, flags));
}

TEST(BlkSpec, ConfigurationLayoutIsThatOfLinux) {
  const std::array<std::pair<std::size_t, std::size_t>, 19> offsets{{
      {offsetof(Ours, capacity), offsetof(Linux, capacity)},
      {offsetof(Ours, size_max), offsetof(Linux, size_max)},
      {offsetof(Ours, seg_max), offsetof(Linux, seg_max)},
      {offsetof(Ours, geometry), offsetof(Linux, geometry)},
      {offsetof(Ours, blk_size), offsetof(Linux, blk_size)},
      {offsetof(Ours, topology.physical_block_exp), offsetof(Linux, physical_block_exp)},
      {offsetof(Ours, topology.alignment_offset), offsetof(Linux, alignment_offset)},
      {offsetof(Ours, topology.min_io_size), offsetof(Linux, min_io_size)},
      {offsetof(Ours, topology.opt_io_size), offsetof(Linux, opt_io_size)},
      {offsetof(Ours, writeback), offsetof(Linux, wce)},
      {offsetof(Ours, num_queues), offsetof(Linux, num_queues)},
      {offsetof(Ours, max_discard_sectors), offsetof(Linux, max_discard_sectors)},
      {offsetof(Ours, max_discard_seg), offsetof(Linux, max_discard_seg)},
      {offsetof(Ours, discard_sector_alignment), offsetof(Linux, discard_sector_alignment)},
      {offsetof(Ours, max_write_zeroes_sectors), offsetof(Linux, max_write_zeroes_sectors)},
      {offsetof(Ours, write_zeroes_may_unmap), offsetof(Linux, write_zeroes_may_unmap)},
      {offsetof(Ours, max_secure_erase_sectors), offsetof(Linux, max_secure_erase_sectors)},
      {offsetof(Ours, max_secure_erase_seg), offsetof(Linux, max_secure_erase_seg)},
      {offsetof(Ours, secure_erase_sector_alignment),
       offsetof(Linux, secure_erase_sector_alignment)},
  }};
  for (const auto& [ours, theirs] : offsets) EXPECT_EQ(ours, theirs);
}

}  // namespace
}  // namespace vmsg::blk
