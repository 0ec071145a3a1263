// Every vector of vectors.txt both ways: bytes to a typed value (compared by its text form, or by
// its error), the value back to the same bytes, and values written here by hand to those bytes.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/transport/vectors.hpp"
#include "transport/message.hpp"
#include "transport/message_text.hpp"

namespace vmsg {
namespace {

using test::FrameVector;
using test::VectorVerdict;

constexpr std::uint32_t kMax = kRecommendedMaxMessageSize;

std::string error_name(WireError error) {
  switch (error) {
    case WireError::kTruncatedHeader:
      return "kTruncatedHeader";
    case WireError::kSizeTooSmall:
      return "kSizeTooSmall";
    case WireError::kTruncated:
      return "kTruncated";
    case WireError::kTooLarge:
      return "kTooLarge";
    case WireError::kBusDeviceNumber:
      return "kBusDeviceNumber";
    case WireError::kEventResponse:
      return "kEventResponse";
    case WireError::kWrongDirection:
      return "kWrongDirection";
    case WireError::kNotOurs:
      return "kNotOurs";
    case WireError::kUnknownId:
      return "kUnknownId";
    case WireError::kPayloadTooShort:
      return "kPayloadTooShort";
    case WireError::kPayloadMismatch:
      return "kPayloadMismatch";
  }
  return "?";
}

std::string error_text(const WireFault& fault) {
  return fmt::format("{} {}", error_name(fault.error), fault.number);
}

template <typename Inbound>
Result<AnyMessage, WireFault> widen(const Result<Inbound, WireFault>& received) {
  if (!received) return std::unexpected(received.error());
  return std::visit([](const auto& message) { return AnyMessage(message); }, *received);
}

/// What the receiver that the vector names makes of its bytes.
Result<AnyMessage, WireFault> receive(const FrameVector& vector) {
  const auto frame = parse_frame(vector.bytes, kMax);
  if (!frame) return std::unexpected(frame.error());
  const std::uint16_t dev_num = vector.id == "V03" ? 0xffff : 5;
  if (vector.receiver == "device") return widen(receive_at_device(*frame, dev_num));
  if (vector.receiver == "driver") return widen(receive_at_driver(*frame, dev_num));
  if (vector.receiver == "device-bus") return widen(receive_at_device_bus(*frame));
  if (vector.receiver == "driver-bus") return widen(receive_at_driver_bus(*frame));
  const auto at_device = widen(receive_at_device_bus(*frame));
  EXPECT_TRUE(at_device.has_value());
  return widen(receive_at_driver_bus(*frame));
}

class Vectors : public testing::TestWithParam<FrameVector> {};

TEST_P(Vectors, ReceiverFindsWhatIsStated) {
  const FrameVector& vector = GetParam();

  const auto received = receive(vector);

  if (vector.verdict == VectorVerdict::kDrop) {
    ASSERT_FALSE(received.has_value());
    EXPECT_EQ(error_text(received.error()), vector.expected);
  } else {
    ASSERT_TRUE(received.has_value()) << error_text(received.error());
    EXPECT_EQ(to_text(vector.bytes), vector.expected);
  }
}

TEST_P(Vectors, ValueEncodesBackToTheSameBytes) {
  const FrameVector& vector = GetParam();
  if (vector.verdict != VectorVerdict::kValid) return;
  const auto frame = parse_frame(vector.bytes, kMax);
  const auto message = parse_any(*frame);
  std::array<std::byte, kMax> buffer{};

  const auto encoded = std::visit(
      [&](const auto& m) { return encode(buffer, address_of(frame->header), m); }, *message);

  ASSERT_TRUE(encoded.has_value());
  EXPECT_EQ(std::vector<std::byte>(encoded->begin(), encoded->end()), vector.bytes);
}

INSTANTIATE_TEST_SUITE_P(All, Vectors, testing::ValuesIn(test::frame_vectors()),
                         [](const auto& test) { return test.param.id; });

TEST(VectorsFile, HoldsEveryVectorOfTheSpecification) {
  std::size_t of_specification = 0;
  for (const FrameVector& vector : test::frame_vectors()) of_specification += vector.id[0] == 'V';
  EXPECT_EQ(of_specification, 85u);
}

// ---- values written by hand --------------------------------------------------------------------

struct Written {
  const char* id;
  std::function<EncodeResult(std::span<std::byte>)> encode_it;
};

void PrintTo(const Written& written, std::ostream* out) { *out << written.id; }

constexpr MessageAddress kTo{.dev_num = 5, .token = 0x1234};

template <typename Message>
Written write(const char* id, const Message& message, MessageAddress to = kTo) {
  return {id, [=](std::span<std::byte> out) { return encode(out, to, message); }};
}

template <std::size_t N>
Written write_features(const char* id, bool is_response, std::uint32_t block_index,
                       const std::array<Le32, N>& words) {
  return {id, [=](std::span<std::byte> out) -> EncodeResult {
            const FeatureWords view{std::span<const Le32>(words)};
            if (is_response) {
              return encode(out, kTo, GetDeviceFeaturesResponse{block_index, view});
            }
            return encode(out, kTo, SetDriverFeaturesRequest{block_index, view});
          }};
}

template <typename Message>
Written write_config(const char* id, std::uint32_t generation, std::uint32_t offset,
                     const char* data) {
  return {id, [=](std::span<std::byte> out) {
            const auto bytes = test::from_hex(data);
            return encode(out, kTo, Message{generation, offset, bytes});
          }};
}

Written write_config_event(const char* id, EventConfig event, const char* data) {
  return {id, [=](std::span<std::byte> out) {
            const auto bytes = test::from_hex(data);
            EventConfig with_data = event;
            with_data.data = bytes;
            // The token must not reach the wire.
            return encode(out, kTo, with_data);
          }};
}

Written write_devices(const char* id, GetDevicesResponse response, const char* bitmap) {
  return {id, [=](std::span<std::byte> out) {
            const auto bytes = test::from_hex(bitmap);
            GetDevicesResponse with_bitmap = response;
            with_bitmap.bitmap = bytes;
            // Nor must a device number reach the header of a bus message.
            return encode(out, {.dev_num = 5, .token = 2}, with_bitmap);
          }};
}

constexpr std::uint64_t kDesc = 0x40001000;
constexpr std::uint64_t kDriver = 0x40002000;
constexpr std::uint64_t kDevice = 0x40003000;

std::vector<Written> written_by_hand() {
  const GetDeviceInfoResponse block{.device_id = 2,
                                    .vendor_id = 0x4d534756,
                                    .device_uuid = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                                    0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff},
                                    .num_feature_blocks = 2,
                                    .config_size = 60,
                                    .max_virtqueues = 1};
  const GetDeviceInfoResponse limits{.device_id = 1,
                                     .num_feature_blocks = 4,
                                     .config_size = 24,
                                     .max_virtqueues = 65536,
                                     .admin_vq_start = 65534,
                                     .admin_vq_count = 2};
  const std::array<Le32, 2> offered{0x30000244U, 0x103U};
  const std::array<Le32, 2> none{};
  const std::array<Le32, 2> selected{0x20000200U, 0x103U};
  const std::array<Le32, 1> block_one{3U};
  return {
      write("V01", GetDeviceInfoRequest{}),
      write("V02", block),
      write("V03", limits, {.dev_num = 0xffff, .token = 0xffff}),
      write("V04", GetDeviceFeaturesRequest{.block_index = 0, .num_blocks = 2}),
      write_features("V05", true, 0, offered),
      write("V06", GetDeviceFeaturesRequest{.block_index = 2, .num_blocks = 2}),
      write_features("V07", true, 2, none),
      write("V08", GetDeviceFeaturesResponse{}),
      write_features("V09", false, 0, selected),
      write_features("V10", false, 1, block_one),
      write("V11", SetDriverFeaturesResponse{}),
      write("V12", GetConfigRequest{.offset = 0, .length = 8}),
      write_config<GetConfigResponse>("V13", 7, 0, "00 00 10 00 00 00 00 00"),
      write("V14", GetConfigRequest{.offset = 56, .length = 8}),
      write_config<GetConfigResponse>("V15", 7, 56, ""),
      write("V16", GetConfigRequest{}),
      write_config<GetConfigResponse>("V17", 7, 0, ""),
      write_config<SetConfigRequest>("V18", 0, 32, "01"),
      write("V19", SetConfigResponse{.generation = 7, .offset = 32, .length = 1, .echo = {}}),
      write("V21", SetConfigResponse{.generation = 7, .offset = 32, .length = 0, .echo = {}}),
      write_config<SetConfigRequest>("V22", 7, 4, "ef be ad de"),
      write("V23", SetConfigResponse{.generation = 8, .offset = 4, .length = 0, .echo = {}}),
      write("V24", GetDeviceStatusRequest{}),
      write("V25", GetDeviceStatusResponse{.status = 0x0b}),
      write("V26", SetDeviceStatusRequest{.status = 0}),
      write("V27", SetDeviceStatusResponse{.status = 0}),
      write("V28", SetDeviceStatusResponse{.status = 0x0f}),
      write("V29", SetDeviceStatusRequest{.status = 0x0b}),
      write("V30", SetDeviceStatusResponse{.status = 0x03}),
      write("V31", SetDeviceStatusRequest{.status = 0x0f}),
      write("V32", GetDeviceStatusResponse{.status = 0x4f}),
      write("V33", GetVqueueRequest{.index = 0}),
      write("V34", GetVqueueResponse{.index = 0, .max_size = 256}),
      write("V35", GetVqueueResponse{0, 256, 128, 1, kDesc, kDriver, kDevice}),
      write("V36", GetVqueueResponse{0, 256, 128, 0, kDesc, kDriver, kDevice}),
      write("V37", GetVqueueResponse{.index = 70000}),
      write("V38", SetVqueueRequest{0, 1, 128, kDesc, kDriver, kDevice}),
      write("V39", SetVqueueRequest{0, 0, 128, kDesc, kDriver, kDevice}),
      write("V40", SetVqueueResponse{}),
      write("V41", SetVqueueRequest{0, 1, 100, kDesc, kDriver, kDevice}),
      write("V42", ResetVqueueRequest{.index = 0}),
      write("V43", ResetVqueueResponse{}),
      write("V44", GetShmRequest{.shmid = 1}),
      write("V45", GetShmResponse{.shmid = 1, .length = 0x200000, .address = 0x180000000}),
      write("V46", GetShmResponse{.shmid = 9}),
      write_config_event("V47", {.device_status = 0x0f, .generation = 8, .data = {}}, ""),
      write_config_event("V49", {.device_status = 0x0f, .generation = 9, .length = 8, .data = {}},
                         "00 00 20 00 00 00 00 00"),
      write_config_event("V50", {.device_status = 0x4f, .generation = 9, .data = {}}, ""),
      write("V51", EventAvail{.vq_index = 3, .next_offset = 0}),
      write("V52", EventAvail{.vq_index = 3, .next_offset = 0x80000005}),
      write("V53", EventAvail{.vq_index = 3, .next_offset = 5}),
      write("V54", EventAvail{.vq_index = 3, .next_offset = 0x8005}),
      write("V56", EventUsed{.vq_index = 3}),
      write("V57", GetDevicesRequest{.offset = 0, .count = 16}, {.token = 2}),
      write_devices("V58", {.next_offset = 64, .count = 16, .bitmap = {}}, "25 00"),
      write_devices("V59", {.next_offset = 0, .count = 16, .bitmap = {}}, "00 00"),
      write_devices("V60", {}, ""),
      write_devices("V61", {.next_offset = 300, .bitmap = {}}, ""),
      write_devices("V62", {.offset = 65528, .count = 8, .bitmap = {}}, "80"),
      write("V63", PingRequest{.data = 0xcafef00d}, {.token = 3}),
      write("V64", PingResponse{.data = 0xcafef00d}, {.token = 3}),
      write("V65", EventDevice{.dev_num = 5, .state = VIRTIO_MSG_DEVICE_ADDED}),
      write("V66", EventDevice{.dev_num = 5, .state = VIRTIO_MSG_DEVICE_REMOVED}),
      write("X01", QueueEventChannelRequest{.dev_num = 5, .vq_index = 1, .port = 77}, {.token = 2}),
      write("X02", QueueEventChannelResponse{.dev_num = 5, .status = 0, .vq_index = 1},
            {.token = 2}),
      write("X03",
            QueueEventChannelResponse{.dev_num = 5, .status = VMSG_XEN_QEC_NOT_NOW, .vq_index = 1},
            {.token = 2}),
      write("X04", QueueEventChannelRequest{.dev_num = 0xffff, .vq_index = 0x10000, .port = 0},
            {.token = 3}),
      write("X05", ShareRegionRequest{.region = 1, .pages = 64, .address = 0x8000000000123000},
            {.token = 4}),
      write("X06", ShareRegionResponse{.region = 1, .status = VMSG_XEN_REGION_OK}, {.token = 4}),
      write("X07", UnshareRegionRequest{.region = 1}, {.token = 5}),
      write("X08", UnshareRegionResponse{.region = 1, .status = VMSG_XEN_REGION_UNKNOWN},
            {.token = 5}),
      write("X09", Eject{.dev_num = 5, .seconds = 30}, {.token = 9}),
      write("X10", EjectedRequest{.dev_num = 5, .status = VMSG_XEN_EJECTED_BUSY}, {.token = 6}),
      write("X11", EjectedResponse{.dev_num = 5}, {.token = 6}),
  };
}

class WrittenByHand : public testing::TestWithParam<Written> {};

// rules: DEV-1, DEV-2, DEV-3, DEV-4, DEV-5, BUS-28, BUS-30
TEST_P(WrittenByHand, EncodesToTheBytesOfTheVector) {
  // Whatever was in the buffer before must not shine through, in reserved fields above all.
  std::array<std::byte, kMax> buffer;
  buffer.fill(std::byte{0xee});

  const auto encoded = GetParam().encode_it(buffer);

  ASSERT_TRUE(encoded.has_value());
  EXPECT_EQ(std::vector<std::byte>(encoded->begin(), encoded->end()),
            test::vector_bytes(GetParam().id));
}

INSTANTIATE_TEST_SUITE_P(All, WrittenByHand, testing::ValuesIn(written_by_hand()),
                         [](const auto& test) { return std::string(test.param.id); });

}  // namespace
}  // namespace vmsg
