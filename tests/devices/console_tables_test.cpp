// The numbers and layouts of virtio-console against Linux's own header, and what the device offers
// against the specification's table of features and queues.
#include <gtest/gtest.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>

#include "devices/console/console_device.hpp"
#include "devices/console/console_wire.hpp"

namespace vmsg::console {
namespace {

std::unique_ptr<ConsoleDevice> make(const DeviceParameters& parameters) {
  return ConsoleDevice::create(*parse_options(parameters)).value();
}

TEST(ConsoleTables, FeaturesAndEventsHaveTheNumbersOfLinux) {
  EXPECT_EQ(wire::kDeviceId, static_cast<unsigned>(VIRTIO_ID_CONSOLE));
  EXPECT_EQ(wire::kFeatureSize, static_cast<unsigned>(VIRTIO_CONSOLE_F_SIZE));
  EXPECT_EQ(wire::kFeatureMultiport, static_cast<unsigned>(VIRTIO_CONSOLE_F_MULTIPORT));
  EXPECT_EQ(wire::kFeatureEmergWrite, static_cast<unsigned>(VIRTIO_CONSOLE_F_EMERG_WRITE));
  EXPECT_EQ(wire::kDeviceReady, VIRTIO_CONSOLE_DEVICE_READY);
  EXPECT_EQ(wire::kPortAdd, VIRTIO_CONSOLE_PORT_ADD);
  EXPECT_EQ(wire::kPortRemove, VIRTIO_CONSOLE_PORT_REMOVE);
  EXPECT_EQ(wire::kPortReady, VIRTIO_CONSOLE_PORT_READY);
  EXPECT_EQ(wire::kConsolePort, VIRTIO_CONSOLE_CONSOLE_PORT);
  EXPECT_EQ(wire::kResize, VIRTIO_CONSOLE_RESIZE);
  EXPECT_EQ(wire::kPortOpen, VIRTIO_CONSOLE_PORT_OPEN);
  EXPECT_EQ(wire::kPortName, VIRTIO_CONSOLE_PORT_NAME);
}

TEST(ConsoleTables, ConfigurationAndControlHaveTheLayoutOfLinux) {
  EXPECT_EQ(sizeof(wire::Config), sizeof(virtio_console_config));
  EXPECT_EQ(offsetof(wire::Config, cols), offsetof(virtio_console_config, cols));
  EXPECT_EQ(offsetof(wire::Config, rows), offsetof(virtio_console_config, rows));
  EXPECT_EQ(offsetof(wire::Config, max_nr_ports), offsetof(virtio_console_config, max_nr_ports));
  EXPECT_EQ(offsetof(wire::Config, emerg_wr), offsetof(virtio_console_config, emerg_wr));
  EXPECT_EQ(sizeof(wire::Control), sizeof(virtio_console_control));
  EXPECT_EQ(offsetof(wire::Control, id), offsetof(virtio_console_control, id));
  EXPECT_EQ(offsetof(wire::Control, event), offsetof(virtio_console_control, event));
  EXPECT_EQ(offsetof(wire::Control, value), offsetof(virtio_console_control, value));
}

// virtio 1.3, Console Device, Virtqueues: receiveq(port0), transmitq(port0), control receiveq,
// control transmitq, receiveq(port1), transmitq(port1), ...
TEST(ConsoleTables, QueuesAreWhereTheSpecificationPutsThem) {
  EXPECT_EQ(wire::receive_queue_of(0), 0U);
  EXPECT_EQ(wire::transmit_queue_of(0), 1U);
  EXPECT_EQ(wire::kControlReceiveQueue, 2U);
  EXPECT_EQ(wire::kControlTransmitQueue, 3U);
  EXPECT_EQ(wire::receive_queue_of(1), 4U);
  EXPECT_EQ(wire::transmit_queue_of(1), 5U);
  EXPECT_EQ(wire::receive_queue_of(30), 62U);
  EXPECT_EQ(wire::port_of_queue(1), 0U);
  EXPECT_EQ(wire::port_of_queue(5), 1U);
  EXPECT_EQ(wire::port_of_queue(62), 30U);
}

TEST(ConsoleTables, OnePortThatIsAConsoleNeedsNoMultiport) {
  const auto device = make({});

  EXPECT_EQ(device->device_features(),
            (FeatureSet{VIRTIO_CONSOLE_F_SIZE, VIRTIO_CONSOLE_F_EMERG_WRITE}));
  EXPECT_EQ(device->identity().device_id, static_cast<unsigned>(VIRTIO_ID_CONSOLE));
  EXPECT_EQ(device->identity().max_virtqueues, 2U);
  EXPECT_EQ(device->identity().config_size, sizeof(virtio_console_config));
  EXPECT_NE(device->max_queue_size(1), 0U);
  EXPECT_EQ(device->max_queue_size(2), 0U);
}

TEST(ConsoleTables, SeveralPortsHaveTwoQueuesEachAndTheControlQueues) {
  const auto device = make({{"ports", "3"}, {"port1", "pty"}, {"port2", "pty"}});
  const FeatureSet with{VIRTIO_CONSOLE_F_MULTIPORT};

  EXPECT_TRUE(device->device_features().has(VIRTIO_CONSOLE_F_MULTIPORT));
  EXPECT_EQ(device->identity().max_virtqueues, 8U);
  EXPECT_TRUE(device->has_queue(7, with));
  EXPECT_FALSE(device->has_queue(8, with));
  // A driver that knows nothing of ports has the two queues of port 0.
  EXPECT_TRUE(device->has_queue(1, {}));
  EXPECT_FALSE(device->has_queue(2, {}));
}

TEST(ConsoleTables, TheConfigurationHasWindowAndPorts) {
  const auto device = make({{"size", "132x43"}, {"ports", "2"}, {"port1", "pty"}});
  virtio_console_config config{};

  device->read_config(0, std::as_writable_bytes(std::span(&config, 1)));

  EXPECT_EQ(config.cols, 132U);
  EXPECT_EQ(config.rows, 43U);
  EXPECT_EQ(config.max_nr_ports, 2U);
  EXPECT_EQ(config.emerg_wr, 0U);
}

TEST(ConsoleTables, OnlyTheEmergencyRegisterCanBeWritten) {
  const auto device = make({});
  const std::array<std::byte, 4> value{std::byte{'!'}};

  EXPECT_EQ(device->write_config(0, value), ConfigWrite::kRefused);
  EXPECT_EQ(device->write_config(4, value), ConfigWrite::kRefused);
  EXPECT_EQ(device->write_config(8, value), ConfigWrite::kApplied);
  EXPECT_FALSE(device->is_always_writable(0, 12));
  EXPECT_FALSE(device->is_always_writable(7, 4));
  EXPECT_TRUE(device->is_always_writable(8, 4));
}

}  // namespace
}  // namespace vmsg::console
