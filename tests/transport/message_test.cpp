// The receive pipeline step by step, and the edges of the encoders.
#include "transport/message.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "tests/transport/vectors.hpp"
#include "transport/message_text.hpp"

namespace vmsg {
namespace {

using test::from_hex;
using test::vector_bytes;

using Bytes = std::vector<std::byte>;

constexpr std::uint32_t kMax = kRecommendedMaxMessageSize;

WireFault fault(WireError error, std::uint64_t number) { return {error, number}; }

Bytes valid_get_vqueue() { return vector_bytes("V33"); }

Bytes with_byte(Bytes frame, std::size_t at, unsigned value) {
  frame.at(at) = static_cast<std::byte>(value);
  return frame;
}

Bytes without_last_byte(const Bytes& original) {
  Bytes frame(original.begin(), original.end() - 1);
  frame.at(6) = static_cast<std::byte>(frame.size());
  return frame;
}

Bytes with_surplus(Bytes frame, std::size_t count) {
  frame.insert(frame.end(), count, std::byte{0xaa});
  frame.at(6) = static_cast<std::byte>(frame.size());
  return frame;
}

template <typename Message, typename Inbound>
const Message& as(const Result<Inbound, WireFault>& received) {
  return std::get<Message>(received.value());
}

TEST(ParseFrame, ShorterThanAHeaderIsTruncated) {
  EXPECT_EQ(parse_frame({}, kMax).error(), fault(WireError::kTruncatedHeader, 0));
  EXPECT_EQ(parse_frame(vector_bytes("V70"), kMax).error(), fault(WireError::kTruncatedHeader, 7));
}

TEST(ParseFrame, SizeUpToWhatWasDeliveredIsAccepted) {
  const Bytes exact = with_byte(valid_get_vqueue(), 6, 12);
  const Bytes beyond = with_byte(valid_get_vqueue(), 6, 13);

  EXPECT_TRUE(parse_frame(exact, kMax).has_value());
  EXPECT_EQ(parse_frame(beyond, kMax).error(), fault(WireError::kTruncated, 13));
}

TEST(ParseFrame, SizeBeyondTheMaximumIsTooLarge) {
  Bytes frame(265);
  frame[1] = std::byte{VIRTIO_MSG_GET_DEVICE_STATUS};
  frame[6] = std::byte{0x09};
  frame[7] = std::byte{0x01};

  EXPECT_EQ(parse_frame(frame, 264).error(), fault(WireError::kTooLarge, 265));
  EXPECT_TRUE(parse_frame(frame, 265).has_value());
}

TEST(ParseFrame, PaddingAfterTheSizeIsCutOff) {
  const auto frame = parse_frame(vector_bytes("V86"), kMax);

  EXPECT_TRUE(frame->payload.empty());
}

TEST(ParseFrame, ReservedTypeBitsAreIgnored) {
  const auto frame = parse_frame(with_byte(valid_get_vqueue(), 0, 0xfc), kMax);

  EXPECT_EQ(frame->header.type, 0);
  EXPECT_TRUE(frame->header.is_request());
}

TEST(ParseFrame, BusMessageWithADeviceNumberIsDropped) {
  const Bytes frame = with_byte(vector_bytes("V63"), 3, 0x80);

  EXPECT_EQ(parse_frame(frame, kMax).error(), fault(WireError::kBusDeviceNumber, 0x8000));
}

TEST(ParseFrame, ImplementationDefinedEventWithResponseBitIsDropped) {
  const Bytes frame = with_byte(vector_bytes("X09"), 0, VIRTIO_MSG_TYPE_BUS | 1);

  EXPECT_EQ(parse_frame(frame, kMax).error(), fault(WireError::kEventResponse, 0xc0));
}

// The order of the steps decides which error is counted: two faults at once show it.
TEST(ParseFrame, TruncationIsFoundBeforeTheMaximumAndTheDeviceNumber) {
  Bytes frame = with_byte(vector_bytes("V63"), 2, 1);
  frame = with_byte(frame, 7, 0xff);

  EXPECT_EQ(parse_frame(frame, kMax).error().error, WireError::kTruncated);
}

TEST(ReceiveAtDevice, AnotherDeviceNumberIsNotOurs) {
  const Bytes bytes = valid_get_vqueue();
  const auto frame = parse_frame(bytes, kMax);

  EXPECT_EQ(receive_at_device(*frame, 6).error(), fault(WireError::kNotOurs, 5));
  EXPECT_TRUE(receive_at_device(*frame, 5).has_value());
}

TEST(ReceiveAtDevice, AnotherDeviceNumberIsFoundBeforeAnUnknownIdentifier) {
  const Bytes bytes = vector_bytes("V77");
  const auto frame = parse_frame(bytes, kMax);

  EXPECT_EQ(receive_at_device(*frame, 6).error().error, WireError::kNotOurs);
}

TEST(ReceiveAtDevice, BusMessageIsTheWrongWay) {
  const Bytes bytes = vector_bytes("V63");
  const auto frame = parse_frame(bytes, kMax);

  EXPECT_EQ(receive_at_device(*frame, 0).error(), fault(WireError::kWrongDirection, 3));
}

TEST(ReceiveAtDevice, EveryIdentifierIsParsedOrDropped) {
  std::vector<unsigned> accepted;
  for (unsigned id = 0; id < 256; ++id) {
    Bytes bytes(60);
    bytes[1] = static_cast<std::byte>(id);
    bytes[6] = std::byte{60};
    const auto frame = parse_frame(bytes, kMax);
    if (receive_at_device(*frame, 0).has_value()) accepted.push_back(id);
  }

  EXPECT_EQ(accepted, (std::vector<unsigned>{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x41}));
}

TEST(ReceiveAtDevice, SurplusAfterAnnouncedDataIsNotData) {
  const Bytes bytes = with_surplus(vector_bytes("V22"), 3);
  const auto frame = parse_frame(bytes, kMax);

  const auto received = receive_at_device(*frame, 5);

  EXPECT_EQ(as<SetConfigRequest>(received).data.size(), 4u);
}

TEST(ReceiveAtDevice, SurplusAfterAnnouncedWordsIsNotAWord) {
  const Bytes bytes = with_surplus(vector_bytes("V10"), 4);
  const auto frame = parse_frame(bytes, kMax);

  const auto received = receive_at_device(*frame, 5);

  EXPECT_EQ(as<SetDriverFeaturesRequest>(received).words.size(), 1u);
}

TEST(ReceiveAtDevice, ReservedFieldOfSetVqueueIsIgnored) {
  const Bytes bytes = with_byte(vector_bytes("V38"), 8 + 12, 0xff);
  const auto frame = parse_frame(bytes, kMax);

  const auto received = receive_at_device(*frame, 5);

  EXPECT_EQ(as<SetVqueueRequest>(received),
            (SetVqueueRequest{0, 1, 128, 0x40001000, 0x40002000, 0x40003000}));
}

/// A valid frame with its last payload byte missing is too short for every message that has a
/// payload, except where a part of it is optional.
TEST(ReceiveAtDevice, OneByteShortIsTooShortForEveryMessage) {
  for (const char* id : {"V04", "V09", "V12", "V18", "V26", "V33", "V38", "V42", "V44", "V51"}) {
    const Bytes bytes = without_last_byte(vector_bytes(id));
    const auto frame = parse_frame(bytes, kMax);

    EXPECT_EQ(receive_at_device(*frame, 5).error().error, WireError::kPayloadTooShort) << id;
  }
}

TEST(ReceiveAtDriver, OneByteShortIsTooShortForEveryMessage) {
  for (const char* id : {"V02", "V05", "V13", "V19", "V25", "V27", "V34", "V45", "V47", "V56"}) {
    const Bytes bytes = without_last_byte(vector_bytes(id));
    const auto frame = parse_frame(bytes, kMax);

    EXPECT_EQ(receive_at_driver(*frame, 5).error().error, WireError::kPayloadTooShort) << id;
  }
}

TEST(ReceiveAtBus, OneByteShortIsTooShortForEveryMessage) {
  for (const char* id : {"V57", "V63", "X01", "X05", "X07", "X10"}) {
    const Bytes bytes = without_last_byte(vector_bytes(id));
    const auto frame = parse_frame(bytes, kMax);
    EXPECT_EQ(receive_at_device_bus(*frame).error().error, WireError::kPayloadTooShort) << id;
  }
  for (const char* id : {"V58", "V64", "V65", "X02", "X06", "X08", "X09", "X11"}) {
    const Bytes bytes = without_last_byte(vector_bytes(id));
    const auto frame = parse_frame(bytes, kMax);
    EXPECT_EQ(receive_at_driver_bus(*frame).error().error, WireError::kPayloadTooShort) << id;
  }
}

TEST(ReceiveAtDriver, SurplusIsAcceptedInResponses) {
  const Bytes bytes = with_surplus(vector_bytes("V13"), 5);
  const auto frame = parse_frame(bytes, kMax);

  const auto received = receive_at_driver(*frame, 5);

  EXPECT_EQ(as<GetConfigResponse>(received).data.size(), 8u);
}

TEST(ReceiveAtDriver, EventConfigWithSurplusFitsNoForm) {
  const Bytes bytes = with_surplus(vector_bytes("V49"), 1);
  const auto frame = parse_frame(bytes, kMax);

  EXPECT_EQ(receive_at_driver(*frame, 5).error(), fault(WireError::kPayloadMismatch, 25));
}

TEST(ReceiveAtDriver, EventConfigWithDataButLengthZeroFitsNoForm) {
  const Bytes bytes = with_surplus(vector_bytes("V47"), 4);
  const auto frame = parse_frame(bytes, kMax);

  EXPECT_EQ(receive_at_driver(*frame, 5).error(), fault(WireError::kPayloadMismatch, 20));
}

TEST(ReceiveAtDriverBus, TransportMessageIsTheWrongWay) {
  const Bytes bytes = vector_bytes("V56");
  const auto frame = parse_frame(bytes, kMax);

  EXPECT_EQ(receive_at_driver_bus(*frame).error(), fault(WireError::kWrongDirection, 0x42));
  EXPECT_EQ(receive_at_device_bus(*frame).error(), fault(WireError::kWrongDirection, 0x42));
}

TEST(GetDevicesResponse, BitmapIsLeastSignificantBitFirst) {
  const Bytes bytes = vector_bytes("V58");
  const auto frame = parse_frame(bytes, kMax);
  const auto received = receive_at_driver_bus(*frame);
  const auto& response = as<GetDevicesResponse>(received);

  std::vector<unsigned> present;
  for (std::uint16_t slot = 0; slot < response.count; ++slot) {
    if (response.has(slot)) present.push_back(slot);
  }

  EXPECT_EQ(present, (std::vector<unsigned>{0, 2, 5}));
}

// ---- encoding ----------------------------------------------------------------------------------

TEST(Encode, FrameThatFillsTheBufferFits) {
  std::array<std::byte, 12> buffer{};

  EXPECT_EQ(encode(buffer, {}, EventUsed{})->size(), 12u);
}

TEST(Encode, FrameThatDoesNotFitLeavesTheBufferAlone) {
  std::array<std::byte, 11> buffer{};
  buffer.fill(std::byte{0xee});

  const auto encoded = encode(buffer, {}, EventUsed{});

  EXPECT_EQ(encoded.error(), fault(WireError::kTooLarge, 12));
  EXPECT_TRUE(std::ranges::all_of(buffer, [](std::byte b) { return b == std::byte{0xee}; }));
}

TEST(Encode, EmptyMessageNeedsAHeader) {
  std::array<std::byte, 7> buffer{};

  EXPECT_EQ(encode(buffer, {}, SetVqueueResponse{}).error(), fault(WireError::kTooLarge, 8));
}

TEST(Encode, SizeFieldCannotBeOverrun) {
  Bytes buffer(70000);
  const Bytes data(65535 - 19);

  const auto encoded = encode(buffer, {}, GetConfigResponse{0, 0, data});

  EXPECT_EQ(encoded.error(), fault(WireError::kTooLarge, 65536));
}

TEST(Encode, ConfigurationMayBeReadIntoItsPlace) {
  std::array<std::byte, kMax> buffer{};
  const std::span<std::byte> data = config_data_in(buffer, 8);
  std::ranges::copy(from_hex("00 00 10 00 00 00 00 00"), data.begin());

  const auto encoded =
      encode(buffer, {.dev_num = 5, .token = 0x1234}, GetConfigResponse{7, 0, data});

  EXPECT_EQ(Bytes(encoded->begin(), encoded->end()), vector_bytes("V13"));
}

TEST(Encode, NoPlaceForConfigurationBeyondTheMessage) {
  std::array<std::byte, 52> buffer{};

  EXPECT_EQ(config_data_in(buffer, 32).size(), 32u);
  EXPECT_TRUE(config_data_in(buffer, 33).empty());
  EXPECT_TRUE(config_data_in(std::span(buffer).first(19), 0).empty());
}

FeatureSet offered() {
  FeatureSet set;
  set.set_word(0, 0x30000244);
  set.set_word(1, 0x103);
  return set;
}

Bytes features_frame(std::uint32_t block_index, std::uint32_t num_blocks,
                     std::size_t max_size = kMax) {
  Bytes buffer(max_size);
  const auto encoded =
      encode_features(buffer, {.dev_num = 5, .token = 0x1234}, block_index, num_blocks, offered());
  return Bytes(encoded->begin(), encoded->end());
}

TEST(EncodeFeatures, WordsAndZerosBeyondThem) {
  EXPECT_EQ(features_frame(0, 2), vector_bytes("V05"));
  EXPECT_EQ(features_frame(2, 2), vector_bytes("V07"));
}

TEST(EncodeFeatures, IndexDoesNotComeRoundToBlockZero) {
  const Bytes frame = features_frame(0xffffffff, 3);

  EXPECT_TRUE(
      std::all_of(frame.begin() + 16, frame.end(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST(EncodeFeatures, RejectsWhatDoesNotFit) {
  EXPECT_EQ(features_frame(0, 62).size(), 264u);
  EXPECT_EQ(features_frame(0, 63), vector_bytes("V08"));
  EXPECT_EQ(features_frame(0, 0xffffffff), vector_bytes("V08"));
}

TEST(MessageSizes, FollowTheTableOfTheMaximum) {
  EXPECT_EQ(max_config_chunk(52), 32u);
  EXPECT_EQ(max_config_chunk(264), 244u);
  EXPECT_EQ(max_feature_words(104), 22u);
  EXPECT_EQ(max_feature_words(264), 62u);
  EXPECT_EQ(max_device_slots(52), 304u);
  EXPECT_EQ(max_device_slots(264), 2000u);
}

// ---- text --------------------------------------------------------------------------------------

TEST(MessageText, BrokenFrameShowsItsBytes) {
  EXPECT_EQ(to_text(vector_bytes("V70")),
            "no frame (only 7 bytes, less than a header): 00070500341208");
}

TEST(MessageText, ShortPayloadIsNamed) {
  EXPECT_EQ(to_text(vector_bytes("V73")),
            "GET_VQUEUE request dev=5 token=0x1234: needs a payload of 4 bytes");
}

TEST(MessageText, UnknownIdentifierIsANumber) {
  EXPECT_EQ(to_text(vector_bytes("V77")),
            "id=0x0d request dev=5 token=0x1234: unknown message 0x0d");
  EXPECT_EQ(to_text(vector_bytes("X25")), "bus id=0x84 request token=0x0000: unknown message 0x84");
}

TEST(MessageText, LongDataIsCut) {
  Bytes buffer(300);
  const Bytes data(100, std::byte{0xab});
  const auto encoded = encode(buffer, {}, GetConfigResponse{1, 0, data});

  const std::string text = to_text(std::span(*encoded));

  EXPECT_TRUE(text.ends_with("abab..."));
  EXPECT_LT(text.size(), 160u);
}

}  // namespace
}  // namespace vmsg
