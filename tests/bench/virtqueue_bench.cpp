// What a virtqueue costs a request: take and complete of a chain of three descriptors (16 bytes
// readable, 4096 and 1 writable, as a block read), in batches, both formats, with and without a
// table. The guest's share is left out: the ring is filled and collected while the clock stands.
//
// "Batch" is how many requests a turn finds. Copies of tables are made by a plain memcpy here.
#include <benchmark/benchmark.h>

#include <chrono>
#include <vector>

#include "tests/support/queue_pair.hpp"

namespace vmsg::test {
namespace {

constexpr std::uint32_t kSize = 256;

/// Copies at once; what a batch costs by itself is not the question here.
class PlainBatch final : public CopyBatch {
 public:
  explicit PlainBatch(FakeGuestMemory& memory) : memory_(memory) {}
  void add(const GuestRef&, GrantAddress address, std::span<std::byte> local,
           CopyOutcome&) override {
    std::memcpy(local.data(), memory_.bytes(address, local.size()).data(), local.size());
  }
  void run() override {}
  [[nodiscard]] CopyDirection direction() const override { return CopyDirection::kFromGuest; }

 private:
  FakeGuestMemory& memory_;
};

class Guest {
 public:
  explicit Guest(const RingOptions& ring) : pair_(ring, {.max_chain_segments = 130}), ring_(ring) {
    // Every request has memory of its own, as in a guest.
    for (std::uint32_t i = 0; i < kSize; ++i) {
      const GrantAddress page = pair_.memory.allocate(4096);
      headers_.push_back({page, 16});
      writable_.push_back({Segment{GrantAddress::of(page.reference() + 100000), 4096},
                           Segment{GrantAddress::of(page.reference(), 64), 1}});
      const GrantAddress table = GrantAddress::of(page.reference(), 1024);
      tables_.push_back({table, pair_.memory.shared(table, 48)});
    }
  }

  [[nodiscard]] QueuePair& pair() { return pair_; }

  void fill(std::uint32_t batch) {
    for (std::uint32_t i = 0; i < batch; ++i) {
      const std::uint32_t slot = next_++ % kSize;
      VMSG_INVARIANT(pair_.driver.queue().add({&headers_[slot], 1}, writable_[slot], slot,
                                              ring_.indirect ? &tables_[slot] : nullptr) ==
                     AddOutcome::kAdded);
    }
    static_cast<void>(pair_.driver.queue().publish());
  }

  void collect(std::uint32_t batch) {
    for (std::uint32_t i = 0; i < batch; ++i) {
      VMSG_INVARIANT(pair_.driver.queue().poll_used().value().has_value());
    }
  }

 private:
  QueuePair pair_;
  RingOptions ring_;
  std::uint32_t next_ = 0;
  std::vector<Segment> headers_;
  std::vector<std::array<Segment, 2>> writable_;
  std::vector<IndirectTable> tables_;
};

void take_and_complete(benchmark::State& state, const RingOptions& ring) {
  const auto batch = static_cast<std::uint32_t>(state.range(0));
  Guest guest(ring);
  DeviceQueue& device = guest.pair().device;
  PlainBatch fetch(guest.pair().memory);
  std::vector<Chain> chains(batch);

  while (state.KeepRunningBatch(batch)) {
    guest.fill(batch);
    const auto start = std::chrono::steady_clock::now();
    const auto count = device.take_heads(fetch, GuestRef{}, batch);
    fetch.run();
    const auto taken = device.finish_take();
    if (!count || !taken || *count != batch) state.SkipWithError("the ring is broken");
    // Hold them as a device does, and give them back with one byte more than the data.
    for (std::size_t i = 0; i < batch; ++i) chains[i] = std::move((*taken)[i]);
    for (Chain& chain : chains) device.complete(std::move(chain), 4097);
    benchmark::DoNotOptimize(device.publish());
    const auto end = std::chrono::steady_clock::now();
    state.SetIterationTime(std::chrono::duration<double>(end - start).count());
    guest.collect(batch);
  }
}

void split_direct(benchmark::State& state) {
  take_and_complete(state, {.format = QueueFormat::kSplit, .size = kSize, .event_idx = true});
}
void split_indirect(benchmark::State& state) {
  take_and_complete(
      state, {.format = QueueFormat::kSplit, .size = kSize, .event_idx = true, .indirect = true});
}
void packed_direct(benchmark::State& state) {
  take_and_complete(state, {.format = QueueFormat::kPacked, .size = kSize, .event_idx = true});
}
void packed_indirect(benchmark::State& state) {
  take_and_complete(
      state, {.format = QueueFormat::kPacked, .size = kSize, .event_idx = true, .indirect = true});
}

BENCHMARK(split_direct)->Arg(1)->Arg(8)->Arg(32)->Arg(64)->UseManualTime();
BENCHMARK(split_indirect)->Arg(1)->Arg(8)->Arg(32)->Arg(64)->UseManualTime();
BENCHMARK(packed_direct)->Arg(1)->Arg(8)->Arg(32)->Arg(64)->UseManualTime();
BENCHMARK(packed_indirect)->Arg(1)->Arg(8)->Arg(32)->Arg(64)->UseManualTime();

}  // namespace
}  // namespace vmsg::test
