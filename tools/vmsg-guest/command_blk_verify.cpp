// vmsg-guest blk verify: random writes, reads, discards, zeroes and flushes, many at a time and
// anyhow cut into descriptors, compared with a model of what the disk must hold. The model can be
// kept in a file, so that a later run knows what a run before it wrote.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "devices/blk/blk_wire.hpp"
#include "tools/vmsg-guest/commands.hpp"
#include "tools/vmsg-guest/disk_model.hpp"
#include "tools/vmsg-guest/disk_session.hpp"

namespace vmsg::guest {
namespace {

namespace wire = blk::wire;

enum class Kind : std::uint8_t { kRead, kWrite, kFlush, kZero, kDiscard };

struct Flight {
  bool is_out = false;
  Kind kind = Kind::kRead;
  std::uint64_t sector = 0;
  std::uint32_t count = 0;  // sectors
  VersionedRange range;
  std::vector<VersionedRange> covered;  // of a flush
};

Change change_of(Kind kind) {
  if (kind == Kind::kZero) return Change::kZero;
  return kind == Kind::kDiscard ? Change::kDiscard : Change::kWrite;
}

bool changes(Kind kind) { return kind != Kind::kRead && kind != Kind::kFlush; }

class Verifier {
 public:
  Verifier(GuestLink& link, const CommandOptions& command, const VerifyOptions& options,
           DiskModel& model)
      : link_(link), command_(command), options_(options), model_(model), random_(options.seed) {}

  /// Everything; what is wrong with the disk is in mismatch(), what is wrong otherwise is the
  /// error.
  Result<void, Failure> run() {
    if (auto opened = open(); !opened) return opened;
    if (options_.begins_with_check) {
      if (auto checked = check_all(); !checked) return checked;
    }
    const auto end = now() + options_.time;
    std::uint64_t resets = 0;
    while (now() < end && moved_ < options_.bytes && mismatch_.empty()) {
      if (auto turned = turn(true); !turned) return turned;
      if (options_.reset_after != 0 && moved_ / options_.reset_after > resets) {
        ++resets;
        if (auto again = reset(); !again) return again;
      }
    }
    while (out_ > 0 && mismatch_.empty()) {
      if (auto turned = turn(false); !turned) return turned;
    }
    if (auto checked = check_all(); !checked) return checked;
    fmt::print("operations={} bytes={} flushes={} resets={} failed_flushes={}\n", operations_,
               moved_, flushes_, resets, failed_flushes_);
    return session_->stop();
  }

  /// What was on its way will never be answered.
  void give_up() {
    for (std::vector<Flight>& queue : flights_) {
      for (Flight& flight : queue) {
        if (!std::exchange(flight.is_out, false)) continue;
        if (changes(flight.kind)) model_.unknown(change_of(flight.kind), flight.range);
        if (flight.kind == Kind::kFlush) model_.flush_failed(std::move(flight.covered));
      }
    }
    out_ = 0;
  }

  [[nodiscard]] const std::string& mismatch() const { return mismatch_; }

 private:
  Result<void, Failure> open() {
    session_.reset();
    auto session = DiskSession::open(
        link_, command_,
        {.queues = options_.queues,
         .queue_size = options_.queue_size,
         .disk = {.depth = options_.depth,
                  .bytes = options_.max_bytes,
                  .layout = options_.random_layout ? DiskLayout::kRandom : DiskLayout::kPages,
                  .seed = static_cast<std::uint32_t>(random_())}});
    if (!session) return std::unexpected(session.error());
    session_ = std::move(*session);
    if (session_->info().sectors < model_.sectors()) {
      return std::unexpected(fmt::format("the disk has {} sectors, {} are to be verified",
                                         session_->info().sectors, model_.sectors()));
    }
    flights_.assign(session_->queues(), std::vector<Flight>(options_.depth));
    buffer_.resize(options_.max_bytes);
    return {};
  }

  Result<void, Failure> reset() {
    if (auto stopped = session_->stop(); !stopped) return stopped;
    give_up();
    return open();
  }

