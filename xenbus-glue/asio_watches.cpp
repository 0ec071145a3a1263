#include "xenbus-glue/asio_watches.hpp"

#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <utility>

namespace vmsg::xen {

AsioWatches::AsioWatches(boost::asio::io_context& context, Store& store, FailureHandler failed,
                         Watches::Limits limits)
    : failed_(std::move(failed)), watches_(store, limits), descriptor_(context) {
  const int fd = watches_.fd();
  boost::system::error_code error;
  if (fd >= 0) descriptor_.assign(fd, error);
  if (fd < 0 || error) {
    // Told from the loop like any failure: the owner is still being built.
    boost::asio::post(descriptor_.get_executor(), [this, alive = std::weak_ptr<Alive>(alive_)] {
      if (!alive.expired()) fail({XenCall::kStoreReadWatch, EBADF});
    });
    return;
  }
  arm();
}

AsioWatches::~AsioWatches() {
  // The fd is the library's: Asio must forget it, not close it.
  if (descriptor_.is_open()) descriptor_.release();
}

void AsioWatches::arm() {
  descriptor_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                         [this, alive = std::weak_ptr<Alive>(alive_)](
                             const boost::system::error_code& error) { on_ready(alive, error); });
}

void AsioWatches::on_ready(const std::weak_ptr<Alive>& alive,
                           const boost::system::error_code& error) {
  if (alive.expired() || error == boost::asio::error::operation_aborted) return;
  if (error) return fail({XenCall::kStoreReadWatch, error.value()});
  take_turn(alive);
}

void AsioWatches::take_turn(const std::weak_ptr<Alive>& alive) {
  if (alive.expired()) return;
  const auto more = watches_.turn();
  if (!more) return fail(more.error());
  // More to do whether the descriptor says so or not: come back after the others on the loop.
  if (*more) {
    boost::asio::post(descriptor_.get_executor(), [this, alive] { take_turn(alive); });
  } else {
    arm();
  }
}

void AsioWatches::fail(const XenError& error) {
  if (descriptor_.is_open()) descriptor_.release();
  const FailureHandler failed = std::exchange(failed_, nullptr);
  if (failed) failed(error);  // may destroy this
}

}  // namespace vmsg::xen
