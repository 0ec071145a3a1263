#include "tools/vmsg-guest/conform_checks.hpp"

#include <algorithm>
#include <utility>

#include "transport/queue_layout.hpp"

namespace vmsg::guest {

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

void expect_refused(RawDriver& driver, Findings& findings, const SetVqueueRequest& request,
                    const std::string& what) {
  set_queue(driver, request);
  findings.equal<std::size_t>(kHeaderSize, driver.answer().size(), what + ": size of the answer");
  findings.expect(!is_enabled(driver, request.index), what + ": the queue is enabled");
}

std::uint32_t written(RawDriver& driver, std::uint32_t offset, std::span<const std::byte> data) {
  return driver
      .request<SetConfigResponse>(SetConfigRequest{.generation = 0, .offset = offset, .data = data})
      .length;
}

}  // namespace vmsg::guest
