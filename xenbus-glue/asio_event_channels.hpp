// Event channels on a Boost.Asio loop: one handle, a handler a port.
//
// Everything here happens on the io_context's thread. Handlers run from the loop, never from inside
// a call into this class; they may close any port, their own too, or destroy the whole object.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "xenbus-glue/event_channels.hpp"

namespace vmsg::xen {

class AsioEventChannels;

/// A port whose events arrive at its handler. Move-only; when it is gone, its handler is gone.
/// Must not outlive its AsioEventChannels.
class EventPort {
 public:
  EventPort() = default;
  EventPort(EventPort&& other) noexcept;
  EventPort& operator=(EventPort&& other) noexcept;
  ~EventPort() { close(); }

  [[nodiscard]] bool is_open() const { return owner_ != nullptr; }
  [[nodiscard]] LocalPort local() const { return port_.local(); }
  [[nodiscard]] Result<void, XenError> notify() const { return port_.notify(); }
  void close();

 private:
  friend class AsioEventChannels;
  EventPort(AsioEventChannels* owner, Port port) : owner_(owner), port_(std::move(port)) {}

  AsioEventChannels* owner_ = nullptr;
  Port port_;
};

class AsioEventChannels {
 public:
  using Handler = std::function<void()>;
  using FailureHandler = std::function<void(const XenError&)>;

  /// `failed` hears once that the handle cannot be read any more; no event arrives after that.
  static Result<std::unique_ptr<AsioEventChannels>, XenError> create(
      boost::asio::io_context& context, FailureHandler failed);

  AsioEventChannels(const AsioEventChannels&) = delete;
  AsioEventChannels& operator=(const AsioEventChannels&) = delete;
  ~AsioEventChannels();

  /// The port is unmasked before its handler is called, so nothing is lost while it works.
  [[nodiscard]] Result<EventPort, XenError> bind_interdomain(DomainId domain, RemotePort remote,
                                                             Handler handler);
  [[nodiscard]] Result<EventPort, XenError> alloc_unbound(DomainId domain, Handler handler);

  [[nodiscard]] std::uint64_t events() const { return events_; }

 private:
  friend class EventPort;
  struct Alive {};

  AsioEventChannels(boost::asio::io_context& context, EventChannels channels,
                    FailureHandler failed);
  Result<EventPort, XenError> add(Result<Port, XenError> port, Handler handler);
  void remove(LocalPort port);
  void arm();
  void on_ready(const std::weak_ptr<Alive>& alive, const boost::system::error_code& error);
  void fail(const XenError& error);

  // Teardown is bottom up: first the token, so that no handler runs any more, then the descriptor
  // (it gives the library's fd back in our destructor), and the handle that owns the fd last.
  EventChannels channels_;
  std::unordered_map<LocalPort, std::shared_ptr<Handler>> handlers_;
  FailureHandler failed_;
  std::uint64_t events_ = 0;
  boost::asio::posix::stream_descriptor descriptor_;
  std::shared_ptr<Alive> alive_ = std::make_shared<Alive>();
};

}  // namespace vmsg::xen
