// What each message does in each state of a device: all pairs, from one table. "Acts" is seen as a
// change, "reads" as the same answer as in any other state, "rejects" as an answer and no change.
#include <array>
#include <ostream>
#include <string>
#include <string_view>

#include "tests/support/device_conformance.hpp"

namespace vmsg::test {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

enum class State : std::uint8_t { kS0, kS1, kS2, kS3, kS4, kSN, kSF, kSR };
constexpr std::array kStates{State::kS0, State::kS1, State::kS2, State::kS3,
                             State::kS4, State::kSN, State::kSF, State::kSR};
constexpr std::array<std::string_view, 8> kStateNames{"S0", "S1", "S2", "S3",
                                                      "S4", "SN", "SF", "SR"};

enum class Message : std::uint8_t {
  kGetDeviceInfo,
  kGetDeviceFeatures,
  kSetDriverFeatures,
  kGetConfig,
  kSetConfig,
  kSetConfigAlways,
  kGetDeviceStatus,
  kSetDeviceStatus,
  kGetVqueue,
  kSetVqueue,
  kResetVqueue,
  kGetShm,
  kEventAvail,
};

struct Row {
  std::string_view effect;  // by state: A acts, V reads, R rejects, D is dropped
  Message message;
  std::string_view name;
};

constexpr std::array kTable{
    // S0 S1 S2 S3 S4 SN SF SR
    Row{"VVVVVVVV", Message::kGetDeviceInfo, "GetDeviceInfo"},
    Row{"VVVVVVVV", Message::kGetDeviceFeatures, "GetDeviceFeatures"},
    Row{"RRARRRRR", Message::kSetDriverFeatures, "SetDriverFeatures"},
    Row{"VVVVVVVV", Message::kGetConfig, "GetConfig"},
    Row{"RRRAARRR", Message::kSetConfig, "SetConfig"},
    Row{"AAAAAAAR", Message::kSetConfigAlways, "SetConfigAlwaysWritable"},
    Row{"VVVVVVVV", Message::kGetDeviceStatus, "GetDeviceStatus"},
    Row{"AAAAAAAR", Message::kSetDeviceStatus, "SetDeviceStatus"},
    Row{"VVVVVVVV", Message::kGetVqueue, "GetVqueue"},
    Row{"RRRAARRR", Message::kSetVqueue, "SetVqueue"},
    Row{"RRRAARRR", Message::kResetVqueue, "ResetVqueue"},
    Row{"VVVVVVVV", Message::kGetShm, "GetShm"},
    Row{"DDDDADDD", Message::kEventAvail, "EventAvail"},
};

struct Cell {
  Row row;
  State state;
};
void PrintTo(const Cell& cell, std::ostream* out) {
  *out << cell.row.name << " in " << kStateNames[static_cast<std::size_t>(cell.state)];
}

std::vector<Cell> all_cells() {
  std::vector<Cell> cells;
  for (const Row& row : kTable) {
    for (const State state : kStates) cells.push_back({.row = row, .state = state});
  }
  return cells;
}

class StateTable : public DeviceConformance {
 protected:
  void enter(State state) {
    const FeatureSet selection = selection_with({40});
    switch (state) {
      case State::kS0:
        return;
      case State::kS1:
        return driver.to_acknowledge();
      case State::kS2:
        driver.to_acknowledge();
        return driver.to_driver();
      case State::kS3:
        driver.to_features_ok(selection);
        driver.set_queue(ProtocolDriver::good_queue(0));
        return;
      case State::kS4:
        return driver.to_live({0}, selection);
      case State::kSN:
        driver.to_live({0}, selection);
        endpoint->needs_reset();
        return;
      case State::kSF:
        driver.to_live({0}, selection);
        driver.set_status(0x8f);
        return;
      case State::kSR:
        driver.to_live({0}, selection);
        queues.is_slow = true;
        driver.send(SetDeviceStatusRequest{.status = 0});
        endpoint->answer_pending_reset();
        return;
    }
  }
};

class MessageInState : public StateTable, public ::testing::WithParamInterface<Cell> {
 protected:
  /// A message that changes something visible wherever it may act.
  Bytes frame(Message message) {
    switch (message) {
      case Message::kGetDeviceInfo:
        return driver.frame_of(GetDeviceInfoRequest{});
      case Message::kGetDeviceFeatures:
        return driver.frame_of(GetDeviceFeaturesRequest{.block_index = 0, .num_blocks = 2});
      case Message::kSetDriverFeatures:
        return driver.frame_of(
            SetDriverFeaturesRequest{.block_index = 0, .words = FeatureWords(kWord)});
      case Message::kGetConfig:
        return driver.frame_of(GetConfigRequest{.offset = 0, .length = 8});
      case Message::kSetConfig:
        return driver.frame_of(
            SetConfigRequest{.generation = 0, .offset = FakeDevice::kWritable, .data = kByte});
      case Message::kSetConfigAlways:
        return driver.frame_of(SetConfigRequest{
            .generation = 0, .offset = FakeDevice::kAlwaysWritable, .data = kByte});
      case Message::kGetDeviceStatus:
        return driver.frame_of(GetDeviceStatusRequest{});
      case Message::kSetDeviceStatus:
        // FAILED is added; where it is already there, only a reset does something.
        return driver.frame_of(SetDeviceStatusRequest{
            .status = endpoint->status() < 0x80 ? endpoint->status() | 0x80 : 0});
      case Message::kGetVqueue:
        return driver.frame_of(GetVqueueRequest{.index = 1});
      case Message::kSetVqueue:
        return driver.frame_of(ProtocolDriver::good_queue(1));
      case Message::kResetVqueue:
        return driver.frame_of(ResetVqueueRequest{.index = 0});
      case Message::kGetShm:
        return driver.frame_of(GetShmRequest{.shmid = FakeDevice::kRegion});
      case Message::kEventAvail:
        return driver.frame_of(EventAvail{.vq_index = 0, .next_offset = 0});
    }
    return {};
  }

