// A driver side that keeps no rule unless told to: every step of the handshake, every byte of the
// ring and every request by itself, so that an adversary breaks exactly what it means to break.
//
// It is a test program's tool: what the system refuses (no memory, no xenstore) is thrown as
// Trouble and ends the adversary. What the device side does is never trusted either.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "transport/device_status.hpp"
#include "transport/features.hpp"
#include "transport/message.hpp"
#include "transport/ring.hpp"
#include "xenbus-glue/bus_nodes.hpp"
#include "xenbus-glue/event_channels.hpp"
#include "xenbus-glue/grant_share.hpp"
#include "xenbus-glue/ring_pages.hpp"
#include "xenbus-glue/store.hpp"
#include "xenbus-glue/watches.hpp"

namespace vmsg::hostile {

/// Something that the adversary needs is not there, or an expectation does not hold.
struct Trouble : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Data that is not what it must be: never an accident of timing.
struct Mismatch : Trouble {
  using Trouble::Trouble;
};

/// Ends the adversary with `what` unless `holds`.
void expect(bool holds, std::string_view what);

struct AttackerOptions {
  std::uint32_t bus = 0;
  std::uint16_t device = 0;            // of an entropy device
  std::chrono::milliseconds effort{};  // how long a flood or a rewriting thread goes on
  std::chrono::seconds patience{};     // how long the device side may take for anything
  xen::DomainId bystander = 0;         // another domain, for grants that are not the daemon's
};

/// 32 bits at a time, the same ones in every run.
class Random {
 public:
  std::uint32_t operator()() { return static_cast<std::uint32_t>(engine_()); }

 private:
  std::mt19937 engine_{1};
};

/// Runs `work` over and over in a thread of its own, without pause, until it is destroyed.
class Relentless {
 public:
  explicit Relentless(std::function<void(Random&)> work)
      : thread_([work = std::move(work)](const std::stop_token& stop) {
          Random random;
          while (!stop.stop_requested()) work(random);
        }) {}

 private:
  std::jthread thread_;
};

/// A frame as it came.
struct Received {
  FrameHeader header;
  std::vector<std::byte> payload;
};

class Attacker {
 public:
  explicit Attacker(const AttackerOptions& options);
  ~Attacker();
  Attacker(const Attacker&) = delete;
  Attacker& operator=(const Attacker&) = delete;

  // ---- xenstore and the handshake, step by step

  /// State 1, until the device side has made its offer (state 2).
  void begin();
  /// Shares a ring with its constants in place, and makes a port.
  void offer(std::uint32_t order = 0);
  /// The answers that an honest driver side would write for what offer() made.
  [[nodiscard]] xen::Answers answers() const;
  void write_answers(const xen::Answers& answers);
  void write(xen::Path::Name node, std::string_view value);
  void remove(xen::Path::Name node);
  void enter(xen::XenbusState state);
  [[nodiscard]] xen::XenbusState peer();
  /// Until the device side is connected or has refused.
  bool settle();
  /// All of it; it has to succeed.
  void connect(std::uint32_t order = 0);
  /// Whatever state the bus is in: closed, in order, and everything of ours taken back.
  void close();
  /// What the device side wrote into `error`.
  [[nodiscard]] std::string error();

  // ---- the ring

  [[nodiscard]] SharedBytes page() const { return ring_page_.bytes(); }
  /// The half of the data pages that carries *out*.
  [[nodiscard]] SharedBytes out() const;
  [[nodiscard]] SharedBytes in() const;
  [[nodiscard]] std::uint32_t direction_size() const { return direction_size_; }
  [[nodiscard]] std::uint32_t out_prod() const { return out_prod_; }
  /// Writes bytes at out_prod() and moves it on by `advance`; nothing is published.
  void put(std::span<const std::byte> bytes, std::uint32_t advance);
  void publish();
  void set_out_prod(std::uint32_t value) const;
  void notify() const;
  /// A whole frame with any header; `msg_size` 0 means the true size.
  void send(std::uint8_t type, std::uint8_t id, std::uint16_t device, std::uint16_t token,
            std::span<const std::byte> payload, std::uint16_t msg_size = 0);
  /// Whether a frame of the largest size fits now.
  [[nodiscard]] bool has_room() const;
  /// Whether the device side has no room for an answer of the largest size.
  [[nodiscard]] bool are_answers_full() const;
  /// The next frame, or nothing within the patience. With `wait` false: only what is there.
  std::optional<Received> receive(bool wait = true);
  /// Takes everything that is there.
  void drain();