  /// Starts what can be started, takes what is done, and waits if there was neither.
  Result<void, Failure> turn(bool may_start) {
    bool has_moved = false;
    for (std::size_t queue = 0; queue < session_->queues(); ++queue) {
      bool has_added = false;
      for (std::uint32_t number = 0; may_start && number < options_.depth; ++number) {
        if (flights_[queue][number].is_out) continue;
        const auto added = start(queue, number);
        if (!added) return std::unexpected(added.error());
        if (!*added) break;
        has_added = true;
      }
      if (has_added) session_->queue(queue).publish();
      has_moved |= has_added;
    }
    for (std::size_t queue = 0; queue < session_->queues(); ++queue) {
      while (true) {
        const auto done = session_->queue(queue).poll();
        if (!done) return std::unexpected(done.error());
        if (!*done) break;
        has_moved = true;
        if (auto judged = judge(queue, **done); !judged) return judged;
      }
    }
    if (has_moved || out_ == 0) return {};
    return session_->wait();
  }

  [[nodiscard]] bool is_in_use(std::uint64_t sector, std::uint32_t count) const {
    return std::ranges::any_of(flights_, [&](const auto& queue) {
      return std::ranges::any_of(queue, [&](const Flight& flight) {
        return flight.is_out && flight.sector < sector + count &&
               sector < flight.sector + flight.count;
      });
    });
  }

  Kind choose() {
    const DiskInfo& info = session_->info();
    const auto dice = random_() % 100;
    if (info.is_read_only || dice < 40) return Kind::kRead;
    if (dice < 46) return Kind::kFlush;
    if (dice < 53 && info.max_write_zeroes != 0) return Kind::kZero;
    if (dice < 60 && info.max_discard != 0) return Kind::kDiscard;
    return Kind::kWrite;
  }

  /// False when nothing could be started now.
  Result<bool, Failure> start(std::size_t queue, std::uint32_t number) {
    Flight flight{.is_out = true, .kind = choose(), .range = {}, .covered = {}};
    const std::uint32_t block = session_->info().block / kModelSector;
    if (flight.kind != Kind::kFlush) {
      const std::uint64_t most =
          std::min<std::uint64_t>(options_.max_bytes / kModelSector, model_.sectors());
      // Small ones are the more frequent ones.
      const std::uint64_t limit = random_() % 4 == 0 ? most : std::min<std::uint64_t>(most, 16);
      flight.count =
          static_cast<std::uint32_t>((1 + random_() % limit + block - 1) / block * block);
      flight.count = std::min(flight.count, static_cast<std::uint32_t>(most / block * block));
      flight.sector = random_() % (model_.sectors() - flight.count + 1) / block * block;
      if (is_in_use(flight.sector, flight.count)) return false;
    }

    GuestDisk& disk = session_->queue(queue);
    DiskRequest request{.sector = flight.sector, .bytes = flight.count * kModelSector};
    switch (flight.kind) {
      case Kind::kRead:
        request.type = wire::kTypeIn;
        request.device_writes = true;
        break;
      case Kind::kWrite: {
        request.type = wire::kTypeOut;
        flight.range = model_.begin(Change::kWrite, flight.sector, flight.count);
        const auto bytes = std::span(buffer_).first(request.bytes);
        model_.fill(flight.range, bytes);
        disk.data(number).copy_in(0, bytes);
        break;
      }
      case Kind::kFlush:
        request = {.type = wire::kTypeFlush};
        flight.covered = model_.begin_flush();
        break;
      case Kind::kZero:
      case Kind::kDiscard: {
        const bool is_zero = flight.kind == Kind::kZero;
        flight.range = model_.begin(change_of(flight.kind), flight.sector, flight.count);
        const wire::Range range{.sector = flight.sector,
                                .num_sectors = flight.count,
                                .flags = is_zero && random_() % 2 == 0 ? wire::kRangeFlagUnmap : 0};
        disk.data(number).copy_in(0, std::as_bytes(std::span(&range, 1)));
        request = {.type = is_zero ? wire::kTypeWriteZeroes : wire::kTypeDiscard,
                   .bytes = sizeof(range)};
        break;
      }
    }
    const auto added = disk.add(number, request);
    if (!added) return std::unexpected(added.error());
    if (!*added) {
      // No room now. It has happened as little as what is never answered.
      if (changes(flight.kind)) model_.unknown(change_of(flight.kind), flight.range);
      if (flight.kind == Kind::kFlush) model_.flush_failed(std::move(flight.covered));
      return false;
    }
    ++operations_;
    ++out_;
    flights_[queue][number] = std::move(flight);
    return true;
  }

