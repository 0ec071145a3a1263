// vmsg-guest blk read|write: copies between a file and a virtio disk.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <deque>
#include <memory>
#include <vector>

#include "devices/blk/blk_wire.hpp"
#include "tools/vmsg-guest/commands.hpp"
#include "tools/vmsg-guest/guest_disk.hpp"

namespace vmsg::guest {
namespace {

namespace wire = blk::wire;

constexpr std::uint32_t kQueueSize = 64;
constexpr std::uint32_t kPiece = 16 << 10;
constexpr std::uint32_t kDepth = 8;

struct CloseFile {
  void operator()(std::FILE* file) const {
    if (file != stdout && file != stdin) static_cast<void>(std::fclose(file));
  }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

Failure failed_request(const char* what, std::uint64_t sector, std::uint8_t status) {
  return fmt::format("{} at sector {}: status {}", what, sector, status);
}

/// Reads in order: requests may be finished in any order, their bytes are written in the order of
/// the disk.
Result<void, Failure> read_disk(GuestDisk& disk, std::uint64_t offset, std::uint64_t bytes,
                                std::FILE* output) {
  std::vector<std::byte> piece(disk.max_bytes());
  std::uint64_t done = 0;
  while (done < bytes) {
    std::uint32_t count = 0;
    for (; count < disk.depth() && done + std::uint64_t{count} * piece.size() < bytes; ++count) {
      const std::uint64_t at = done + std::uint64_t{count} * piece.size();
      const auto take =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(piece.size(), bytes - at));
      if (auto added = disk.read(count, (offset + at) / wire::kSectorSize, take); !added) {
        return added;
      }
    }
    disk.publish();
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto answer = disk.wait();
      if (!answer) return std::unexpected(answer.error());
      if (answer->status != wire::kStatusOk) {
        return std::unexpected(failed_request("read", offset / wire::kSectorSize, answer->status));
      }
    }
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto take =
          static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), bytes - done));
      disk.data(i).copy_out(0, std::span(piece).first(take));
      if (std::fwrite(piece.data(), 1, take, output) != take) {
        return std::unexpected("cannot write the output");
      }
      done += take;
    }
  }
  return {};
}

Result<void, Failure> flush_disk(GuestDisk& disk) {
  if (auto added = disk.flush(0); !added) return added;
  disk.publish();
  const auto answer = disk.wait();
  if (!answer) return std::unexpected(answer.error());
  if (answer->status != wire::kStatusOk) {
    return std::unexpected(failed_request("flush", 0, answer->status));
  }
  return {};
}

/// Writes what the file has, the last sector filled up with zeros, and flushes.
Result<void, Failure> write_disk(GuestDisk& disk, std::uint64_t offset, std::uint64_t bytes,
                                 std::FILE* input) {
  std::vector<std::byte> piece(disk.max_bytes());
  std::uint64_t done = 0;
  bool is_end = false;
  while (!is_end && done < bytes) {
    std::uint32_t count = 0;
    while (count < disk.depth() && done < bytes && !is_end) {
      const auto wanted =
          static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), bytes - done));
      const std::size_t got = std::fread(piece.data(), 1, wanted, input);
      is_end = got < wanted;
      if (got == 0) break;
      const std::size_t whole =
          (got + wire::kSectorSize - 1) / wire::kSectorSize * wire::kSectorSize;
      std::fill(piece.begin() + static_cast<std::ptrdiff_t>(got),
                piece.begin() + static_cast<std::ptrdiff_t>(whole), std::byte{0});
      disk.data(count).copy_in(0, std::span(piece).first(whole));
      if (auto added = disk.write(count, (offset + done) / wire::kSectorSize,
                                  static_cast<std::uint32_t>(whole));
          !added) {
        return added;
      }
      done += whole;
      ++count;
    }
    disk.publish();
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto answer = disk.wait();
      if (!answer) return std::unexpected(answer.error());
      if (answer->status != wire::kStatusOk) {
        return std::unexpected(failed_request("write", offset / wire::kSectorSize, answer->status));
      }
    }
  }
  return flush_disk(disk);
}

Result<void, Failure> copy(GuestLink& link, const CommandOptions& options, const DiskPart& part,
                           bool is_write) {
  auto device = find_device(link, options, wire::kDeviceId, "disk");
  if (!device) return std::unexpected(device.error());
  const auto info = read_disk_info(**device);
  if (!info) return std::unexpected(info.error());
  const std::uint64_t size = info->sectors * wire::kSectorSize;
  if (part.offset % wire::kSectorSize != 0 || part.offset > size) {
    return std::unexpected(
        fmt::format("the disk has {} bytes, in sectors of {}", size, wire::kSectorSize));
  }
  const std::uint64_t bytes = std::min(part.bytes.value_or(size), size - part.offset);

  auto queue = (*device)->add_queue(0, kQueueSize);
  if (!queue) return std::unexpected(queue.error());
  auto disk = GuestDisk::create(**device, **queue, kDepth, kPiece);
  if (!disk) return std::unexpected(disk.error());
  if (auto live = (*device)->go_live(); !live) return live;

  const char* const mode = is_write ? "rb" : "wb";
  std::FILE* const standard = is_write ? stdin : stdout;
  const File file(options.output == "-" ? standard : std::fopen(options.output.c_str(), mode));
  if (file == nullptr) return std::unexpected(fmt::format("cannot open {}", options.output));
  auto copied = is_write ? write_disk(**disk, part.offset, bytes, file.get())
                         : read_disk(**disk, part.offset, bytes, file.get());
  if (!is_write && std::fflush(file.get()) != 0 && copied) {
    copied = std::unexpected("cannot write the output");
  }
  auto stopped = (*device)->stop();
  return copied ? stopped : copied;
}

int run(const CommandOptions& options, const DiskPart& part, bool is_write) {
  CommandOptions choice = options;
  choice.device.features = disk_features();
  GuestLoop loop;
  auto link = GuestLink::connect(loop, choice.link);
  if (!link) return complain(link.error());
  const auto copied = copy(**link, choice, part, is_write);
  (*link)->close();
  return copied ? 0 : complain(copied.error());
}

}  // namespace

int run_blk_read(const CommandOptions& options, const DiskPart& part) {
  return run(options, part, false);
}
int run_blk_write(const CommandOptions& options, const DiskPart& part) {
  return run(options, part, true);
}

}  // namespace vmsg::guest