  // ---- requests, as an honest driver makes them

  template <typename Response, typename Request>
  std::optional<Response> ask(const Request& request) {
    return ask<Response>(options_.device, request);
  }
  template <typename Response, typename Request>
  std::optional<Response> ask(std::uint16_t device, const Request& request) {
    std::array<std::byte, kRecommendedMaxMessageSize> buffer{};
    const auto frame = encode(std::span<std::byte>(buffer), {device, next_token()}, request);
    expect(frame.has_value(), "a request does not fit");
    const auto answer = exchange(*frame);
    if (!answer) return std::nullopt;
    return typed<Response>(*answer, device);
  }
  template <typename Event>
  void tell(const Event& event) {
    std::array<std::byte, kRecommendedMaxMessageSize> buffer{};
    const auto frame = encode(std::span<std::byte>(buffer), {options_.device, 0}, event);
    expect(frame.has_value(), "an event does not fit");
    put(*frame, ring_space(static_cast<std::uint32_t>(frame->size())));
    publish();
    notify();
  }
  /// Whether the device side answers.
  [[nodiscard]] bool ping();
  [[nodiscard]] std::uint32_t status();
  std::uint32_t set_status(std::uint32_t status);
  /// Reset, then up to FEATURES_OK with these features more than the two that must be.
  void bring_up(std::initializer_list<RingFeature> features);
  void reset();

  // ---- odds and ends

  [[nodiscard]] const AttackerOptions& options() const { return options_; }
  [[nodiscard]] const xen::BusId& id() const { return id_; }
  [[nodiscard]] xen::Store& store() { return *store_; }
  [[nodiscard]] xen::EventChannels& events() { return events_; }
  [[nodiscard]] xen::GrantSharer& sharer() { return sharer_; }
  [[nodiscard]] xen::SharedPages share(std::uint32_t pages, Access access);
  [[nodiscard]] xen::SharedPages share_with(xen::DomainId domain, Access access);
  [[nodiscard]] const xen::SharedPages& ring_page() const { return ring_page_; }
  [[nodiscard]] const xen::SharedPages& ring_data() const { return ring_data_; }
  void replace_ring_page(xen::SharedPages page) { ring_page_ = std::move(page); }
  [[nodiscard]] std::uint32_t port() const { return static_cast<std::uint32_t>(port_.local()); }
  Random& random() { return random_; }
  [[nodiscard]] std::uint16_t next_token() { return ++token_; }
  /// Until it is so, looking again whenever anything happens. False when the patience ran out.
  bool wait_until(const std::function<bool()>& is_so);
  /// Calls `work` until the effort is spent.
  void for_a_while(const std::function<void()>& work) const;

 private:
  template <typename Response>
  std::optional<Response> typed(const Received& answer, std::uint16_t device);
  std::optional<Received> exchange(std::span<const std::byte> frame);
  void take_events(std::chrono::milliseconds patience);

  AttackerOptions options_;
  xen::BusId id_;
  Random random_;
  std::uint16_t token_ = 0;
  std::uint32_t direction_size_ = 0;
  std::uint32_t out_prod_ = 0;
  std::uint32_t in_cons_ = 0;
  Received last_;

  // Teardown is bottom up: what is offered goes after nobody uses it any more.
  std::unique_ptr<xen::Store> store_;
  xen::Watches watches_;
  xen::Watch watch_;
  xen::EventChannels events_;
  xen::GrantSharer sharer_;
  xen::SharedPages ring_page_;
  xen::SharedPages ring_data_;
  xen::Port port_;
};

template <typename Response>
std::optional<Response> Attacker::typed(const Received& answer, std::uint16_t device) {
  const Frame frame{.header = answer.header, .payload = answer.payload};
  if (answer.header.is_bus()) {
    if constexpr (Response::kKind.is_bus) {
      const auto message = receive_at_driver_bus(frame);
      if (message && std::holds_alternative<Response>(*message))
        return std::get<Response>(*message);
    }
  } else {
    if constexpr (!Response::kKind.is_bus) {
      const auto message = receive_at_driver(frame, device);
      if (message && std::holds_alternative<Response>(*message))
        return std::get<Response>(*message);
    }
  }
  return std::nullopt;
}

}  // namespace vmsg::hostile
