// One thread for the few things that devices must have done while they run and that may block:
// they would hold up a worker, or the control thread, for everybody.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace vmsg {

class BackgroundThread {
 public:
  BackgroundThread() : thread_([this] { run(); }) {}
  BackgroundThread(const BackgroundThread&) = delete;
  BackgroundThread& operator=(const BackgroundThread&) = delete;
  ~BackgroundThread() {
    {
      const std::lock_guard lock(mutex_);
      is_quitting_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  /// Tasks run one after the other, in this order. Whoever posts keeps the number of its tasks that
  /// wait bounded.
  void post(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
      ++posted_;
    }
    changed_.notify_all();
  }

  /// Returns when everything that was posted before has been done. Not from a task.
  void drain() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this, until = posted_] { return done_ >= until; });
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return is_quitting_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      task = {};  // what it held goes before anybody is told
      lock.lock();
      ++done_;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  std::uint64_t posted_ = 0;
  std::uint64_t done_ = 0;
  bool is_quitting_ = false;
  std::thread thread_;
};

}  // namespace vmsg
