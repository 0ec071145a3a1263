#include "devices/blk/nbd_connector.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "transport/result.hpp"

namespace vmsg::blk {
namespace {

constexpr std::chrono::seconds kAttempt{10};
constexpr std::chrono::milliseconds kPause{500};  // between attempts

}  // namespace

NbdMailbox::NbdMailbox() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

NbdMailbox::~NbdMailbox() {
  if (fd_ >= 0) close(fd_);
}

NbdMailbox::News NbdMailbox::take() {
  std::uint64_t count = 0;
  static_cast<void>(::read(fd_, &count, sizeof(count)) == 0);
  const std::lock_guard lock(mutex_);
  return std::exchange(news_, {});
}

void NbdMailbox::put(News news) {
  {
    const std::lock_guard lock(mutex_);
    news_ = std::move(news);
  }
  ring();
}

void NbdMailbox::ring() const {
  const std::uint64_t one = 1;
  static_cast<void>(::write(fd_, &one, sizeof(one)) == 0);
}

NbdConnector::NbdConnector(std::string uri, std::chrono::seconds patience,
                           std::function<void(const NbdExport&)> on_connected)
    : uri_(std::move(uri)),
      patience_(patience),
      on_connected_(std::move(on_connected)),
      thread_(&NbdConnector::run, this) {}

NbdConnector::~NbdConnector() {
  {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void NbdConnector::connect(std::shared_ptr<NbdMailbox> mailbox) {
  {
    const std::lock_guard lock(mutex_);
    wanted_.push_back(std::move(mailbox));
  }
  changed_.notify_all();
}

void NbdConnector::look() { connect(nullptr); }

void NbdConnector::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return is_stopped_ || !wanted_.empty(); });
    if (is_stopped_) return;
    const std::shared_ptr<NbdMailbox> mailbox = std::move(wanted_.front());
    wanted_.pop_front();
    lock.unlock();
    if (mailbox != nullptr) {
      serve(*mailbox);
    } else if (const auto made = connect_nbd(uri_, kAttempt, is_stopped_)) {
      on_connected_(made->exported);
    }
    lock.lock();
  }
}

void NbdConnector::serve(NbdMailbox& mailbox) {
  const auto deadline = std::chrono::steady_clock::now() + patience_;
  bool has_given_up = false;
  while (!is_stopped_ && !mailbox.is_cancelled()) {
    auto made = connect_nbd(uri_, kAttempt, is_stopped_);
    if (made) {
      on_connected_(made->exported);
      return mailbox.put({.connection = std::move(*made), .has_given_up = false});
    }
    if (!has_given_up && std::chrono::steady_clock::now() >= deadline) {
      has_given_up = true;
      mailbox.put({.connection = std::nullopt, .has_given_up = true});
    }
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kPause, [this] { return is_stopped_.load(); });
  }
}

}  // namespace vmsg::blk