  Result<void, Failure> judge(std::size_t queue, const GuestDisk::Done& done) {
    Flight& flight = flights_[queue][done.request];
    flight.is_out = false;
    --out_;
    if (done.status != wire::kStatusOk) {
      if (flight.kind == Kind::kFlush && options_.flush_may_fail) {
        ++failed_flushes_;
        model_.flush_failed(std::move(flight.covered));
        return {};
      }
      if (changes(flight.kind)) model_.unknown(change_of(flight.kind), flight.range);
      return std::unexpected(
          fmt::format("an operation at sector {} has status {}", flight.sector, done.status));
    }
    moved_ += std::uint64_t{flight.count} * kModelSector;
    switch (flight.kind) {
      case Kind::kRead: {
        const std::uint32_t bytes = flight.count * kModelSector;
        if (done.written != bytes + 1) {
          mismatch_ = fmt::format("a read of {} bytes says that it wrote {}", bytes, done.written);
          return {};
        }
        const auto data = std::span(buffer_).first(bytes);
        session_->queue(queue).data(done.request).copy_out(0, data);
        if (auto wrong = model_.check(flight.sector, data)) mismatch_ = *wrong;
        return {};
      }
      case Kind::kFlush:
        ++flushes_;
        model_.flush_done(flight.covered);
        return {};
      default:
        model_.done(change_of(flight.kind), flight.range);
        return {};
    }
  }

  /// Reads every sector. Nothing is on its way.
  Result<void, Failure> check_all() {
    GuestDisk& disk = session_->queue(0);
    const std::uint64_t step = options_.max_bytes / kModelSector;
    for (std::uint64_t at = 0; at < model_.sectors() && mismatch_.empty(); at += step) {
      const auto count =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(step, model_.sectors() - at));
      const auto status = session_->ask({.type = wire::kTypeIn,
                                         .sector = at,
                                         .bytes = count * kModelSector,
                                         .device_writes = true});
      if (!status) return std::unexpected(status.error());
      if (*status != wire::kStatusOk) {
        return std::unexpected(fmt::format("a read at sector {} has status {}", at, *status));
      }
      const auto data = std::span(buffer_).first(std::size_t{count} * kModelSector);
      disk.data(0).copy_out(0, data);
      if (auto wrong = model_.check(at, data)) mismatch_ = *wrong;
    }
    return {};
  }

  GuestLink& link_;
  const CommandOptions& command_;
  const VerifyOptions& options_;
  DiskModel& model_;
  std::mt19937_64 random_;
  std::unique_ptr<DiskSession> session_;
  std::vector<std::vector<Flight>> flights_;  // by queue and number
  std::vector<std::byte> buffer_;
  std::size_t out_ = 0;
  std::uint64_t moved_ = 0;
  std::uint64_t operations_ = 0;
  std::uint64_t flushes_ = 0;
  std::uint64_t failed_flushes_ = 0;
  std::string mismatch_;
};

}  // namespace

int verify_disk(GuestLink& link, const CommandOptions& command, const VerifyOptions& options,
                DiskModel& model) {
  Verifier verifier(link, command, options, model);
  const auto done = verifier.run();
  verifier.give_up();
  if (!verifier.mismatch().empty()) return complain("mismatch: " + verifier.mismatch());
  if (done) return 0;
  complain(done.error());
  return kExitLost;
}

int run_blk_verify(const CommandOptions& command, const VerifyOptions& options) {
  if (options.max_bytes % kModelSector != 0 || options.max_bytes == 0 || options.span == 0) {
    return complain("--max-io and --span must be multiples of 512");
  }
  std::optional<DiskModel> model;
  VerifyOptions choice = options;
  if (!options.state.empty() && std::filesystem::exists(options.state)) {
    model = DiskModel::load(options.state);
    if (!model) return complain(fmt::format("{} is no state of this program", options.state));
    choice.begins_with_check = true;
    if (options.after_power_cut) model->power_cut();
  } else {
    model.emplace(options.span / kModelSector, options.seed);
  }

  GuestLoop loop;
  auto link = GuestLink::connect(loop, command.link);
  if (!link) return complain(link.error());
  int status = verify_disk(**link, command, choice, *model);
  if (!options.state.empty() && !model->save(options.state)) {
    status = complain(fmt::format("cannot write {}", options.state));
  }
  (*link)->close();
  return status;
}

}  // namespace vmsg::guest
