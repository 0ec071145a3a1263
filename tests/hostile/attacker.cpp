#include "tests/hostile/attacker.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <utility>

#include "transport/ring.hpp"

namespace vmsg::hostile {
namespace {

using xen::XenbusState;

template <typename T, typename E>
T made(Result<T, E> result, std::string_view what) {
  if (!result) throw Trouble(fmt::format("{}: {}", what, xen::to_string(result.error())));
  return std::move(*result);
}

void done(const Result<void, xen::XenError>& result, std::string_view what) {
  if (!result) throw Trouble(fmt::format("{}: {}", what, xen::to_string(result.error())));
}

std::chrono::steady_clock::time_point now() { return std::chrono::steady_clock::now(); }

void put_wrapped(const SharedBytes& ring, std::uint32_t at, std::span<const std::byte> bytes) {
  const std::size_t offset = at & (ring.size() - 1);
  const std::size_t first = std::min(bytes.size(), ring.size() - offset);
  ring.copy_in(offset, bytes.first(first));
  ring.copy_in(0, bytes.subspan(first));
}

void get_wrapped(const SharedBytes& ring, std::uint32_t at, std::span<std::byte> bytes) {
  const std::size_t offset = at & (ring.size() - 1);
  const std::size_t first = std::min(bytes.size(), ring.size() - offset);
  ring.copy_out(offset, bytes.first(first));
  ring.copy_out(0, bytes.subspan(first));
}

}  // namespace

void expect(bool holds, std::string_view what) {
  if (!holds) throw Trouble(std::string(what));
}

Attacker::Attacker(const AttackerOptions& options)
    : options_(options),
      store_(made(xen::Store::open(), "xenstore")),
      watches_(*store_),
      events_(made(xen::EventChannels::open(), "event channels")),
      sharer_(made(xen::GrantSharer::open(), "grants")) {
  const auto own = made(store_->own_domain(), "own domain");
  id_ = made(xen::read_driver_directory(*store_, own, options.bus), "the bus");
  watch_ = made(watches_.watch(id_.device_directory() / "state", [](const auto&) {}), "watch");
}

Attacker::~Attacker() = default;

// ---- xenstore -----------------------------------------------------------------------------------

void Attacker::begin() {
  enter(XenbusState::kInitialising);
  expect(wait_until([this] { return peer() == XenbusState::kInitWait; }),
         "the device side makes no offer");
}

void Attacker::offer(std::uint32_t order) {
  const std::uint32_t pages = std::uint32_t{1} << order;
  ring_data_ = made(sharer_.share(id_.device_domain, pages, Access::kReadWrite), "ring");
  ring_page_ = made(sharer_.share(id_.device_domain, 1, Access::kReadWrite), "interface page");
  page().store(VMSG_XEN_IF_MAGIC, Le32(VMSG_XEN_MAGIC));
  page().store(VMSG_XEN_IF_RING_PAGE_ORDER, Le32(order));
  std::size_t at = VMSG_XEN_IF_RING_REFS;
  for (const xen::GrantRef ref : ring_data_.refs()) {
    page().store(at, Le32(ref));
    at += sizeof(Le32);
  }
  direction_size_ = pages * (kGrantPageSize / 2);
  out_prod_ = 0;
  in_cons_ = 0;
  port_ = made(events_.alloc_unbound(id_.device_domain), "port");
}

xen::Answers Attacker::answers() const {
  return {.ring_ref = ring_page_.refs().front(),
          .event_channel = xen::RemotePort{static_cast<std::uint32_t>(port_.local())},
          .max_message_size = VIRTIO_MSG_RECOMMENDED_MAX_SIZE,
          .queue_event_channels = true,
          .shared_regions = true};
}

void Attacker::write_answers(const xen::Answers& answers) {
  done(xen::write_answers(*store_, id_, answers), "answers");
}

void Attacker::write(xen::Path::Name node, std::string_view value) {
  done(store_->write(id_.driver_directory() / node, value), node.text);
}

void Attacker::remove(xen::Path::Name node) {
  done(store_->remove(id_.driver_directory() / node), node.text);
}

void Attacker::enter(XenbusState state) {
  done(xen::write_state(*store_, id_.driver_directory(), state), "state");
}

XenbusState Attacker::peer() {
  return xen::read_state(*store_, id_.device_directory()).value_or(XenbusState::kUnknown);
}

bool Attacker::settle() {
  const auto is_settled = [this] {
    const XenbusState state = peer();
    return state == XenbusState::kConnected || state == XenbusState::kClosing ||
           state == XenbusState::kClosed;
  };
  expect(wait_until(is_settled), "the device side neither connects nor refuses");
  return peer() == XenbusState::kConnected;
}

void Attacker::connect(std::uint32_t order) {
  begin();
  offer(order);
  write_answers(answers());
  enter(XenbusState::kInitialised);
  if (!settle()) throw Trouble("the device side does not connect: " + error());
  enter(XenbusState::kConnected);
}

void Attacker::close() {
  enter(XenbusState::kClosing);
  expect(wait_until([this] {
           const XenbusState state = peer();
           return state == XenbusState::kClosed || state == XenbusState::kUnknown;
         }),
         "the device side does not close");
  enter(XenbusState::kClosed);
  port_.close();
  ring_page_.unshare();
  ring_data_.unshare();
}

std::string Attacker::error() {
  const auto text = store_->find(id_.device_directory() / "error");
  return text && *text ? **text : std::string();
}

// ---- the ring -----------------------------------------------------------------------------------

SharedBytes Attacker::in() const { return ring_data_.bytes().sub(0, direction_size_); }
SharedBytes Attacker::out() const {
  return ring_data_.bytes().sub(direction_size_, direction_size_);
}

void Attacker::put(std::span<const std::byte> bytes, std::uint32_t advance) {
  put_wrapped(out(), out_prod_, bytes);
  out_prod_ += advance;
}

void Attacker::publish() { set_out_prod(out_prod_); }
void Attacker::set_out_prod(std::uint32_t value) const {
  page().store_release32(VMSG_XEN_IF_OUT_PROD, value);
}

void Attacker::notify() const { static_cast<void>(port_.notify()); }

bool Attacker::has_room() const {
  const std::uint32_t cons = page().load_acquire32(VMSG_XEN_IF_OUT_CONS);
  const std::uint32_t filled = out_prod_ - cons;
  return filled <= direction_size_ &&
         direction_size_ - filled >= ring_space(kRecommendedMaxMessageSize);
}

bool Attacker::are_answers_full() const {
  const std::uint32_t filled = page().load_acquire32(VMSG_XEN_IF_IN_PROD) - in_cons_;
  return direction_size_ - filled < ring_space(kRecommendedMaxMessageSize);
}

void Attacker::send(std::uint8_t type, std::uint8_t id, std::uint16_t device, std::uint16_t token,
                    std::span<const std::byte> payload, std::uint16_t msg_size) {
  const std::size_t size = kHeaderSize + payload.size();
  if (msg_size == 0) msg_size = static_cast<std::uint16_t>(size);
  std::vector<std::byte> frame{std::byte{type},
                               std::byte{id},
                               std::byte(device & 0xff),
                               std::byte(device >> 8),
                               std::byte(token & 0xff),
                               std::byte(token >> 8),
                               std::byte(msg_size & 0xff),
                               std::byte(msg_size >> 8)};
  frame.insert(frame.end(), payload.begin(), payload.end());
  put(frame, ring_space(static_cast<std::uint32_t>(size)));
  publish();
  notify();
}

std::optional<Received> Attacker::receive(bool wait) {
  const auto is_there = [this] {
    return page().load_acquire32(VMSG_XEN_IF_IN_PROD) - in_cons_ >= kHeaderSize;
  };
  if (!is_there() && (!wait || !wait_until(is_there))) return std::nullopt;
  std::array<std::byte, kHeaderSize> head{};
  get_wrapped(in(), in_cons_, head);
  const std::uint32_t size =
      std::to_integer<std::uint32_t>(head[6]) | std::to_integer<std::uint32_t>(head[7]) << 8;
  expect(size >= kHeaderSize && size <= kRecommendedMaxMessageSize, "the device side's frame");
  std::vector<std::byte> bytes(size);
  get_wrapped(in(), in_cons_, bytes);
  in_cons_ += ring_space(size);
  // Where the device side wants to hear of room it says so, and never misses it this way.
  page().store_release32(VMSG_XEN_IF_IN_CONS, in_cons_);
  page().store_release32(VMSG_XEN_IF_IN_PROD_EVENT, in_cons_);
  full_barrier();
  const auto frame = parse_frame(bytes, kRecommendedMaxMessageSize);
  expect(frame.has_value(), "the device side's frame");
  return Received{.header = frame->header,
                  .payload = {frame->payload.begin(), frame->payload.end()}};
}

void Attacker::drain() {
  bool is_any = false;
  while (receive(false)) is_any = true;
  if (is_any) notify();
}

// ---- requests -----------------------------------------------------------------------------------

std::optional<Received> Attacker::exchange(std::span<const std::byte> frame) {
  if (!wait_until([this] {
        drain();
        return has_room();
      })) {
    return std::nullopt;
  }
  put(frame, ring_space(static_cast<std::uint32_t>(frame.size())));
  publish();
  notify();
  const std::uint16_t token = token_;
  while (auto answer = receive()) {
    if (!answer->header.is_response() || answer->header.token != token) continue;
    last_ = std::move(*answer);
    notify();
    return last_;
  }
  return std::nullopt;
}

bool Attacker::ping() {
  const std::uint32_t data = random_();
  const auto answer = ask<PingResponse>(PingRequest{.data = data});
  return answer && answer->data == data;
}

std::uint32_t Attacker::status() {
  const auto answer = ask<GetDeviceStatusResponse>(GetDeviceStatusRequest{});
  expect(answer.has_value(), "GET_DEVICE_STATUS is not answered");
  return answer->status;
}

std::uint32_t Attacker::set_status(std::uint32_t status) {
  const auto answer = ask<SetDeviceStatusResponse>(SetDeviceStatusRequest{.status = status});
  expect(answer.has_value(), "SET_DEVICE_STATUS is not answered");
  return answer->status;
}

void Attacker::reset() {
  // An answer may come before the reset is complete, and says so; the specification allows it 10 s
  // until it is, which is what the patience is at least.
  if (set_status(0) == 0) return;
  expect(wait_until([this] { return status() == 0; }), "the reset does not end");
}

void Attacker::bring_up(std::initializer_list<RingFeature> features) {
  reset();
  set_status(kStatusAcknowledge);
  set_status(kStatusAcknowledge | kStatusDriver);
  FeatureSet wanted;
  wanted.set(RingFeature::kVersion1);
  wanted.set(RingFeature::kAccessPlatform);
  for (const RingFeature feature : features) wanted.set(feature);
  const std::array<Le32, 2> words{Le32(wanted.word(0)), Le32(wanted.word(1))};
  expect(ask<SetDriverFeaturesResponse>(
             SetDriverFeaturesRequest{.block_index = 0,
                                      .words = FeatureWords(std::span<const Le32>(words))})
             .has_value(),
         "SET_DRIVER_FEATURES is not answered");
  const std::uint32_t wanted_status = kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk;
  expect(set_status(wanted_status) == wanted_status, "FEATURES_OK is refused");
}

// ---- odds and ends ------------------------------------------------------------------------------

xen::SharedPages Attacker::share(std::uint32_t pages, Access access) {
  return made(sharer_.share_consecutive(id_.device_domain, pages, access), "pages");
}

xen::SharedPages Attacker::share_with(xen::DomainId domain, Access access) {
  return made(sharer_.share(domain, 1, access), "a page for another domain");
}

bool Attacker::wait_until(const std::function<bool()>& is_so) {
  const auto deadline = now() + options_.patience;
  while (!is_so()) {
    if (now() >= deadline) return false;
    take_events(std::chrono::milliseconds(20));
  }
  return true;
}

void Attacker::take_events(std::chrono::milliseconds patience) {
  std::array<pollfd, 2> polled{pollfd{.fd = watches_.fd(), .events = POLLIN, .revents = 0},
                               pollfd{.fd = events_.fd(), .events = POLLIN, .revents = 0}};
  if (poll(polled.data(), polled.size(), static_cast<int>(patience.count())) <= 0) return;
  if (polled[0].revents != 0) {
    while (watches_.turn().value_or(false)) continue;
  }
  while (polled[1].revents != 0) {
    const auto pending = events_.next_pending();
    if (!pending || !*pending) return;
    static_cast<void>(events_.unmask(**pending));
  }
}

void Attacker::for_a_while(const std::function<void()>& work) const {
  const auto deadline = now() + options_.effort;
  while (now() < deadline) work();
}

}  // namespace vmsg::hostile
