// vmsg-guest rng: reads entropy from a virtio-rng device.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <vector>

#include "tools/vmsg-guest/commands.hpp"

namespace vmsg::guest {
namespace {

constexpr std::uint32_t kQueueSize = 16;

struct CloseFile {
  void operator()(std::FILE* file) const {
    if (file != stdout) static_cast<void>(std::fclose(file));
  }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

Result<void, Failure> read_entropy(GuestDevice& device, GuestQueue& queue,
                                   const CommandOptions& options, std::FILE* output) {
  auto buffers = device.share_buffers(kQueueSize, Access::kReadWrite);
  if (!buffers) return std::unexpected(buffers.error());
  const GrantAddress base = *buffers->address();
  const std::uint32_t piece = std::clamp<std::uint32_t>(options.piece, 1, kGrantPageSize);

  std::uint64_t wanted = options.bytes;
  std::vector<std::byte> bytes(piece);
  while (wanted > 0) {
    const auto count = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(kQueueSize, (wanted + piece - 1) / piece));
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::array<Segment, 1> segment{
          Segment{*base.checked_add(std::uint64_t{i} * kGrantPageSize), piece}};
      if (queue.queue->add({}, segment, i) != AddOutcome::kAdded) {
        return std::unexpected("the queue takes no more buffers");
      }
    }
    device.publish(queue);
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto used = device.wait_used(queue);
      if (!used) return std::unexpected(used.error());
      if (used->written == 0 || used->written > piece) {
        return std::unexpected(
            fmt::format("the device wrote {} of {} bytes", used->written, piece));
      }
      const auto take = static_cast<std::size_t>(std::min<std::uint64_t>(used->written, wanted));
      buffers->bytes().copy_out(used->cookie * kGrantPageSize, std::span(bytes).first(take));
      if (std::fwrite(bytes.data(), 1, take, output) != take) {
        return std::unexpected(fmt::format("cannot write to {}", options.output));
      }
      wanted -= take;
    }
  }
  return {};
}

}  // namespace

int run_rng(const CommandOptions& options) {
  const File output(options.output == "-" ? stdout : std::fopen(options.output.c_str(), "wb"));
  if (output == nullptr) return complain(fmt::format("cannot open {}", options.output));
  GuestLoop loop;
  auto link = GuestLink::connect(loop, options.link);
  if (!link) return complain(link.error());
  int status = 0;
  {
    auto device = find_device(**link, options, kRngDevice, "entropy device");
    if (!device) return complain(device.error());
    auto queue = (*device)->add_queue(0, kQueueSize);
    if (!queue) return complain(queue.error());
    if (auto live = (*device)->go_live(); !live) return complain(live.error());
    if (auto read = read_entropy(**device, **queue, options, output.get()); !read) {
      status = complain(read.error());
    }
    if (auto stopped = (*device)->stop(); !stopped) status = complain(stopped.error());
  }
  (*link)->close();
  return status;
}

}  // namespace vmsg::guest
