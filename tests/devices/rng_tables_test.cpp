// What the entropy device is, against Linux's own headers and the specification's table: a type
// without features, without a configuration space, with one queue.
#include <gtest/gtest.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_rng.h>

#include "devices/rng/rng_device.hpp"

namespace vmsg::rng {
namespace {

TEST(RngTables, TheTypeHasTheNumberOfLinux) {
  KernelEntropy source;
  const RngDevice device({}, source);

  EXPECT_EQ(device.identity().device_id, static_cast<unsigned>(VIRTIO_ID_RNG));
}

// linux/virtio_rng.h defines no feature and no configuration, as virtio 1.3, "Entropy Device".
TEST(RngTables, ThereAreNoFeaturesAndNoConfiguration) {
  KernelEntropy source;
  const RngDevice device({}, source);

  EXPECT_EQ(device.device_features(), FeatureSet{});
  EXPECT_EQ(device.identity().config_size, 0U);
}

TEST(RngTables, TheOnlyQueueIsRequestq) {
  KernelEntropy source;
  const RngDevice device({}, source);

  EXPECT_EQ(device.identity().max_virtqueues, 1U);
  EXPECT_TRUE(device.has_queue(0, {}));
  EXPECT_FALSE(device.has_queue(1, {}));
}

}  // namespace
}  // namespace vmsg::rng
