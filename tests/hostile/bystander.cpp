#include "tests/hostile/bystander.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "tests/hostile/raw_queue.hpp"
#include "transport/driver_queue.hpp"

namespace vmsg::hostile {
namespace {

constexpr std::uint32_t kAsked = 256;
constexpr std::uint32_t kGuard = 256;  // bytes behind a buffer that must stay as they are
constexpr std::byte kPattern{0x5a};

volatile std::sig_atomic_t must_stop = 0;

/// "BUFFERS NANOSECONDS", always at the same place and of the same length.
class Report {
 public:
  explicit Report(const std::string& path) {
    if (path.empty()) return;
    fd_ = open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    expect(fd_ >= 0, "the report cannot be written");
  }
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;
  ~Report() {
    if (fd_ >= 0) ::close(fd_);
  }

  void say(std::uint64_t buffers) const {
    if (fd_ < 0) return;
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    const std::string line =
        fmt::format("{:>20} {:>20}\n", buffers,
                    std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
    expect(pwrite(fd_, line.data(), line.size(), 0) == static_cast<ssize_t>(line.size()),
           "the report cannot be written");
  }

 private:
  int fd_ = -1;
};

void must(bool holds, const char* what) {
  if (!holds) throw Mismatch(what);
}

void check(const RawQueue& memory, const UsedBuffer& used, std::uint32_t& outstanding) {
  const auto slot = static_cast<std::uint32_t>(used.cookie);
  must(slot < RawQueue::kSize && (outstanding >> slot & 1U) != 0, "a buffer came back twice");
  outstanding &= ~(1U << slot);
  must(used.written > 0 && used.written <= kAsked, "a length that cannot be");
  std::array<std::byte, kAsked + kGuard> bytes{};
  memory.buffer_bytes(slot).copy_out(0, bytes);
  const auto filled = std::span(bytes).first(used.written);
  const auto rest = std::span(bytes).subspan(used.written);
  const auto is_pattern = [](std::byte byte) { return byte == kPattern; };
  // 16 equal random bytes are an accident of 1 in 2^128.
  must(used.written < 16 || !std::ranges::all_of(filled, is_pattern), "nothing was written");
  must(std::ranges::all_of(rest, is_pattern), "more was written than was said");
}

}  // namespace

void stand_by(const AttackerOptions& options, const std::string& report) {
  struct sigaction action{};
  action.sa_handler = [](int) { must_stop = 1; };
  expect(sigaction(SIGTERM, &action, nullptr) == 0, "no handler for SIGTERM");

  const Report written(report);
  Attacker guest(options);
  guest.connect();
  guest.bring_up({RingFeature::kEventIdx});
  RawQueue memory(guest, QueueFormat::kSplit);
  const AreaNumbers sizes = area_sizes(QueueFormat::kSplit, RawQueue::kSize);
  auto queue = DriverQueue::create(
      {.format = QueueFormat::kSplit,
       .size = RawQueue::kSize,
       .areas = {memory.descriptors().sub(0, sizes.descriptors),
                 memory.driver().sub(0, sizes.driver), memory.device().sub(0, sizes.device)},
       .event_idx = true});
  expect(queue.has_value(), "no queue");
  DriverQueue& ring = **queue;
  memory.go_live(true);

  std::array<std::byte, kAsked + kGuard> pattern{};
  pattern.fill(kPattern);
  std::uint64_t buffers = 0;
  while (must_stop == 0) {
    std::uint32_t outstanding = 0;
    for (std::uint32_t slot = 0; slot < RawQueue::kSize; ++slot) {
      memory.buffer_bytes(slot).copy_in(0, pattern);
      const std::array<Segment, 1> segment{
          Segment{*GrantAddress::parse(memory.buffer(slot)), kAsked}};
      expect(ring.add({}, segment, slot) == AddOutcome::kAdded, "the queue is full");
      outstanding |= 1U << slot;
    }
    if (ring.publish()) memory.kick();
    const bool is_over = guest.wait_until([&] {
      while (true) {
        const auto used = ring.poll_used();
        expect(used.has_value(), "the device side broke the queue");
        if (*used) {
          check(memory, **used, outstanding);
        } else if (outstanding == 0 || !ring.enable_callbacks()) {
          return outstanding == 0;
        }
      }
    });
    expect(is_over, "buffers do not come back");
    buffers += RawQueue::kSize;
    written.say(buffers);
  }
  guest.reset();
  guest.close();
  fmt::print("{} buffers\n", buffers);
}

}  // namespace vmsg::hostile
