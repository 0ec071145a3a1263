// A guest's process that dies, at every step: nothing is said, nothing is taken back in order.
#include <csignal>

#include "tests/hostile/adversary.hpp"
#include "tests/hostile/raw_queue.hpp"

namespace vmsg::hostile {
namespace {

using xen::XenbusState;

[[noreturn]] void die() {
  static_cast<void>(raise(SIGKILL));
  std::terminate();
}

const std::vector<Adversary>& all() {
  const auto dies = [](std::string_view name, std::string_view about,
                       std::function<void(Attacker&)> attack) {
    return Adversary{name, about, Stage::kBus, {Fate::kDied}, std::move(attack)};
  };
  static const std::vector<Adversary> adversaries{
      dies("dies-at-start", "after state 1",
           [](Attacker& a) {
             a.begin();
             die();
           }),
      dies("dies-with-a-ring", "after it has shared a ring",
           [](Attacker& a) {
             a.begin();
             a.offer();
             die();
           }),
      dies("dies-with-answers", "after its answers, before state 3",
           [](Attacker& a) {
             a.begin();
             a.offer();
             a.write_answers(a.answers());
             die();
           }),
      // rules: HOSTILE-7
      dies("dies-in-state-3", "while the device side connects",
           [](Attacker& a) {
             a.begin();
             a.offer();
             a.write_answers(a.answers());
             a.enter(XenbusState::kInitialised);
             die();
           }),
      dies("dies-before-state-4", "when the device side has connected",
           [](Attacker& a) {
             a.begin();
             a.offer();
             a.write_answers(a.answers());
             a.enter(XenbusState::kInitialised);
             static_cast<void>(a.settle());
             die();
           }),
      dies("dies-connected", "in state 4",
           [](Attacker& a) {
             a.connect();
             die();
           }),
      dies("dies-with-requests", "with requests in the ring",
           [](Attacker& a) {
             a.connect();
             for (int i = 0; i < 8; ++i) {
               const std::array<std::byte, 4> payload{};
               a.send(VIRTIO_MSG_TYPE_BUS, VIRTIO_MSG_BUS_PING, 0, 1, payload);
             }
             die();
           }),
      dies("dies-with-features", "at FEATURES_OK",
           [](Attacker& a) {
             a.connect();
             a.bring_up({});
             die();
           }),
      dies("dies-with-a-queue", "with a queue set up",
           [](Attacker& a) {
             a.connect();
             a.bring_up({});
             RawQueue queue(a, QueueFormat::kSplit);
             static_cast<void>(queue.enable(queue.request()));
             die();
           }),
      // rules: HOSTILE-7
      dies("dies-under-io", "with buffers under way",
           [](Attacker& a) {
             a.connect();
             a.bring_up({});
             RawQueue queue(a, QueueFormat::kSplit);
             queue.go_live(true);
             for (std::uint32_t i = 0; i < RawQueue::kSize; ++i) queue.publish_one(i, 4096);
             queue.kick();
             die();
           }),
      dies("dies-in-reset", "while its device is reset",
           [](Attacker& a) {
             a.connect();
             a.bring_up({});
             RawQueue queue(a, QueueFormat::kPacked);
             std::array<std::byte, 4> zero{};
             a.send(0, VIRTIO_MSG_SET_DEVICE_STATUS, a.options().device, 1, zero);
             die();
           }),
      dies("dies-closing", "in state 5",
           [](Attacker& a) {
             a.connect();
             a.enter(XenbusState::kClosing);
             die();
           }),
  };
  return adversaries;
}

}  // namespace

std::span<const Adversary> death_adversaries() { return all(); }

}  // namespace vmsg::hostile
