// Rules about frames: what is answered, what is dropped, and how.
#include <fmt/format.h>

#include <array>
#include <cstdint>

#include "tools/vmsg-guest/conform_checks.hpp"

namespace vmsg::guest {
namespace {

void empty_answers_have_eight_bytes(RawDriver& driver, Findings& findings) {
  driver.to_driver();
  driver.select(0, {});
  findings.equal<std::size_t>(8, driver.answer().size(), "SET_DRIVER_FEATURES");
  findings.equal<std::uint16_t>(8, word_of(driver.answer(), 6), "msg_size");
}
void reserved_type_bits(RawDriver& driver, Findings& findings) {
  Bytes frame = driver.frame(GetDeviceStatusRequest{});
  set(frame, 0, 0xfc);
  findings.equal<unsigned>(VIRTIO_MSG_TYPE_RESPONSE, type_of(driver.ask(frame)), "type");
}
void header_comes_back(RawDriver& driver, Findings& findings) {
  for (const unsigned token : {0U, 1U, 0xffffU}) {
    Bytes frame = driver.frame(GetDeviceStatusRequest{});
    set(frame, 4, token & 0xffU);
    set(frame, 5, token >> 8U);
    const Bytes answer = driver.ask(frame);
    findings.equal<unsigned>(token, word_of(answer, 4), "token");
    findings.equal<unsigned>(driver.number(), word_of(answer, 2), "dev_num");
    findings.expect(
        answer.size() > 1 && std::to_integer<unsigned>(answer[1]) == VIRTIO_MSG_GET_DEVICE_STATUS,
        "msg_id is another one");
  }
}
void answers_fit(RawDriver& driver, Findings& findings) {
  const std::uint32_t most = driver.max_message_size();
  for (const std::uint32_t count :
       {max_feature_words(most), max_feature_words(most) + 1, 100'000U}) {
    static_cast<void>(driver.features(0, count));
    findings.expect(driver.answer().size() <= most, fmt::format("{} feature words", count));
  }
}
void wrong_direction(RawDriver& driver, Findings& findings) {
  Bytes response = driver.frame(GetDeviceStatusRequest{});
  set(response, 0, VIRTIO_MSG_TYPE_RESPONSE);
  findings.expect(driver.is_dropped(response), "a response is answered");
  findings.expect(driver.is_dropped(driver.frame(EventUsed{.vq_index = 0})),
                  "EVENT_USED is answered");
  Bytes event = driver.frame(EventAvail{});
  set(event, 0, VIRTIO_MSG_TYPE_RESPONSE);
  findings.expect(driver.is_dropped(event), "an event with the response bit is answered");
}
void unknown_ids(RawDriver& driver, Findings& findings) {
  for (const unsigned id : {0x00U, 0x01U, 0x0dU, 0x3fU, 0x43U, 0x7fU, 0x80U, 0xffU}) {
    Bytes frame = driver.frame(GetDeviceStatusRequest{});
    set(frame, 1, id);
    findings.expect(driver.is_dropped(frame), fmt::format("msg_id {:#x} is answered", id));
  }
}
void other_numbers(RawDriver& driver, Findings& findings) {
  std::uint16_t absent = 0xfffe;
  while (driver.link().devices().contains(absent)) --absent;
  Bytes frame = driver.frame(GetDeviceStatusRequest{});
  set(frame, 2, absent & 0xffU);
  set(frame, 3, absent >> 8U);
  findings.expect(driver.is_dropped(frame), fmt::format("number {} answers", absent));
}
void short_payloads(RawDriver& driver, Findings& findings) {
  const auto cut = [&](Bytes frame, const char* what) {
    RawDriver::resize_payload(frame, -1);
    findings.expect(driver.is_dropped(frame), fmt::format("a short {} is answered", what));
  };
  cut(driver.frame(GetDeviceFeaturesRequest{}), "GET_DEVICE_FEATURES");
  cut(driver.frame(GetConfigRequest{}), "GET_CONFIG");
  cut(driver.frame(SetDeviceStatusRequest{}), "SET_DEVICE_STATUS");
  cut(driver.frame(GetVqueueRequest{}), "GET_VQUEUE");
  cut(driver.frame(SetVqueueRequest{}), "SET_VQUEUE");
  cut(driver.frame(ResetVqueueRequest{}), "RESET_VQUEUE");
  cut(driver.frame(GetShmRequest{}), "GET_SHM");
  // A length that is announced and not there, and one that only fits when it wraps.
  for (const unsigned announced : {5U, 0xffU}) {
    const std::array<std::byte, 4> data{};
    Bytes frame = driver.frame(SetConfigRequest{.generation = 0, .offset = 0, .data = data});
    for (std::size_t i = 0; i < 4; ++i) {
      set(frame, kHeaderSize + 8 + i, announced == 0xff || i == 0 ? announced : 0);
    }
    findings.expect(driver.is_dropped(frame), "SET_CONFIG with data that is missing is answered");
  }
}
void surplus_payload(RawDriver& driver, Findings& findings) {
  Bytes frame = driver.frame(GetDeviceStatusRequest{});
  RawDriver::resize_payload(frame, 24);
  findings.equal<std::size_t>(12, driver.ask(frame).size(), "size of the answer");
}
void requests_are_answered_in_every_state(RawDriver& driver, Findings& findings) {
  const auto all = [&](const char* state) {
    for (const Bytes& frame :
         {driver.frame(GetDeviceInfoRequest{}), driver.frame(GetDeviceFeaturesRequest{}),
          driver.frame(SetDriverFeaturesRequest{}), driver.frame(GetConfigRequest{}),
          driver.frame(SetConfigRequest{}), driver.frame(GetDeviceStatusRequest{}),
          driver.frame(GetVqueueRequest{}), driver.frame(SetVqueueRequest{.index = kNoQueue}),
          driver.frame(ResetVqueueRequest{.index = kNoQueue}), driver.frame(GetShmRequest{})}) {
      findings.expect(!driver.ask(frame).empty(), fmt::format("no answer {}", state));
    }
  };
  driver.reset();
  all("after a reset");
  driver.to_features_ok();
  all("after FEATURES_OK");
  driver.set_status(kLive);
  all("after DRIVER_OK");
  driver.set_status(kLive | kStatusFailed);
  all("after FAILED");
  driver.reset();
}
void events_are_not_answered(RawDriver& driver, Findings& findings) {
  driver.reset();
  findings.expect(driver.is_dropped(driver.frame(EventAvail{.vq_index = 0})), "of a queue");
  findings.expect(driver.is_dropped(driver.frame(EventAvail{.vq_index = kNoQueue})),
                  "of a queue that is not there");
}
void drops_change_nothing(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const auto before = view(driver);
  Bytes frame = driver.frame(SetDeviceStatusRequest{.status = 0});
  RawDriver::resize_payload(frame, -1);
  findings.expect(driver.is_dropped(frame), "a short SET_DEVICE_STATUS is answered");
  set_queue(driver, {.index = kNoQueue, .flags = 1, .size = 8});
  static_cast<void>(config(driver, 0xfffffff0, 0x20));
  findings.expect(view(driver) == before, "the device is not as it was");
}
void rejects_are_the_same(RawDriver& driver, Findings& findings) {
  std::array<Bytes, 2> answers;
  for (Bytes& answer : answers) {
    Bytes frame = driver.frame(GetConfigRequest{.offset = 0xffffffff, .length = 1});
    set(frame, 4, 0x11);
    set(frame, 5, 0x22);
    answer = driver.ask(frame);
  }
  findings.expect(answers[0] == answers[1], "two answers differ");
}

constexpr std::array kRules{
    ConformRule{"DEV-2", "the answer to SET_DRIVER_FEATURES", empty_answers_have_eight_bytes},
    ConformRule{"DEV-3", "a request with all reserved type bits", reserved_type_bits},
    ConformRule{"DEV-4", "tokens 0, 1 and 0xffff", header_comes_back},
    ConformRule{"DEV-6", "answers that would be too large", answers_fit},
    ConformRule{"DEV-11", "responses and events of the device", wrong_direction},
    ConformRule{"DEV-12", "message ids that nobody has", unknown_ids},
    ConformRule{"DEV-13", "the number of no device", other_numbers},
    ConformRule{"DEV-14", "payloads that are cut short", short_payloads},
    ConformRule{"DEV-15", "a payload that is too long", surplus_payload},
    ConformRule{"DEV-17", "every request in four states", requests_are_answered_in_every_state},
    ConformRule{"DEV-18", "notifications for queues that are not live", events_are_not_answered},
    ConformRule{"DEV-19", "requests that are dropped or rejected", drops_change_nothing},
    ConformRule{"DEV-20", "the same bad request twice", rejects_are_the_same},
};

}  // namespace

std::span<const ConformRule> frame_rules() { return kRules; }

}  // namespace vmsg::guest
