// A driver, message by message: one member function a request, which delivers it and returns the
// typed answer. It keeps no state of the device and follows no order, so that tests can do wrong
// things with it; the climbing helpers at the end do the right things.
//
// A request that does not get exactly one well-formed answer of its own kind fails the test.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <vector>

#include "tests/support/recording_sink.hpp"
#include "transport/features.hpp"
#include "transport/message.hpp"

namespace vmsg::test {

struct FeaturesAnswer {
  std::uint32_t block_index = 0;
  std::vector<std::uint32_t> words;
};

struct ConfigAnswer {
  std::uint32_t generation = 0;
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
  Bytes data;
  std::size_t frame_size = 0;

  friend bool operator==(const ConfigAnswer&, const ConfigAnswer&) = default;
};

/// EVENT_CONFIG and EVENT_USED with their data copied out.
struct ConfigEvent {
  std::uint32_t status = 0;
  std::uint32_t generation = 0;
  std::uint32_t offset = 0;
  std::uint32_t length = 0;

  friend bool operator==(const ConfigEvent&, const ConfigEvent&) = default;
};

class ProtocolDriver {
 public:
  using Deliver = std::function<void(std::span<const std::byte>)>;

  /// Requests go to `deliver`, which is expected to put answers into `sink`.
  ProtocolDriver(std::uint16_t number, RecordingSink& sink, Deliver deliver)
      : number_(number), sink_(sink), deliver_(std::move(deliver)) {}

  // Requests.
  GetDeviceInfoResponse device_info();
  FeaturesAnswer device_features(std::uint32_t block_index, std::uint32_t num_blocks);
  /// The size of the answer.
  std::size_t set_features(std::uint32_t block_index, std::initializer_list<std::uint32_t> words);
  ConfigAnswer get_config(std::uint32_t offset, std::uint32_t length);
  ConfigAnswer set_config(std::uint32_t offset, std::initializer_list<int> bytes,
                          std::uint32_t generation = 0);
  std::uint32_t status();
  std::uint32_t set_status(std::uint32_t value);
  GetVqueueResponse queue(std::uint32_t index);
  std::size_t set_queue(const SetVqueueRequest& request);
  std::size_t reset_queue(std::uint32_t index);
  GetShmResponse shared_memory(std::uint32_t shmid);

  /// EVENT_AVAIL.
  void kick(std::uint32_t queue, std::uint32_t next_offset = 0);

  // Frames as they are.
  /// Delivers bytes; everything that came out because of them.
  std::vector<Bytes> raw(std::span<const std::byte> frame);
  std::vector<Bytes> raw(std::initializer_list<int> bytes);
  /// The frame of a request, to break.
  template <typename Message>
  Bytes frame_of(const Message& message, std::uint16_t token = kToken) const {
    Bytes buffer(kBufferSize);
    const auto frame =
        encode(std::span<std::byte>(buffer), {.dev_num = number_, .token = token}, message);
    EXPECT_TRUE(frame.has_value());
    buffer.resize(frame ? frame->size() : 0);
    return buffer;
  }
  /// Delivers a request and keeps what comes out for answers() or events().
  template <typename Message>
  void send(const Message& message, std::uint16_t token = kToken) {
    deliver_(frame_of(message, token));
  }

  /// What was sent to the driver and not looked at yet, by kind. Other frames stay.
  std::vector<ConfigEvent> config_events();
  std::vector<std::uint32_t> used_events();
  std::optional<std::uint32_t> status_answer();
  bool reset_queue_answer();

  // The right order.
  /// Writes all blocks of a selection.
  void select(const FeatureSet& selection);
  static FeatureSet basic_selection();
  void to_acknowledge() { set_status(0x01); }
  void to_driver() { set_status(0x03); }
  void to_features_ok(const FeatureSet& selection = basic_selection());
  /// With the given queues enabled.
  void to_live(std::initializer_list<std::uint32_t> queues = {0},
               const FeatureSet& selection = basic_selection());

  /// A good SET_VQUEUE that enables a queue with 64 entries somewhere in grant addresses.
  static SetVqueueRequest good_queue(std::uint32_t index);

  static constexpr std::uint16_t kToken = 0x1234;

 private:
  static constexpr std::size_t kBufferSize = 4096;

  template <typename Response, typename Request>
  std::optional<Bytes> exchange(const Request& request);
  std::optional<Bytes> take_frame(MessageKind kind);

  std::uint16_t number_;
  RecordingSink& sink_;
  Deliver deliver_;
};

/// The bytes of an initializer list of small numbers.
Bytes bytes(std::initializer_list<int> values);

}  // namespace vmsg::test
