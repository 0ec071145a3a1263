// Watches on a Boost.Asio loop. Between two turns everybody else on the loop has theirs.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>

#include "xenbus-glue/watches.hpp"

namespace vmsg::xen {

class AsioWatches {
 public:
  using FailureHandler = std::function<void(const XenError&)>;

  /// `store` outlives this. `failed` hears once that events cannot be read any more.
  AsioWatches(boost::asio::io_context& context, Store& store, FailureHandler failed,
              Watches::Limits limits = Watches::Limits{});
  AsioWatches(const AsioWatches&) = delete;
  AsioWatches& operator=(const AsioWatches&) = delete;
  ~AsioWatches();

  [[nodiscard]] Result<Watch, XenError> watch(const Path& path, Watches::Handler handler,
                                              std::size_t depth = Watches::kAnyDepth) {
    return watches_.watch(path, std::move(handler), depth);
  }
  [[nodiscard]] const WatchMetrics& metrics() const { return watches_.metrics(); }

 private:
  struct Alive {};

  void arm();
  void on_ready(const std::weak_ptr<Alive>& alive, const boost::system::error_code& error);
  void take_turn(const std::weak_ptr<Alive>& alive);
  void fail(const XenError& error);

  // Teardown is bottom up: the token first, so that no handler runs any more; the descriptor gives
  // the library's fd back in our destructor.
  FailureHandler failed_;
  Watches watches_;
  boost::asio::posix::stream_descriptor descriptor_;
  std::shared_ptr<Alive> alive_ = std::make_shared<Alive>();
};

}  // namespace vmsg::xen
