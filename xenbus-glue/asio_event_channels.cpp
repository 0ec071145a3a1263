#include "xenbus-glue/asio_event_channels.hpp"

#include <boost/asio/error.hpp>
#include <cerrno>
#include <utility>

namespace vmsg::xen {
namespace {

// A peer that notifies without end costs one turn of this many events at a time; everything else
// on the loop runs in between. The kernel hands ports out in turn, so no port starves another.
constexpr int kEventsPerTurn = 64;

}  // namespace

EventPort::EventPort(EventPort&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)), port_(std::move(other.port_)) {}

EventPort& EventPort::operator=(EventPort&& other) noexcept {
  if (this != &other) {
    close();
    owner_ = std::exchange(other.owner_, nullptr);
    port_ = std::move(other.port_);
  }
  return *this;
}

void EventPort::close() {
  AsioEventChannels* const owner = std::exchange(owner_, nullptr);
  if (owner == nullptr) return;
  owner->remove(port_.local());
  port_.close();
}

Result<std::unique_ptr<AsioEventChannels>, XenError> AsioEventChannels::create(
    boost::asio::io_context& context, FailureHandler failed) {
  auto channels = EventChannels::open();
  if (!channels) return std::unexpected(channels.error());
  std::unique_ptr<AsioEventChannels> self(
      new AsioEventChannels(context, std::move(*channels), std::move(failed)));
  boost::system::error_code error;
  self->descriptor_.assign(self->channels_.fd(), error);
  if (error) return std::unexpected(XenError{XenCall::kEvtchnPoll, error.value()});
  self->arm();
  return self;
}

AsioEventChannels::AsioEventChannels(boost::asio::io_context& context, EventChannels channels,
                                     FailureHandler failed)
    : channels_(std::move(channels)), failed_(std::move(failed)), descriptor_(context) {}

AsioEventChannels::~AsioEventChannels() {
  // The fd is the library's: Asio must forget it, not close it.
  if (descriptor_.is_open()) descriptor_.release();
}

Result<EventPort, XenError> AsioEventChannels::bind_interdomain(DomainId domain, RemotePort remote,
                                                                Handler handler) {
  return add(channels_.bind_interdomain(domain, remote), std::move(handler));
}

Result<EventPort, XenError> AsioEventChannels::alloc_unbound(DomainId domain, Handler handler) {
  return add(channels_.alloc_unbound(domain), std::move(handler));
}

Result<EventPort, XenError> AsioEventChannels::add(Result<Port, XenError> port, Handler handler) {
  if (!port) return std::unexpected(port.error());
  handlers_.insert_or_assign(port->local(), std::make_shared<Handler>(std::move(handler)));
  return EventPort(this, std::move(*port));
}

void AsioEventChannels::remove(LocalPort port) { handlers_.erase(port); }

void AsioEventChannels::arm() {
  descriptor_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                         [this, alive = std::weak_ptr<Alive>(alive_)](
                             const boost::system::error_code& error) { on_ready(alive, error); });
}

void AsioEventChannels::on_ready(const std::weak_ptr<Alive>& alive,
                                 const boost::system::error_code& error) {
  if (alive.expired() || error == boost::asio::error::operation_aborted) return;
  if (error) return fail({XenCall::kEvtchnPoll, error.value()});
  for (int i = 0; i < kEventsPerTurn; ++i) {
    const auto port = channels_.next_pending();
    if (!port) return fail(port.error());
    if (!*port) break;
    // A port that was closed after its event was queued: nobody listens, nothing to unmask.
    const auto found = handlers_.find(**port);
    if (found == handlers_.end()) continue;
    if (const auto unmasked = channels_.unmask(**port); !unmasked) return fail(unmasked.error());
    ++events_;
    const std::shared_ptr<Handler> handler = found->second;  // it may close its own port
    (*handler)();
    if (alive.expired()) return;
  }
  arm();
}

void AsioEventChannels::fail(const XenError& error) {
  if (descriptor_.is_open()) descriptor_.release();
  const FailureHandler failed = std::exchange(failed_, nullptr);
  if (failed) failed(error);  // may destroy this
}

}  // namespace vmsg::xen
