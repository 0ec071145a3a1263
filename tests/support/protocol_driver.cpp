#include "tests/support/protocol_driver.hpp"

#include <array>
#include <utility>
#include <variant>

#include "transport/grant_address.hpp"

namespace vmsg::test {
namespace {

constexpr std::uint32_t kAnySize = kMaxMaxMessageSize;

Frame parsed(std::span<const std::byte> bytes) {
  const auto frame = parse_frame(bytes, kAnySize);
  if (frame) return *frame;
  ADD_FAILURE() << "a malformed frame was sent: " << to_text(bytes);
  return {};
}

/// A frame that is known to be of this kind, as its type.
template <typename Message>
Message typed(std::span<const std::byte> bytes) {
  const Frame frame = parsed(bytes);
  const auto message = receive_at_driver(frame, frame.header.dev_num);
  if (!message) {
    ADD_FAILURE() << "a bad frame was sent: " << to_text(bytes);
    return {};
  }
  const auto* found = std::get_if<Message>(&*message);
  if (found == nullptr) {
    ADD_FAILURE() << "another message was sent: " << to_text(bytes);
    return {};
  }
  return *found;
}

ConfigAnswer config_answer(std::uint32_t generation, std::uint32_t offset, std::uint32_t length,
                           std::span<const std::byte> data, std::size_t frame_size) {
  return {.generation = generation,
          .offset = offset,
          .length = length,
          .data = Bytes(data.begin(), data.end()),
          .frame_size = frame_size};
}

}  // namespace

Bytes bytes(std::initializer_list<int> values) {
  Bytes result;
  for (const int value : values) result.push_back(static_cast<std::byte>(value));
  return result;
}

std::optional<Bytes> ProtocolDriver::take_frame(MessageKind kind) {
  for (auto frame = sink_.frames.begin(); frame != sink_.frames.end(); ++frame) {
    const Frame header = parsed(*frame);
    if (kind_of(header.header) != kind || header.header.dev_num != number_) continue;
    Bytes found = std::move(*frame);
    sink_.frames.erase(frame);
    return found;
  }
  return std::nullopt;
}

template <typename Response, typename Request>
std::optional<Bytes> ProtocolDriver::exchange(const Request& request) {
  EXPECT_FALSE(take_frame(Response::kKind)) << "an answer without a request";
  send(request);
  auto answer = take_frame(Response::kKind);
  if (!answer) {
    ADD_FAILURE() << "no answer to " << to_text(frame_of(request));
    return std::nullopt;
  }
  EXPECT_EQ(parsed(*answer).header.token, kToken);
  EXPECT_FALSE(take_frame(Response::kKind)) << "two answers to one request";
  return answer;
}

GetDeviceInfoResponse ProtocolDriver::device_info() {
  const auto answer = exchange<GetDeviceInfoResponse>(GetDeviceInfoRequest{});
  return answer ? typed<GetDeviceInfoResponse>(*answer) : GetDeviceInfoResponse{};
}

FeaturesAnswer ProtocolDriver::device_features(std::uint32_t block_index,
                                               std::uint32_t num_blocks) {
  const auto answer = exchange<GetDeviceFeaturesResponse>(
      GetDeviceFeaturesRequest{.block_index = block_index, .num_blocks = num_blocks});
  if (!answer) return {};
  const auto response = typed<GetDeviceFeaturesResponse>(*answer);
  FeaturesAnswer result{.block_index = response.block_index, .words = {}};
  for (std::uint32_t i = 0; i < response.words.size(); ++i) {
    result.words.push_back(response.words[i]);
  }
  return result;
}

std::size_t ProtocolDriver::set_features(std::uint32_t block_index,
                                         std::initializer_list<std::uint32_t> words) {
  std::vector<Le32> wire_words;
  for (const std::uint32_t word : words) wire_words.emplace_back(word);
  const auto answer = exchange<SetDriverFeaturesResponse>(SetDriverFeaturesRequest{
      .block_index = block_index, .words = FeatureWords(std::span<const Le32>(wire_words))});
  return answer ? answer->size() : 0;
}

ConfigAnswer ProtocolDriver::get_config(std::uint32_t offset, std::uint32_t length) {
  const auto answer =
      exchange<GetConfigResponse>(GetConfigRequest{.offset = offset, .length = length});
  if (!answer) return {};
  const auto response = typed<GetConfigResponse>(*answer);
  const auto size = static_cast<std::uint32_t>(response.data.size());
  return config_answer(response.generation, response.offset, size, response.data, answer->size());
}

ConfigAnswer ProtocolDriver::set_config(std::uint32_t offset, std::initializer_list<int> data,
                                        std::uint32_t generation) {
  const Bytes copy = bytes(data);
  const auto answer = exchange<SetConfigResponse>(
      SetConfigRequest{.generation = generation, .offset = offset, .data = copy});
  if (!answer) return {};
  const auto response = typed<SetConfigResponse>(*answer);
  return config_answer(response.generation, response.offset, response.length, response.echo,
                       answer->size());
}

std::uint32_t ProtocolDriver::status() {
  const auto answer = exchange<GetDeviceStatusResponse>(GetDeviceStatusRequest{});
  return answer ? typed<GetDeviceStatusResponse>(*answer).status : UINT32_MAX;
}

std::uint32_t ProtocolDriver::set_status(std::uint32_t value) {
  const auto answer = exchange<SetDeviceStatusResponse>(SetDeviceStatusRequest{.status = value});
  return answer ? typed<SetDeviceStatusResponse>(*answer).status : UINT32_MAX;
}

GetVqueueResponse ProtocolDriver::queue(std::uint32_t index) {
  const auto answer = exchange<GetVqueueResponse>(GetVqueueRequest{.index = index});
  return answer ? typed<GetVqueueResponse>(*answer) : GetVqueueResponse{};
}

std::size_t ProtocolDriver::set_queue(const SetVqueueRequest& request) {
  const auto answer = exchange<SetVqueueResponse>(request);
  return answer ? answer->size() : 0;
}

std::size_t ProtocolDriver::reset_queue(std::uint32_t index) {
  const auto answer = exchange<ResetVqueueResponse>(ResetVqueueRequest{.index = index});
  return answer ? answer->size() : 0;
}

GetShmResponse ProtocolDriver::shared_memory(std::uint32_t shmid) {
  const auto answer = exchange<GetShmResponse>(GetShmRequest{.shmid = shmid});
  return answer ? typed<GetShmResponse>(*answer) : GetShmResponse{};
}

void ProtocolDriver::kick(std::uint32_t queue, std::uint32_t next_offset) {
  send(EventAvail{.vq_index = queue, .next_offset = next_offset});
}

std::vector<Bytes> ProtocolDriver::raw(std::span<const std::byte> frame) {
  auto before = sink_.take();
  deliver_(frame);
  return std::exchange(sink_.frames, std::move(before));
}

std::vector<Bytes> ProtocolDriver::raw(std::initializer_list<int> values) {
  const Bytes copy = bytes(values);
  return raw(std::span<const std::byte>(copy));
}

std::vector<ConfigEvent> ProtocolDriver::config_events() {
  std::vector<ConfigEvent> events;
  while (const auto frame = take_frame(EventConfig::kKind)) {
    const auto event = typed<EventConfig>(*frame);
    EXPECT_EQ(frame->size(), 24 + event.length) << "a form that Linux drops";
    events.push_back({.status = event.device_status,
                      .generation = event.generation,
                      .offset = event.offset,
                      .length = event.length});
  }
  return events;
}

std::vector<std::uint32_t> ProtocolDriver::used_events() {
  std::vector<std::uint32_t> queues;
  while (const auto frame = take_frame(EventUsed::kKind)) {
    EXPECT_EQ(frame->size(), 12U);
    queues.push_back(typed<EventUsed>(*frame).vq_index);
  }
  return queues;
}

std::optional<std::uint32_t> ProtocolDriver::status_answer() {
  const auto frame = take_frame(SetDeviceStatusResponse::kKind);
  if (!frame) return std::nullopt;
  return typed<SetDeviceStatusResponse>(*frame).status;
}

bool ProtocolDriver::reset_queue_answer() {
  const auto frame = take_frame(ResetVqueueResponse::kKind);
  return frame && frame->size() == 8;
}

FeatureSet ProtocolDriver::basic_selection() {
  FeatureSet selection;
  selection.set(RingFeature::kVersion1);
  selection.set(RingFeature::kAccessPlatform);
  return selection;
}

void ProtocolDriver::select(const FeatureSet& selection) {
  set_features(0, {selection.word(0), selection.word(1)});
  if (selection.word(2) != 0 || selection.word(3) != 0) {
    set_features(2, {selection.word(2), selection.word(3)});
  }
}

void ProtocolDriver::to_features_ok(const FeatureSet& selection) {
  to_acknowledge();
  to_driver();
  select(selection);
  EXPECT_EQ(set_status(0x0b), 0x0bU);
}

void ProtocolDriver::to_live(std::initializer_list<std::uint32_t> queues,
                             const FeatureSet& selection) {
  to_features_ok(selection);
  for (const std::uint32_t index : queues) set_queue(good_queue(index));
  EXPECT_EQ(set_status(0x0f), 0x0fU);
}

SetVqueueRequest ProtocolDriver::good_queue(std::uint32_t index) {
  const std::uint32_t reference = 0x100 + index * 0x10;
  return {.index = index,
          .flags = VIRTIO_MSG_VQUEUE_ENABLE,
          .size = 64,
          .descriptor_addr = GrantAddress::of(reference).raw(),
          .driver_addr = GrantAddress::of(reference + 1).raw(),
          .device_addr = GrantAddress::of(reference + 2).raw()};
}

}  // namespace vmsg::test
