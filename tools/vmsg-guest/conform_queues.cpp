// Rules about the queues of a device, its shared memory and its events.
#include <fmt/format.h>

#include <array>
#include <cstdint>

#include "tools/vmsg-guest/conform_checks.hpp"

namespace vmsg::guest {
namespace {

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

constexpr std::array kRules{
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
};

}  // namespace

std::span<const ConformRule> queue_rules() { return kRules; }

}  // namespace vmsg::guest
