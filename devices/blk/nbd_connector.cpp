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
    wishes_.push_back(
        {.mailbox = std::move(mailbox), .deadline = std::chrono::steady_clock::now() + patience_});
  }
  changed_.notify_all();
}

void NbdConnector::look() {
  {
    const std::lock_guard lock(mutex_);
    has_to_look_ = true;
  }
  changed_.notify_all();
}

void NbdConnector::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return is_stopped_ || has_to_look_ || !wishes_.empty(); });
    if (is_stopped_) return;
    has_to_look_ = false;
    lock.unlock();
    auto made = connect_nbd(uri_, kAttempt, is_stopped_);
    if (made) on_connected_(made->exported);
    lock.lock();
    std::erase_if(wishes_, [](const Wish& wish) { return wish.mailbox->is_cancelled().load(); });
    if (made) {
      hand_out(std::move(*made));
      continue;
    }
    give_up_on_the_late();
    changed_.wait_for(lock, kPause, [this] { return is_stopped_.load(); });
  }
}

void NbdConnector::hand_out(NbdConnection connection) {
  if (wishes_.empty()) return;
  wishes_.front().mailbox->put({.connection = std::move(connection), .has_given_up = false});
  wishes_.pop_front();
}

/// Their requests fail, and it is tried on.
void NbdConnector::give_up_on_the_late() {
  const auto now = std::chrono::steady_clock::now();
  for (Wish& wish : wishes_) {
    if (now < wish.deadline || std::exchange(wish.has_given_up, true)) continue;
    wish.mailbox->put({.connection = std::nullopt, .has_given_up = true});
  }
}

}  // namespace vmsg::blk
