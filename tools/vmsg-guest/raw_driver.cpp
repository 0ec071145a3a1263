#include "tools/vmsg-guest/raw_driver.hpp"

#include <algorithm>
#include <utility>

#include "transport/device_status.hpp"

namespace vmsg::guest {
namespace {

constexpr int kResetPolls = 10'000;

std::uint16_t word(std::span<const std::byte> frame, std::size_t at) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(frame[at]) |
                                    std::to_integer<unsigned>(frame[at + 1]) << 8U);
}

void put_word(std::span<std::byte> frame, std::size_t at, std::size_t value) {
  frame[at] = static_cast<std::byte>(value & 0xff);
  frame[at + 1] = static_cast<std::byte>(value >> 8U);
}

bool is_answer_to(std::span<const std::byte> frame, std::uint16_t token) {
  const auto type = std::to_integer<unsigned>(frame[VIRTIO_MSG_HDR_TYPE]);
  return (type & VIRTIO_MSG_TYPE_RESPONSE) != 0 && word(frame, VIRTIO_MSG_HDR_TOKEN) == token;
}

}  // namespace

RawDriver::RawDriver(GuestLink& link, std::uint16_t number)
    : link_(link), number_(number), max_message_size_(link.max_message_size()) {
  link_.set_tap([this](std::span<const std::byte> frame) { take(frame); });
}

RawDriver::~RawDriver() { link_.set_tap({}); }

Failure RawDriver::take_trouble() { return std::exchange(trouble_, {}); }

void RawDriver::take(std::span<const std::byte> frame) {
  arrived_.emplace_back(frame.begin(), frame.end());
}

bool RawDriver::wait_for(const std::function<bool()>& is_done) {
  if (!trouble_.empty()) return false;
  const bool is_over = link_.loop().run_until([&] { return is_done() || !link_.failure().empty(); },
                                              link_.options().patience);
  if (!link_.failure().empty()) note(link_.failure());
  return is_over && link_.failure().empty();
}

void RawDriver::resize_payload(Bytes& frame, std::ptrdiff_t by) {
  frame.resize(static_cast<std::size_t>(static_cast<std::ptrdiff_t>(frame.size()) + by));
  put_word(frame, VIRTIO_MSG_HDR_MSG_SIZE, frame.size());
}

void RawDriver::send(const Bytes& frame) {
  if (!trouble_.empty()) return;
  if (const auto sent = link_.send_raw(frame); !sent) note(sent.error());
}

RawDriver::Bytes RawDriver::ask(const Bytes& frame) {
  send(frame);
  const std::uint16_t token = word(frame, VIRTIO_MSG_HDR_TOKEN);
  const auto find = [&] {
    return std::ranges::find_if(arrived_,
                                [&](const Bytes& one) { return is_answer_to(one, token); });
  };
  if (!wait_for([&] { return find() != arrived_.end(); })) {
    note("no answer");
    return {};
  }
  const auto found = find();
  Bytes answer = std::move(*found);
  arrived_.erase(found);
  return answer;
}

bool RawDriver::is_dropped(const Bytes& frame) {
  const std::size_t before = arrived_.size();
  send(frame);
  settle();
  const std::uint16_t token = word(frame, VIRTIO_MSG_HDR_TOKEN);
  const auto answer = std::ranges::find_if(
      arrived_.begin() + static_cast<std::ptrdiff_t>(std::min(before, arrived_.size())),
      arrived_.end(), [&](const Bytes& one) {
        return (std::to_integer<unsigned>(one[VIRTIO_MSG_HDR_TYPE]) & VIRTIO_MSG_TYPE_RESPONSE) !=
                   0 ||
               word(one, VIRTIO_MSG_HDR_TOKEN) == token;
      });
  const bool is_dropped = answer == arrived_.end();
  if (!is_dropped) arrived_.erase(answer);
  return is_dropped && trouble_.empty();
}

void RawDriver::settle() {
  // Frames for one device are answered in order, and so are those of the bus; both are asked.
  static_cast<void>(ask(frame(GetDeviceStatusRequest{})));
  static_cast<void>(ask(frame(PingRequest{.data = 1})));
}

std::vector<RawDriver::Bytes> RawDriver::take_events() { return std::exchange(arrived_, {}); }

std::uint32_t RawDriver::status() {
  return request<GetDeviceStatusResponse>(GetDeviceStatusRequest{}).status;
}

std::uint32_t RawDriver::set_status(std::uint32_t status) {
  return request<SetDeviceStatusResponse>(SetDeviceStatusRequest{.status = status}).status;
}

std::vector<std::uint32_t> RawDriver::features(std::uint32_t block, std::uint32_t count) {
  const auto response = request<GetDeviceFeaturesResponse>(
      GetDeviceFeaturesRequest{.block_index = block, .num_blocks = count});
  std::vector<std::uint32_t> words;
  words.reserve(response.words.size());
  for (std::uint32_t i = 0; i < response.words.size(); ++i) words.push_back(response.words[i]);
  return words;
}

void RawDriver::select(std::uint32_t block, std::span<const std::uint32_t> words) {
  std::vector<Le32> wire(words.begin(), words.end());
  static_cast<void>(request<SetDriverFeaturesResponse>(SetDriverFeaturesRequest{
      .block_index = block, .words = FeatureWords(std::span<const Le32>(wire))}));
}

GetVqueueResponse RawDriver::queue(std::uint32_t index) {
  return request<GetVqueueResponse>(GetVqueueRequest{.index = index});
}

void RawDriver::reset() {
  std::uint32_t now = set_status(0);
  // A reset that takes its time answers with the old status; the read that says 0 is its end.
  for (int i = 0; now != 0 && i < kResetPolls && trouble_.empty(); ++i) now = status();
  if (now != 0) note("the reset does not end");
}

void RawDriver::to_driver() {
  reset();
  set_status(kStatusAcknowledge);
  set_status(kStatusAcknowledge | kStatusDriver);
}

void RawDriver::to_features_ok(std::initializer_list<unsigned> wanted) {
  to_driver();
  FeatureSet selection;
  selection.set(RingFeature::kVersion1);
  selection.set(RingFeature::kAccessPlatform);
  for (const unsigned bit : wanted) selection.set(bit);
  const std::array<std::uint32_t, 2> words{selection.word(0), selection.word(1)};
  select(0, words);
  const std::uint32_t ok = kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk;
  if (set_status(ok) != ok) note("FEATURES_OK is refused for VERSION_1 and ACCESS_PLATFORM");
}

}  // namespace vmsg::guest
