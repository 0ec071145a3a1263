// Makes and destroys devices on threads of its own, since opening and closing what stands behind a
// device (a server, a file on a slow disk) may take long, and the control thread serves everybody.
//
// Its own members are called on the control thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "backend/device_catalog.hpp"
#include "devices/queue_service.hpp"
#include "transport/result.hpp"

namespace vmsg {

class DeviceMaker {
 public:
  using Made = Result<std::unique_ptr<ServedDevice>, OpenError>;

  /// How long what may pass is tried again. A daemon that was killed has its disks until the kernel
  /// has ended the operations that it had under way.
  static constexpr std::chrono::milliseconds kPatience{1000};

  DeviceMaker(boost::asio::io_context& context, DeviceCatalog& catalog,
              std::chrono::milliseconds patience = kPatience);
  DeviceMaker(const DeviceMaker&) = delete;
  DeviceMaker& operator=(const DeviceMaker&) = delete;
  /// Waits for what is under way; nobody is told about it any more.
  ~DeviceMaker();

  /// Makes the threads; before anything else is asked for.
  void start();

  /// `done` is called on the loop.
  void make(std::string type, DeviceParameters parameters, DeviceContext device_context,
            std::function<void(Made)> done);

  /// `done` is called on the loop once nothing of the device is open any more.
  void destroy(std::unique_ptr<ServedDevice> device, std::function<void()> done);

 private:
  struct Order;

  void attempt(const std::shared_ptr<Order>& order);

  boost::asio::io_context& context_;
  DeviceCatalog& catalog_;
  const std::chrono::milliseconds patience_;
  std::optional<boost::asio::thread_pool> threads_;
};

}  // namespace vmsg
