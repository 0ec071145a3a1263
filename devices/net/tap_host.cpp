#include "devices/net/tap_host.hpp"

#include <fmt/format.h>

#include <utility>

#include "devices/net/interface_control.hpp"
#include "devices/net/net_protocol.hpp"
#include "devices/net/tap_frames.hpp"

namespace vmsg::net {
namespace {

// What interfaces of guests have in a bridge: the highest address there is, so that the bridge does
// not take it for its own.
constexpr MacAddress kPortAddress{{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff}};

ScriptCall script_call(const NetOptions& options, const std::string& tap, std::uint16_t mtu,
                       const std::string& command) {
  return {.script = options.script,
          .command = command,
          .variables = {{"INTERFACE", tap},
                        {"vif", tap},
                        {"bridge", options.bridge},
                        {"mac", options.mac ? to_string(*options.mac) : ""},
                        {"ip", options.ip},
                        {"mtu", std::to_string(mtu)}}};
}

/// Leaves it to a script. Returns the MTU.
Result<std::uint16_t, std::string> attach_by_script(const NetOptions& options,
                                                    const InterfaceControl& control,
                                                    const std::string& tap,
                                                    NetworkScripts* scripts) {
  if (scripts == nullptr) {
    return std::unexpected(fmt::format(
        "script='{}': vmsgd runs no scripts (net.scripts in vmsgd.toml names no folder that is "
        "there)",
        options.script));
  }
  if (options.mtu) {
    if (auto done = control.set_mtu(tap, *options.mtu); !done) return std::unexpected(done.error());
  }
  const auto mtu = control.mtu(tap);
  if (!mtu) return mtu;
  if (auto done = scripts->run(script_call(options, tap, *mtu, "add")); !done) {
    return std::unexpected(done.error());
  }
  return control.mtu(tap);
}

/// What xl does with a vif. Returns the MTU.
Result<std::uint16_t, std::string> attach(const NetOptions& options, const std::string& tap,
                                          NetworkScripts* scripts) {
  const auto control = InterfaceControl::open();
  if (!control) return std::unexpected(control.error());
  if (!options.script.empty()) return attach_by_script(options, *control, tap, scripts);
  if (!options.bridge.empty()) {
    if (auto done = control->check_bridge(options.bridge); !done) {
      return std::unexpected(done.error());
    }
    if (auto done = control->set_mac(tap, kPortAddress); !done)
      return std::unexpected(done.error());
  }
  auto mtu = options.mtu;
  if (!mtu && !options.bridge.empty()) {
    const auto of_bridge = control->mtu(options.bridge);
    if (!of_bridge) return std::unexpected(of_bridge.error());
    mtu = *of_bridge;
  }
  if (mtu) {
    if (auto done = control->set_mtu(tap, *mtu); !done) return std::unexpected(done.error());
  }
  if (!options.bridge.empty()) {
    if (auto done = control->add_to_bridge(options.bridge, tap); !done) {
      return std::unexpected(done.error());
    }
  }
  const auto is_up = control->is_up(tap);
  if (!is_up) return std::unexpected(is_up.error());
  if (!*is_up) {
    if (auto done = control->bring_up(tap); !done) return std::unexpected(done.error());
  }
  return control->mtu(tap);
}

}  // namespace

Result<std::unique_ptr<NetHost>, std::string> TapHost::open(const NetOptions& options,
                                                            const std::string& name,
                                                            BackgroundThread& background,
                                                            NetworkScripts* scripts) {
  auto tap = TapInterface::open(options.vifname.empty() ? name : options.vifname, options.queues);
  if (!tap) return std::unexpected(tap.error());
  const auto mtu = attach(options, tap->name(), scripts);
  if (!mtu) return std::unexpected(mtu.error());
  return std::unique_ptr<NetHost>(new TapHost(options, std::move(*tap), background, scripts, *mtu));
}

TapHost::TapHost(const NetOptions& options, TapInterface tap, BackgroundThread& background,
                 NetworkScripts* scripts, std::uint16_t mtu)
    : options_(options),
      tap_(std::move(tap)),
      background_(background),
      scripts_(scripts),
      mtu_(mtu) {
  if (!options_.offloads) return;
  for (const NetFeature feature :
       {NetFeature::kCsum, NetFeature::kGuestCsum, NetFeature::kGuestTso4, NetFeature::kGuestTso6,
        NetFeature::kGuestEcn, NetFeature::kHostTso4, NetFeature::kHostTso6,
        NetFeature::kHostEcn}) {
    add(offloads_, feature);
  }
  if (!tap_.knows_uso()) return;
  for (const NetFeature feature :
       {NetFeature::kGuestUso4, NetFeature::kGuestUso6, NetFeature::kHostUso}) {
    add(offloads_, feature);
  }
}

TapHost::~TapHost() {
  background_.drain();  // a task may still be at the interface
  // The interface goes with us, whatever a script says to that.
  if (!options_.script.empty() && scripts_ != nullptr) {
    static_cast<void>(scripts_->run(script_call(options_, tap_.name(), mtu_, "remove")));
  }
}

bool TapHost::is_link_up() {
  const auto control = InterfaceControl::open();
  const auto is_up = control ? control->is_up(tap_.name()) : Result<bool, std::string>(true);
  return is_up.value_or(false);
}

std::uint64_t TapHost::apply(const HostSettings& settings) {
  const std::lock_guard lock(mutex_);
  if (wanted_ == settings) return number_;
  wanted_ = settings;
  ++number_;
  if (std::exchange(is_waiting_, true)) return number_;
  background_.post([this] {
    HostSettings wanted;
    std::uint64_t number = 0;
    {
      const std::lock_guard inner(mutex_);
      is_waiting_ = false;
      wanted = wanted_;
      number = number_;
    }
    tap_.apply(wanted);
    followed_.store(number, std::memory_order_release);
  });
  return number_;
}

std::unique_ptr<FrameReceiver> TapHost::open_receiver(std::uint32_t pair, IoRing& io,
                                                      FrameListener& listener) {
  return std::make_unique<TapReceiver>(tap_.queue(pair), io, listener);
}

std::unique_ptr<FrameTransmitter> TapHost::open_transmitter(std::uint32_t pair, IoRing& io,
                                                            FrameListener& listener,
                                                            std::size_t capacity) {
  return std::make_unique<TapTransmitter>(tap_.queue(pair), io, listener, capacity);
}

}  // namespace vmsg::net
