// Rules about the bus: enumeration, PING, messages that nobody has.
#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <set>
#include <utility>

#include "tools/vmsg-guest/conform_checks.hpp"

namespace vmsg::guest {
namespace {

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
    ConformRule{"BUS-28", "PING to a device number", bus_messages_have_no_number},
    ConformRule{"BUS-29", "bus messages that nobody has", unknown_bus_messages},
    ConformRule{"BUS-31", "windows that begin at the device", device_windows},
    ConformRule{"BUS-32", "a whole enumeration", enumeration_ends},
    ConformRule{"BUS-35", "windows of every kind", odd_windows},
    ConformRule{"BUS-38", "PING with three values", ping},
};

}  // namespace

std::span<const ConformRule> bus_rules() { return kRules; }

}  // namespace vmsg::guest