  /// What the message is answered in the first state.
  std::vector<Bytes> fresh_answer(const Bytes& message) {
    FakeQueueHost other_queues;
    RecordingSink other_sink;
    auto other = DeviceEndpoint::create(kNumber, device, other_queues, other_sink, usual());
    EXPECT_TRUE(other.has_value());
    (*other)->on_frame(message);
    return other_sink.take();
  }

  static constexpr std::array<Le32, 1> kWord{Le32(4)};
  static constexpr std::array kByte{std::byte{0x5a}};
};

// rules: DEV-17, DEV-22, DEV-40, DEV-47, DEV-58, DEV-59, DEV-74, DEV-84, DEV-94, DEV-97, DEV-108
TEST_P(MessageInState, HasTheEffectOfTheTable) {
  const auto& [row, state] = GetParam();
  enter(state);
  // A pending reset that is over would end SR; nothing else below depends on the queue host.
  queues.is_slow = false;
  const View before = view();
  const std::size_t kicks_before = queues.kicks.size();
  const Bytes message = frame(row.message);
  sink.take();

  const auto answers = driver.raw(message);

  const char effect = row.effect[static_cast<std::size_t>(state)];
  const bool is_event = row.message == Message::kEventAvail;
  EXPECT_THAT(answers, SizeIs(is_event ? 0 : 1));
  switch (effect) {
    case 'A':
      if (is_event) {
        EXPECT_EQ(queues.kicks.size(), kicks_before + 1);
      } else {
        EXPECT_NE(view(), before);
      }
      break;
    case 'V':
      EXPECT_EQ(view(), before);
      // Only the status, and whether a queue that is set up is, depend on the state.
      if (row.message != Message::kGetDeviceStatus) {
        EXPECT_EQ(answers, fresh_answer(message));
      }
      break;
    case 'R':
      EXPECT_EQ(view(), before);
      break;
    case 'D':
      EXPECT_EQ(view(), before);
      EXPECT_EQ(queues.kicks.size(), kicks_before);
      EXPECT_EQ(endpoint->counters().dropped.of(DropReason::kNotLive), 1U);
      break;
    default:
      FAIL() << "a letter that the table does not have";
  }
}
INSTANTIATE_TEST_SUITE_P(DeviceConformance, MessageInState, ::testing::ValuesIn(all_cells()),
                         [](const auto& cell) {
                           const auto state = static_cast<std::size_t>(cell.param.state);
                           return std::string(cell.param.row.name) + "In" +
                                  std::string(kStateNames[state]);
                         });

class EventsInState : public StateTable, public ::testing::WithParamInterface<State> {};

// The two last rows of the table: what a device may send.
// rules: DEV-69, DEV-75, DEV-92, DEV-98
TEST_P(EventsInState, GoOutOnlyWhereTheTableSaysSo) {
  const State state = GetParam();
  enter(state);
  sink.take();

  endpoint->config_changed();
  endpoint->used(0);

  const bool sends_config = state == State::kS4 || state == State::kSN;
  EXPECT_THAT(driver.config_events(), SizeIs(sends_config ? 1 : 0));
  EXPECT_THAT(driver.used_events(), SizeIs(state == State::kS4 ? 1 : 0));
  EXPECT_THAT(sink.frames, IsEmpty());
}
INSTANTIATE_TEST_SUITE_P(DeviceConformance, EventsInState, ::testing::ValuesIn(kStates),
                         [](const auto& cell) {
                           return std::string(kStateNames[static_cast<std::size_t>(cell.param)]);
                         });

}  // namespace
}  // namespace vmsg::test
