// What a virtio disk offers, what its configuration space says, and what a driver may change.
#include "devices/blk/blk_device.hpp"

#include <gmock/gmock.h>

#include <cstring>

#include "tests/support/memory_disk.hpp"

namespace vmsg::blk {
namespace {

using test::MemoryDisk;
using ::testing::HasSubstr;

constexpr std::size_t kSize = 1 << 20;

class CountingHost final : public DeviceHost {
 public:
  void config_changed() override { ++changes; }
  int changes = 0;
};

wire::Config config_of(const BlkDevice& device) {
  wire::Config config;
  device.read_config(0, std::as_writable_bytes(std::span(&config, 1)));
  return config;
}

class BlkDeviceTest : public ::testing::Test {
 protected:
  BlkDevice& make(const BlkOptions& options = {}) {
    auto disk = std::make_unique<MemoryDisk>(kSize);
    disk_ = disk.get();
    if (prepare_) prepare_(*disk);
    device_.emplace(options, std::move(disk));
    device_->set_host(host_);
    return *device_;
  }
  ConfigWrite write_writeback(std::uint8_t value) {
    const std::byte byte{value};
    return device_->write_config(offsetof(wire::Config, writeback), std::span(&byte, 1));
  }

  CountingHost host_;
  std::function<void(MemoryDisk&)> prepare_;
  MemoryDisk* disk_ = nullptr;
  std::optional<BlkDevice> device_;
};

TEST_F(BlkDeviceTest, OffersWhatTheDiskCanDo) {
  const BlkDevice& device = make();

  EXPECT_EQ(device.identity().device_id, 2U);
  EXPECT_EQ(device.identity().config_size, sizeof(wire::Config));
  EXPECT_EQ(device.device_features(),
            (FeatureSet{wire::kFeatureSizeMax, wire::kFeatureSegMax, wire::kFeatureBlockSize,
                        wire::kFeatureFlush, wire::kFeatureTopology, wire::kFeatureConfigWce,
                        wire::kFeatureMultiQueue, wire::kFeatureDiscard, wire::kFeatureWriteZeroes,
                        wire::kFeatureSecureErase}));
}

TEST_F(BlkDeviceTest, AReadOnlyDiskOffersNothingThatChangesIt) {
  const BlkDevice& device = make({.is_read_only = true, .queues = 1});

  EXPECT_EQ(device.device_features(),
            (FeatureSet{wire::kFeatureSizeMax, wire::kFeatureSegMax, wire::kFeatureReadOnly,
                        wire::kFeatureBlockSize, wire::kFeatureTopology}));
}

TEST_F(BlkDeviceTest, AWriteThroughDiskOffersNoCache) {
  const BlkDevice& device = make({.is_writeback = false});

  EXPECT_FALSE(device.device_features().has(wire::kFeatureFlush));
  EXPECT_FALSE(device.device_features().has(wire::kFeatureConfigWce));
}

TEST_F(BlkDeviceTest, ADiskWhoseFlushCoversOneQueueHasOneQueue) {
  prepare_ = [](MemoryDisk& disk) { disk.change_traits().may_use_several_queues = false; };
  const BlkDevice& device = make({.queues = 4});

  EXPECT_FALSE(device.device_features().has(wire::kFeatureMultiQueue));
  EXPECT_EQ(device.identity().max_virtqueues, 1U);
  EXPECT_EQ(device.max_queue_size(1), 0U);
}

TEST_F(BlkDeviceTest, TheConfigurationDescribesTheDisk) {
  prepare_ = [](MemoryDisk& disk) {
    disk.change_traits().logical_block = 1024;
    disk.change_traits().physical_block = 4096;
    disk.change_traits().optimal_io = 65536;
  };
  const wire::Config config = config_of(make({.queues = 3}));

  EXPECT_EQ(config.capacity.get(), kSize / 512);
  EXPECT_EQ(config.blk_size.get(), 1024U);
  EXPECT_EQ(config.topology.physical_block_exp, 2U);
  EXPECT_EQ(config.topology.min_io_size.get(), 4U);
  EXPECT_EQ(config.topology.opt_io_size.get(), 64U);
  EXPECT_EQ(config.num_queues.get(), 3U);
  EXPECT_EQ(config.max_discard_sectors.get(), kSize / 512);
  EXPECT_NE(config.max_discard_seg.get(), 0U);
  EXPECT_EQ(config.write_zeroes_may_unmap, 1U);
}

TEST_F(BlkDeviceTest, FullQueuesOfTheLargestRequestsStayWithinAGuestsGrants) {
  constexpr std::uint32_t kGrantsOfAGuest = 32768;
  for (const std::uint32_t queues : {1U, 2U, 4U, 8U}) {
    const BlkDevice& device = make({.queues = queues, .queue_size = 128});

    EXPECT_LT(queues * 128 * (config_of(device).seg_max.get() + 3), kGrantsOfAGuest);
    EXPECT_GE(config_of(device).seg_max.get(), 4U);
  }
}

TEST_F(BlkDeviceTest, ADriverThatCannotFlushHasNoCache) {
  BlkDevice& device = make();

  device.features_negotiated({});
  EXPECT_EQ(config_of(device).writeback, 0U);
  device.features_negotiated(FeatureSet{wire::kFeatureFlush});
  EXPECT_EQ(config_of(device).writeback, 1U);
  // virtio 1.3, 5.2.5.2: CONFIG_WCE without FLUSH begins as write-through.
  device.features_negotiated(FeatureSet{wire::kFeatureConfigWce});
  EXPECT_EQ(config_of(device).writeback, 0U);
}

TEST_F(BlkDeviceTest, TheCacheIsSwitchedByWhoeverNegotiatedThat) {
  BlkDevice& device = make();
  device.features_negotiated(device.device_features());

  EXPECT_EQ(write_writeback(0), ConfigWrite::kApplied);
  EXPECT_EQ(config_of(device).writeback, 0U);
  EXPECT_EQ(write_writeback(2), ConfigWrite::kRefused);
  EXPECT_EQ(write_writeback(1), ConfigWrite::kApplied);
  EXPECT_EQ(config_of(device).writeback, 1U);

  device.features_negotiated(FeatureSet{wire::kFeatureFlush});
  EXPECT_EQ(write_writeback(0), ConfigWrite::kRefused);
}

TEST_F(BlkDeviceTest, NothingElseOfTheConfigurationIsWritable) {
  BlkDevice& device = make();
  device.features_negotiated(device.device_features());
  const std::array<std::byte, 2> bytes{};

  EXPECT_EQ(device.write_config(0, std::span(bytes).first(1)), ConfigWrite::kRefused);
  EXPECT_EQ(device.write_config(offsetof(wire::Config, writeback), bytes), ConfigWrite::kRefused);
}

TEST_F(BlkDeviceTest, WithLargeBlocksADriverMustKnowTheirSize) {
  prepare_ = [](MemoryDisk& disk) { disk.change_traits().logical_block = 4096; };
  const BlkDevice& device = make();

  EXPECT_FALSE(device.accepts({}));
  EXPECT_TRUE(device.accepts(FeatureSet{wire::kFeatureBlockSize}));
}

TEST_F(BlkDeviceTest, ADiskThatHasGrownIsToldOnce) {
  BlkDevice& device = make();
  disk_->resize(2 * kSize);

  EXPECT_TRUE(device.refresh().has_value());
  EXPECT_EQ(config_of(device).capacity.get(), 2 * kSize / 512);
  EXPECT_EQ(host_.changes, 1);

  EXPECT_TRUE(device.refresh().has_value());
  EXPECT_EQ(host_.changes, 1);
}

TEST_F(BlkDeviceTest, AllQueuesOfALimitedDiskShareAWorker) {
  EXPECT_NE(make().queue_group(0), make().queue_group(1));
  EXPECT_EQ(make({.iops = 10}).queue_group(0), make({.iops = 10}).queue_group(1));
}

std::string complaint(DeviceParameters parameters) {
  const auto options = parse_options(parameters);
  return options ? std::string() : options.error();
}

TEST(BlkOptions, TargetsAreToldApart) {
  EXPECT_EQ(parse_options({{"target", "/dev/vg/lv"}})->kind, TargetKind::kRaw);
  EXPECT_EQ(parse_options({{"target", "null:1G"}})->null_size, 1U << 30);
  EXPECT_EQ(parse_options({{"target", "nbd+unix:///?socket=/run/x"}})->kind, TargetKind::kNbd);
  EXPECT_THAT(complaint({{"target", "disk.img"}}), HasSubstr("an absolute path"));
  EXPECT_THAT(complaint({{"target", "null:1000"}}), HasSubstr("a multiple of 512"));
  EXPECT_THAT(complaint({}), HasSubstr("target=... is missing"));
}

TEST(BlkOptions, ValuesThatCannotBeAreNamed) {
  EXPECT_THAT(complaint({{"target", "/x"}, {"access", "w"}}), HasSubstr("one of rw, ro"));
  EXPECT_THAT(complaint({{"target", "/x"}, {"queue-size", "100"}}), HasSubstr("a power of two"));
  EXPECT_THAT(complaint({{"target", "/x"}, {"serial", "123456789012345678901"}}),
              HasSubstr("at most 20 bytes"));
  EXPECT_THAT(complaint({{"target", "null:1M"}, {"block-size", "4K"}}),
              HasSubstr("with a raw target"));
}

}  // namespace
}  // namespace vmsg::blk
