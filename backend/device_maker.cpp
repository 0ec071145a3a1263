#include "backend/device_maker.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

namespace vmsg {
namespace {

// As many slow targets may be opened at once before others have to wait.
constexpr std::size_t kThreads = 4;

constexpr std::chrono::milliseconds kBetweenAttempts{10};

}  // namespace

struct DeviceMaker::Order {
  std::string type;
  DeviceParameters parameters;
  DeviceContext context;
  std::function<void(Made)> done;
  boost::asio::steady_timer timer;
  std::chrono::steady_clock::time_point until;
};

DeviceMaker::DeviceMaker(boost::asio::io_context& context, DeviceCatalog& catalog,
                         std::chrono::milliseconds patience)
    : context_(context), catalog_(catalog), patience_(patience) {}

DeviceMaker::~DeviceMaker() {
  if (threads_) threads_->join();
}

void DeviceMaker::start() { threads_.emplace(kThreads); }

void DeviceMaker::make(std::string type, DeviceParameters parameters, DeviceContext device_context,
                       std::function<void(Made)> done) {
  const auto order = std::make_shared<Order>(Order{.type = std::move(type),
                                                   .parameters = std::move(parameters),
                                                   .context = device_context,
                                                   .done = std::move(done),
                                                   .timer = boost::asio::steady_timer(*threads_),
                                                   .until = {}});
  order->until = std::chrono::steady_clock::now() + patience_;
  boost::asio::post(*threads_, [this, order] { attempt(order); });
}

void DeviceMaker::attempt(const std::shared_ptr<Order>& order) {
  Made made = catalog_.create(order->type, order->parameters, order->context);
  if (!made && made.error().may_pass && std::chrono::steady_clock::now() < order->until) {
    order->timer.expires_after(kBetweenAttempts);
    order->timer.async_wait([this, order](const boost::system::error_code&) { attempt(order); });
    return;
  }
  boost::asio::post(context_, [made = std::move(made), done = std::move(order->done)]() mutable {
    done(std::move(made));
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
