#include "tools/vmsg-guest/conform_rules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <utility>

#include "transport/device_status.hpp"
#include "transport/queue_layout.hpp"

namespace vmsg::guest {

template <typename T>
void Findings::equal(const T& wanted, const T& found, const std::string& what) {
  if (wanted != found) found_.push_back(fmt::format("{}: {} and not {}", what, found, wanted));
}

namespace {

using Bytes = RawDriver::Bytes;

constexpr std::uint32_t kAtDriver = kStatusAcknowledge | kStatusDriver;
constexpr std::uint32_t kAtFeaturesOk = kAtDriver | kStatusFeaturesOk;
constexpr std::uint32_t kLive = kAtFeaturesOk | kStatusDriverOk;
constexpr std::uint32_t kNoQueue = 0xfffff;  // beyond what any device may have

GetDeviceInfoResponse info(RawDriver& driver) {
  return driver.request<GetDeviceInfoResponse>(GetDeviceInfoRequest{});
}
GetConfigResponse config(RawDriver& driver, std::uint32_t offset, std::uint32_t length) {
  return driver.request<GetConfigResponse>(GetConfigRequest{.offset = offset, .length = length});
}
std::uint8_t type_of(const Bytes& frame) {
  return frame.empty() ? std::uint8_t{0xff} : std::to_integer<std::uint8_t>(frame[0]);
}
std::uint16_t word_of(const Bytes& frame, std::size_t at) {
  return frame.size() < at + 2
             ? std::uint16_t{0xffff}
             : static_cast<std::uint16_t>(std::to_integer<unsigned>(frame[at]) |
                                          std::to_integer<unsigned>(frame[at + 1]) << 8U);
}
void set(Bytes& frame, std::size_t at, unsigned value) {
  frame[at] = static_cast<std::byte>(value);
}

/// All that a driver can see of a device.
std::vector<Bytes> view(RawDriver& driver) {
  std::vector<Bytes> all;
  const auto keep = [&] {
    // Without the token, which differs every time.
    Bytes answer = driver.answer();
    if (answer.size() >= kHeaderSize) set(answer, 4, 0), set(answer, 5, 0);
    all.push_back(std::move(answer));
  };
  static_cast<void>(driver.status());
  keep();
  static_cast<void>(driver.features(0, 4));
  keep();
  static_cast<void>(config(driver, 0, std::min(info(driver).config_size, 64U)));
  keep();
  for (std::uint32_t index = 0; index < 3; ++index) {
    static_cast<void>(driver.queue(index));
    keep();
  }
  return all;
}

/// A queue in memory that is really shared.
struct Ring {
  std::array<xen::SharedPages, 3> areas;
  SetVqueueRequest request;
};
Ring make_ring(RawDriver& driver, std::uint32_t index, std::uint32_t size) {
  Ring ring;
  const AreaNumbers sizes = area_sizes(QueueFormat::kSplit, size);
  const std::array<std::uint64_t, 3> bytes{sizes.descriptors, sizes.driver, sizes.device};
  std::array<std::uint64_t, 3> addresses{};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    auto pages = driver.link().sharer().share_consecutive(
        driver.link().device_domain(),
        static_cast<std::uint32_t>((bytes[i] + kGrantPageSize - 1) / kGrantPageSize),
        Access::kReadWrite);
    if (!pages) {
      driver.note("cannot share the memory of a queue");
      return ring;
    }
    ring.areas[i] = std::move(*pages);
    addresses[i] = ring.areas[i].address()->raw();
  }
  ring.request = {.index = index,
                  .flags = VIRTIO_MSG_VQUEUE_ENABLE,
                  .size = size,
                  .descriptor_addr = addresses[0],
                  .driver_addr = addresses[1],
                  .device_addr = addresses[2]};
  return ring;
}
std::uint32_t small_size(RawDriver& driver) { return std::min(driver.queue(0).max_size, 8U); }
void set_queue(RawDriver& driver, const SetVqueueRequest& request) {
  static_cast<void>(driver.request<SetVqueueResponse>(request));
}
bool is_enabled(RawDriver& driver, std::uint32_t index) {
  return (driver.queue(index).flags & VIRTIO_MSG_VQUEUE_ENABLED) != 0;
}
/// SET_VQUEUE with one thing wrong: the answer is empty and the queue stays idle.
void expect_refused(RawDriver& driver, Findings& findings, const SetVqueueRequest& request,
                    const std::string& what) {
  set_queue(driver, request);
  findings.equal<std::size_t>(kHeaderSize, driver.answer().size(), what + ": size of the answer");
  findings.expect(!is_enabled(driver, request.index), what + ": the queue is enabled");
}

/// Whether a write is applied, told by its length.
std::uint32_t written(RawDriver& driver, std::uint32_t offset, std::span<const std::byte> data) {
  return driver
      .request<SetConfigResponse>(SetConfigRequest{.generation = 0, .offset = offset, .data = data})
      .length;
}

// ---- frames -------------------------------------------------------------------------------------

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

// ---- identity and features ----------------------------------------------------------------------

void info_is_constant(RawDriver& driver, Findings& findings) {
  driver.reset();
  const auto first = info(driver);
  driver.to_features_ok();
  findings.expect(info(driver) == first, "it differs after FEATURES_OK");
  driver.reset();
  findings.expect(info(driver) == first, "it differs after a reset");
}
void there_is_a_type(RawDriver& driver, Findings& findings) {
  findings.expect(info(driver).device_id != 0, "device_id is 0");
}
void blocks_cover_the_offer(RawDriver& driver, Findings& findings) {
  const std::uint32_t blocks = info(driver).num_feature_blocks;
  const auto words = driver.features(blocks, 8);
  findings.expect(std::ranges::all_of(words, [](std::uint32_t word) { return word == 0; }),
                  fmt::format("bits are offered beyond block {}", blocks));
}
void few_blocks(RawDriver& driver, Findings& findings) {
  findings.expect(info(driver).num_feature_blocks <= 4,
                  fmt::format("there are {}", info(driver).num_feature_blocks));
}
void queue_counts(RawDriver& driver, Findings& findings) {
  const auto about = info(driver);
  findings.expect(about.max_virtqueues <= VIRTIO_MSG_MAX_VQUEUES, "more than 65536 queues");
  findings.expect(about.admin_vq_count != 0 || about.admin_vq_start == 0,
                  "a start of admin queues, and none of them");
  findings.expect(
      std::uint64_t{about.admin_vq_start} + about.admin_vq_count <= about.max_virtqueues,
      "admin queues beyond the last queue");
}
void the_offer_stays(RawDriver& driver, Findings& findings) {
  driver.reset();
  const auto before = driver.features(0, 4);
  driver.to_features_ok();
  findings.expect(driver.features(0, 4) == before, "it differs once features are negotiated");
}
void feature_echo(RawDriver& driver, Findings& findings) {
  for (const std::uint32_t count : {1U, 2U, 4U, 7U}) {
    findings.equal<std::size_t>(count, driver.features(1, count).size(), "words");
    findings.equal<std::size_t>(16 + std::size_t{count} * 4, driver.answer().size(), "bytes");
    findings.equal<unsigned>(1, word_of(driver.answer(), 8), "block_index");
  }
}
void blocks_do_not_wrap(RawDriver& driver, Findings& findings) {
  for (const std::uint32_t block : {5U, 0x08000000U, 0xffffffffU}) {
    const auto words = driver.features(block, 2);
    findings.expect(words == std::vector<std::uint32_t>(2),
                    fmt::format("block {:#x} is not zero", block));
  }
}
void no_blocks(RawDriver& driver, Findings& findings) {
  findings.equal<std::size_t>(0, driver.features(0, 0).size(), "words");
  findings.equal<std::size_t>(16, driver.answer().size(), "bytes");
}
void too_many_blocks(RawDriver& driver, Findings& findings) {
  for (const std::uint32_t count :
       {max_feature_words(driver.max_message_size()) + 1, 0xffffffffU}) {
    findings.equal<std::size_t>(0, driver.features(0, count).size(), "words");
    findings.equal<std::size_t>(16, driver.answer().size(), "bytes");
  }
}
void needed_bits(RawDriver& driver, Findings& findings) {
  const auto words = driver.features(0, 2);
  findings.expect(words.size() == 2 && (words[1] & 1U) != 0, "VERSION_1 is not offered");
}
void unwanted_bits(RawDriver& driver, Findings& findings) {
  const auto words = driver.features(0, 2);
  findings.expect(words.size() == 2 && (words[1] & (1U << 5)) == 0, "SR_IOV is offered");
  findings.expect(words.size() == 2 && (words[1] & (1U << 7)) == 0, "NOTIF_CONFIG_DATA is offered");
}
void no_admin_bit(RawDriver& driver, Findings& findings) {
  const auto words = driver.features(1, 1);
  const bool has_bit = !words.empty() && (words[0] & (1U << 9)) != 0;
  findings.expect(!has_bit || info(driver).admin_vq_count != 0, "ADMIN_VQ without admin queues");
}
bool takes_features(RawDriver& driver) {
  return (driver.set_status(kAtFeaturesOk) & kStatusFeaturesOk) != 0;
}
constexpr std::array<std::uint32_t, 2> kBasic{0, 3};  // VERSION_1 and ACCESS_PLATFORM
void the_last_selection_wins(RawDriver& driver, Findings& findings) {
  driver.to_driver();
  const std::array<std::uint32_t, 1> all{0xffffffff};
  driver.select(0, all);
  driver.select(0, kBasic);
  findings.expect(takes_features(driver), "a selection that was corrected is refused");
}
void early_selection(RawDriver& driver, Findings& findings) {
  driver.reset();
  driver.select(0, kBasic);
  driver.set_status(kStatusAcknowledge);
  driver.set_status(kAtDriver);
  findings.expect(!takes_features(driver), "a selection made before DRIVER counts");
}
void reset_clears_selection(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  driver.to_driver();
  findings.expect(!takes_features(driver), "the selection of before counts");
}
void bad_selections(RawDriver& driver, Findings& findings) {
  const auto offered = driver.features(0, 2);
  const auto refused = [&](std::array<std::uint32_t, 2> words, const char* what) {
    driver.to_driver();
    driver.select(0, words);
    findings.expect(!takes_features(driver), what);
    driver.select(0, kBasic);
    findings.expect(takes_features(driver),
                    fmt::format("{}, and then its correction is not", what));
  };
  refused({0, 2}, "no VERSION_1: accepted");
  refused({0, 1}, "no ACCESS_PLATFORM: accepted");
  if (offered.size() == 2 && offered[0] != 0xffffffff) {
    refused({~offered[0] & (offered[0] + 1), 3}, "a bit that is not offered: accepted");
  }
}
void words_past_the_last(RawDriver& driver, Findings& findings) {
  driver.to_driver();
  const std::array<std::uint32_t, 1> one{1};
  driver.select(1000, one);
  driver.select(0, kBasic);
  findings.expect(!takes_features(driver), "a bit past the last block does not matter");
  driver.to_features_ok();
}
void selection_is_frozen(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const std::array<std::uint32_t, 2> none{0, 0};
  driver.select(0, none);
  findings.equal(kLive, driver.set_status(kLive), "status after DRIVER_OK");
  driver.reset();
}
void accepted_again(RawDriver& driver, Findings& findings) {
  for (int i = 0; i < 3; ++i) {
    driver.to_driver();
    driver.select(0, kBasic);
    findings.expect(takes_features(driver), "it is refused the next time");
  }
}

// ---- configuration ------------------------------------------------------------------------------

void any_range_inside(RawDriver& driver, Findings& findings) {
  const std::uint32_t size = info(driver).config_size;
  const std::uint32_t most = std::min(size, max_config_chunk(driver.max_message_size()));
  const auto whole = config(driver, 0, most);
  const Bytes bytes(whole.data.begin(), whole.data.end());
  findings.equal<std::size_t>(most, bytes.size(), "bytes of the whole");
  for (std::uint32_t at = 0; at < std::min(most, 64U); ++at) {
    const auto one = config(driver, at, 1);
    findings.expect(one.data.size() == 1 && one.offset == at, fmt::format("byte {}", at));
  }
}
void reads_outside(RawDriver& driver, Findings& findings) {
  const std::uint32_t size = info(driver).config_size;
  for (const auto& [offset, length] : {std::pair{size, 1U},
                                       {0U, size + 1},
                                       {0xffffffffU, 1U},
                                       {0xffffffffU, 0xffffffffU},
                                       {1U, 0xffffffffU}}) {
    const auto answer = config(driver, offset, length);
    findings.expect(answer.data.empty(), fmt::format("{} bytes at {:#x} are read", length, offset));
    findings.equal<std::size_t>(20, driver.answer().size(), "size of the answer");
    findings.equal(offset, answer.offset, "offset");
  }
}
void zero_length_reads(RawDriver& driver, Findings& findings) {
  const std::uint32_t generation = config(driver, 0, 0).generation;
  for (const std::uint32_t offset : {1U, 0x7fffffffU, 0xffffffffU}) {
    findings.equal(generation, config(driver, offset, 0).generation, "generation");
  }
}
void reset_keeps_generation(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const std::uint32_t before = config(driver, 0, 0).generation;
  driver.reset();
  findings.expect(config(driver, 0, 0).generation - before < 0x80000000, "it went back");
}
void zero_length_writes(RawDriver& driver, Findings& findings) {
  driver.reset();
  static_cast<void>(written(driver, 0, {}));
  findings.equal<std::size_t>(20, driver.answer().size(), "size of the answer");
}
void writes_outside(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const std::array<std::byte, 4> data{};
  const std::uint32_t size = info(driver).config_size;
  for (const std::uint32_t offset : {size, size + 1, 0xfffffffeU, 0xffffffffU}) {
    findings.equal(0U, written(driver, offset, data), fmt::format("length at {:#x}", offset));
    findings.equal<std::size_t>(20, driver.answer().size(), "size of the answer");
    findings.equal<unsigned>(offset & 0xffffU, word_of(driver.answer(), 12), "offset");
  }
}

// ---- status -------------------------------------------------------------------------------------

void write_and_read_agree(RawDriver& driver, Findings& findings) {
  driver.reset();
  for (const std::uint32_t status : {1U, 3U, 0xbU, 0x83U}) {
    const std::uint32_t answer = driver.set_status(status);
    findings.equal(answer, driver.status(), fmt::format("read after a write of {:#x}", status));
  }
  driver.reset();
}
void reserved_bits(RawDriver& driver, Findings& findings) {
  driver.reset();
  findings.equal(kStatusAcknowledge, driver.set_status(0xffffff31), "status");
  driver.reset();
}
void ladder(RawDriver& driver, Findings& findings) {
  driver.reset();
  findings.equal(0U, driver.set_status(kStatusDriver), "DRIVER alone");
  findings.equal(kStatusAcknowledge, driver.set_status(kStatusAcknowledge | kStatusFeaturesOk),
                 "FEATURES_OK without DRIVER");
  driver.to_driver();
  findings.equal(kAtDriver, driver.set_status(kAtDriver | kStatusDriverOk),
                 "DRIVER_OK without FEATURES_OK");
}
void clearing(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  findings.equal(kAtFeaturesOk, driver.set_status(kStatusAcknowledge), "status");
}
void only_zero_resets(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  findings.equal(kAtFeaturesOk, driver.set_status(0x100), "a write of 0x100");
  driver.reset();
  findings.equal(0U, driver.status(), "after a write of 0");
}
void needs_reset_is_the_devices(RawDriver& driver, Findings& findings) {
  driver.to_driver();
  findings.equal(kAtDriver, driver.set_status(kAtDriver | kStatusNeedsReset), "status");
}
void failed_stays(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  findings.equal(kAtFeaturesOk | kStatusFailed, driver.set_status(kAtFeaturesOk | kStatusFailed),
                 "FAILED");
  findings.equal(kAtFeaturesOk | kStatusFailed, driver.set_status(kLive), "DRIVER_OK after it");
  driver.reset();
}
void reset_gives_all_back(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const Ring ring = make_ring(driver, 0, small_size(driver));
  set_queue(driver, ring.request);
  findings.expect(is_enabled(driver, 0), "the queue was not enabled");
  driver.set_status(kLive);
  driver.reset();
  findings.expect(!is_enabled(driver, 0), "the queue is enabled");
  findings.equal<std::uint64_t>(0, driver.queue(0).descriptor_addr, "its address");
}
void reset_at_zero(RawDriver& driver, Findings& findings) {
  driver.reset();
  findings.equal(0U, driver.set_status(0), "status");
}

// ---- queues -------------------------------------------------------------------------------------

void idle_queues(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const auto queue = driver.queue(0);
  findings.equal(0U, queue.index, "index");
  findings.expect(queue.max_size != 0, "there is no queue 0");
  findings.expect((queue.flags & VIRTIO_MSG_VQUEUE_ENABLED) == 0, "it is enabled already");
}
void no_such_queue(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  for (const std::uint32_t index : {info(driver).max_virtqueues, 65535U, 65536U, 0xffffffffU}) {
    const GetVqueueResponse sentinel{.index = index};
    findings.expect(driver.queue(index) == sentinel, fmt::format("queue {}", index));
  }
}
void sizes(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const std::uint32_t size = driver.queue(0).max_size;
  findings.expect(size != 0 && (size & (size - 1)) == 0 && size <= VIRTIO_MSG_MAX_QUEUE_SIZE,
                  fmt::format("{} entries", size));
  driver.to_features_ok();
  findings.equal(size, driver.queue(0).max_size, "after a reset");
}
void set_up_shows(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const Ring ring = make_ring(driver, 0, small_size(driver));
  set_queue(driver, ring.request);
  findings.equal<std::size_t>(8, driver.answer().size(), "size of the answer");
  const auto queue = driver.queue(0);
  findings.equal(ring.request.size, queue.cur_size, "size");
  findings.equal<std::uint32_t>(VIRTIO_MSG_VQUEUE_ENABLED, queue.flags, "flags");
  findings.equal(ring.request.descriptor_addr, queue.descriptor_addr, "descriptor address");
  findings.equal(ring.request.driver_addr, queue.driver_addr, "driver address");
  findings.equal(ring.request.device_addr, queue.device_addr, "device address");
  driver.reset();
}
void too_early(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const Ring ring = make_ring(driver, 0, small_size(driver));
  driver.to_driver();
  expect_refused(driver, findings, ring.request, "before FEATURES_OK");
}
void enabled_queues_go_on(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const Ring first = make_ring(driver, 0, small_size(driver));
  set_queue(driver, first.request);
  const Ring second = make_ring(driver, 0, small_size(driver));
  set_queue(driver, second.request);
  findings.equal(first.request.descriptor_addr, driver.queue(0).descriptor_addr, "address");
  driver.reset();
}
void bad_queue_parameters(RawDriver& driver, Findings& findings, std::string_view which) {
  driver.to_features_ok();
  const std::uint32_t most = driver.queue(0).max_size;
  const Ring ring = make_ring(driver, 0, small_size(driver));
  const auto with = [&](auto change, const char* what) {
    SetVqueueRequest request = ring.request;
    change(request);
    expect_refused(driver, findings, request, what);
  };
  if (which == "flags") {
    with([](auto& request) { request.flags = 3; }, "flags 3");
    with([](auto& request) { request.flags = 0x80000001; }, "flags 0x80000001");
  } else if (which == "size") {
    with([](auto& request) { request.size = 0; }, "size 0");
    with([&](auto& request) { request.size = most * 2; }, "twice the maximum");
    with([](auto& request) { request.size = 3; }, "size 3 of a split queue");
    with([](auto& request) { request.size = 0x80000000; }, "size 2^31");
  } else {
    with([](auto& request) { request.descriptor_addr = 0; }, "descriptor address 0");
    with([](auto& request) { request.driver_addr = 0; }, "driver address 0");
    with([](auto& request) { request.device_addr = 0; }, "device address 0");
    with([](auto& request) { request.descriptor_addr += 8; }, "a misaligned descriptor table");
    with([](auto& request) { request.driver_addr += 1; }, "a misaligned driver area");
    with([](auto& request) { request.device_addr += 2; }, "a misaligned device area");
    with([](auto& request) { request.descriptor_addr = 0xfffffffffffffff0; },
         "an area that overflows");
  }
  driver.reset();
}
void bad_flags(RawDriver& driver, Findings& findings) {
  bad_queue_parameters(driver, findings, "flags");
}
void bad_sizes(RawDriver& driver, Findings& findings) {
  bad_queue_parameters(driver, findings, "size");
}
void bad_addresses(RawDriver& driver, Findings& findings) {
  bad_queue_parameters(driver, findings, "address");
}
void enable_later(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const Ring ring = make_ring(driver, 0, small_size(driver));
  SetVqueueRequest request = ring.request;
  request.flags = 0;
  set_queue(driver, request);
  findings.expect(!is_enabled(driver, 0), "configured is enabled");
  findings.equal(request.size, driver.queue(0).cur_size, "size");
  set_queue(driver, ring.request);
  findings.expect(is_enabled(driver, 0), "it cannot be enabled later");
  driver.reset();
}
void set_up_while_live(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  driver.set_status(kLive);
  const Ring ring = make_ring(driver, 0, small_size(driver));
  set_queue(driver, ring.request);
  findings.expect(is_enabled(driver, 0), "it is not enabled");
  driver.reset();
}
void reset_of_a_queue(RawDriver& driver, Findings& findings) {
  const auto words = driver.features(1, 1);
  if (words.empty() || (words[0] & (1U << 8)) == 0) return;  // RING_RESET is not on offer
  driver.to_features_ok({static_cast<unsigned>(RingFeature::kRingReset)});
  const Ring ring = make_ring(driver, 0, small_size(driver));
  set_queue(driver, ring.request);
  driver.set_status(kLive);
  static_cast<void>(driver.request<ResetVqueueResponse>(ResetVqueueRequest{.index = 0}));
  findings.expect(!is_enabled(driver, 0), "the queue is enabled");
  const Ring other = make_ring(driver, 0, small_size(driver));
  set_queue(driver, other.request);
  findings.equal(other.request.descriptor_addr, driver.queue(0).descriptor_addr,
                 "address of the next one");
  driver.reset();
}
void reset_without_the_feature(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const Ring ring = make_ring(driver, 0, small_size(driver));
  set_queue(driver, ring.request);
  static_cast<void>(driver.request<ResetVqueueResponse>(ResetVqueueRequest{.index = 0}));
  findings.expect(is_enabled(driver, 0), "it was reset without RING_RESET");
  driver.reset();
}

// ---- shared memory and events -------------------------------------------------------------------

void no_shared_memory(RawDriver& driver, Findings& findings) {
  const auto answer = driver.request<GetShmResponse>(GetShmRequest{.shmid = 0xabcdef});
  findings.equal(0xabcdefU, answer.shmid, "shmid");
  findings.equal<std::uint64_t>(0, answer.length, "length");
  findings.equal<std::uint64_t>(0, answer.address, "address");
}
void quiet_before_driver_ok(RawDriver& driver, Findings& findings) {
  driver.reset();
  driver.settle();
  static_cast<void>(driver.take_events());
  driver.to_features_ok();
  const Ring ring = make_ring(driver, 0, small_size(driver));
  set_queue(driver, ring.request);
  driver.send(driver.frame(EventAvail{.vq_index = 0}));
  driver.settle();
  findings.equal<std::size_t>(0, driver.take_events().size(), "events");
  driver.reset();
}
void stray_kicks(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  driver.set_status(kLive);
  const auto before = view(driver);
  for (const std::uint32_t index : {0U, 1U, 65535U, 0xffffffffU}) {
    for (int i = 0; i < 50; ++i) {
      driver.send(driver.frame(EventAvail{.vq_index = index, .next_offset = 0xffffffff}));
    }
  }
  findings.expect(view(driver) == before, "the device is not as it was");
  driver.reset();
}
void answers_in_order(RawDriver& driver, Findings& findings) {
  constexpr std::size_t kRequests = 8;
  driver.settle();
  static_cast<void>(driver.take_events());
  std::vector<std::uint16_t> sent;
  for (std::size_t i = 0; i < kRequests; ++i) {
    const Bytes frame = driver.frame(GetDeviceStatusRequest{});
    sent.push_back(word_of(frame, 4));
    driver.send(frame);
  }
  driver.settle();
  std::vector<std::uint16_t> got;
  for (const Bytes& frame : driver.take_events()) {
    if ((type_of(frame) & VIRTIO_MSG_TYPE_RESPONSE) != 0) got.push_back(word_of(frame, 4));
  }
  findings.expect(got == sent, "the answers come in another order, or not all");
}

// ---- the bus ------------------------------------------------------------------------------------

void bus_messages_have_no_number(RawDriver& driver, Findings& findings) {
  Bytes frame = driver.frame(PingRequest{.data = 7});
  findings.equal<unsigned>(0, word_of(driver.ask(frame), 2), "dev_num of the answer");
  Bytes wrong = driver.frame(PingRequest{.data = 7});
  set(wrong, 2, 1);
  findings.expect(driver.is_dropped(wrong), "a PING to device 1 is answered");
}
void unknown_bus_messages(RawDriver& driver, Findings& findings) {
  for (const unsigned id : {0x00U, 0x01U, 0x04U, 0x3fU, 0x41U, 0x8fU, 0xc1U}) {
    Bytes frame = driver.frame(PingRequest{.data = 7});
    set(frame, 1, id);
    findings.expect(driver.is_dropped(frame), fmt::format("msg_id {:#x} is answered", id));
  }
}
GetDevicesResponse devices(RawDriver& driver, std::uint16_t offset, std::uint16_t count) {
  return driver.request<GetDevicesResponse>(GetDevicesRequest{.offset = offset, .count = count});
}
void device_windows(RawDriver& driver, Findings& findings) {
  for (const std::uint16_t count : {std::uint16_t{1}, std::uint16_t{9}, std::uint16_t{256}}) {
    const auto window = devices(driver, driver.number(), count);
    findings.equal(driver.number(), window.offset, "offset");
    findings.expect(window.count <= count, fmt::format("{} slots for {}", window.count, count));
    findings.equal(GetDevicesResponse::bitmap_size(window.count), window.bitmap.size(), "bytes");
    findings.expect(window.count > 0 && window.has(0), "this device is not in its own window");
  }
}
void enumeration_ends(RawDriver& driver, Findings& findings) {
  std::set<std::uint16_t> found;
  std::uint32_t offset = 0;
  for (int windows = 0; windows < 8192; ++windows) {
    const auto window = devices(driver, static_cast<std::uint16_t>(offset), 256);
    for (std::uint16_t slot = 0; slot < window.count; ++slot) {
      if (window.has(slot)) found.insert(static_cast<std::uint16_t>(offset + slot));
    }
    if (window.next_offset == 0) break;
    if (window.next_offset <= offset) {
      findings.expect(false, fmt::format("next_offset {} after {}", window.next_offset, offset));
      break;
    }
    offset = window.next_offset;
  }
  findings.expect(found == driver.link().devices(), "it finds other devices than before");
}
void odd_windows(RawDriver& driver, Findings& findings) {
  for (const auto& [offset, count] :
       {std::pair<std::uint16_t, std::uint16_t>{0, 0}, {0, 65535}, {65535, 1}, {65535, 65535}}) {
    const auto window = devices(driver, offset, count);
    findings.equal(offset, window.offset, "offset");
    findings.expect(window.count <= count, "more slots than asked for");
  }
}
void ping(RawDriver& driver, Findings& findings) {
  for (const std::uint32_t data : {0U, 0x12345678U, 0xffffffffU}) {
    findings.equal(data, driver.request<PingResponse>(PingRequest{.data = data}).data, "data");
  }
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
    ConformRule{"DEV-23", "device information over a reset", info_is_constant},
    ConformRule{"DEV-24", "the device type", there_is_a_type},
    ConformRule{"DEV-25", "feature bits beyond the last block", blocks_cover_the_offer},
    ConformRule{"DEV-26", "the number of feature blocks", few_blocks},
    ConformRule{"DEV-27", "the numbers of queues", queue_counts},
    ConformRule{"DEV-29", "the offer before and after negotiation", the_offer_stays},
    ConformRule{"DEV-30", "1, 2, 4 and 7 feature words", feature_echo},
    ConformRule{"DEV-31", "feature blocks far out", blocks_do_not_wrap},
    ConformRule{"DEV-32", "no feature words", no_blocks},
    ConformRule{"DEV-33", "more feature words than fit", too_many_blocks},
    ConformRule{"DEV-34", "VERSION_1", needed_bits},
    ConformRule{"DEV-35", "SR_IOV and NOTIF_CONFIG_DATA", unwanted_bits},
    ConformRule{"DEV-37", "ADMIN_VQ", no_admin_bit},
    ConformRule{"DEV-38", "two selections of the same block", the_last_selection_wins},
    ConformRule{"DEV-40", "a selection before DRIVER", early_selection},
    ConformRule{"DEV-41", "FEATURES_OK after a reset, with no new selection",
                reset_clears_selection},
    ConformRule{"DEV-42", "bad selections and their corrections", bad_selections},
    ConformRule{"DEV-43", "a bit in block 1000", words_past_the_last},
    ConformRule{"DEV-44", "a selection after FEATURES_OK", selection_is_frozen},
    ConformRule{"DEV-45", "the same selection three times", accepted_again},
    ConformRule{"DEV-47", "every byte of the configuration, and all of it", any_range_inside},
    ConformRule{"DEV-48", "reads outside of the configuration", reads_outside},
    ConformRule{"DEV-49", "reads of no length", zero_length_reads},
    ConformRule{"DEV-51", "the generation over a reset", reset_keeps_generation},
    ConformRule{"DEV-58", "writes outside of the configuration", writes_outside},
    ConformRule{"DEV-60", "a write of no length", zero_length_writes},
    ConformRule{"DEV-63", "status written and read", write_and_read_agree},
    ConformRule{"DEV-64", "reserved status bits", reserved_bits},
    ConformRule{"DEV-65", "steps that leave one out", ladder},
    ConformRule{"DEV-66", "status bits taken away", clearing},
    ConformRule{"DEV-67", "status 0x100, and 0", only_zero_resets},
    ConformRule{"DEV-68", "DEVICE_NEEDS_RESET from the driver", needs_reset_is_the_devices},
    ConformRule{"DEV-69", "FAILED, and DRIVER_OK after it", failed_stays},
    ConformRule{"DEV-71", "a reset of a live device", reset_gives_all_back},
    ConformRule{"DEV-77", "a reset at status 0", reset_at_zero},
    ConformRule{"DEV-78", "the record of an idle queue", idle_queues},
    ConformRule{"DEV-79", "queues that are not there", no_such_queue},
    ConformRule{"DEV-81", "the largest size of a queue, over a reset", sizes},
    ConformRule{"DEV-82", "a queue that is set up", set_up_shows},
    ConformRule{"DEV-84", "a queue before FEATURES_OK", too_early},
    ConformRule{"DEV-86", "a queue that is enabled already", enabled_queues_go_on},
    ConformRule{"DEV-87", "flags other than 0 and 1", bad_flags},
    ConformRule{"DEV-88", "sizes that cannot be", bad_sizes},
    ConformRule{"DEV-89", "addresses that cannot be", bad_addresses},
    ConformRule{"DEV-90", "a queue that is enabled later", enable_later},
    ConformRule{"DEV-91", "a queue after DRIVER_OK", set_up_while_live},
    ConformRule{"DEV-94", "RESET_VQUEUE without RING_RESET", reset_without_the_feature},
    ConformRule{"DEV-95", "a queue that is reset and set up anew", reset_of_a_queue},
    ConformRule{"DEV-96", "a shared memory region that is not there", no_shared_memory},
    ConformRule{"DEV-98", "a queue that is kicked before DRIVER_OK", quiet_before_driver_ok},
    ConformRule{"DEV-111", "200 notifications out of place", stray_kicks},
    ConformRule{"DEV-113", "eight requests at once", answers_in_order},
    ConformRule{"BUS-28", "PING to a device number", bus_messages_have_no_number},
    ConformRule{"BUS-29", "bus messages that nobody has", unknown_bus_messages},
    ConformRule{"BUS-31", "windows that begin at the device", device_windows},
    ConformRule{"BUS-32", "a whole enumeration", enumeration_ends},
    ConformRule{"BUS-35", "windows of every kind", odd_windows},
    ConformRule{"BUS-38", "PING with three values", ping},
};

}  // namespace

std::span<const ConformRule> conform_rules() { return kRules; }

}  // namespace vmsg::guest
