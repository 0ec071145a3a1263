#include "backend/device_maker.hpp"

#include <boost/asio/post.hpp>

namespace vmsg {
namespace {

// As many slow targets may be opened at once before others have to wait.
constexpr std::size_t kThreads = 4;

}  // namespace

DeviceMaker::DeviceMaker(boost::asio::io_context& context, DeviceCatalog& catalog)
    : context_(context), catalog_(catalog) {}

DeviceMaker::~DeviceMaker() {
  if (threads_) threads_->join();
}

void DeviceMaker::start() { threads_.emplace(kThreads); }

void DeviceMaker::make(std::string type, DeviceParameters parameters, DeviceContext device_context,
                       std::function<void(Made)> done) {
  boost::asio::post(*threads_, [this, type = std::move(type), parameters = std::move(parameters),
                                device_context, done = std::move(done)]() mutable {
    auto made = catalog_.create(type, parameters, device_context);
    boost::asio::post(context_, [made = std::move(made), done = std::move(done)]() mutable {
      done(std::move(made));
    });
  });
}

void DeviceMaker::destroy(std::unique_ptr<ServedDevice> device, std::function<void()> done) {
  boost::asio::post(*threads_,
                    [this, device = std::move(device), done = std::move(done)]() mutable {
                      device.reset();
                      boost::asio::post(context_, std::move(done));
                    });
}

}  // namespace vmsg
