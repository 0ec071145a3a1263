// A QueueHost that keeps a record of which queues it holds and what it was told, and that takes as
// long to give them back as a test says.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/recording_sink.hpp"
#include "transport/device.hpp"

namespace vmsg::test {

class FakeQueueHost final : public QueueHost {
 public:
  struct Kick {
    std::uint32_t queue;
    std::uint32_t hint;
    friend bool operator==(const Kick&, const Kick&) = default;
  };

  explicit FakeQueueHost(CallLog* log = nullptr) : log_(log) {}

  [[nodiscard]] bool enable(const QueueSetup& setup) override {
    note("enable " + std::to_string(setup.index));
    if (refuses_enable) return false;
    EXPECT_FALSE(queues.contains(setup.index)) << "enabled twice";
    queues[setup.index] = setup;
    return true;
  }
  void go_live() override {
    note("go_live");
    is_live = true;
    if (on_go_live) on_go_live();
  }
  void kick(std::uint32_t index, std::uint32_t hint) override {
    note("kick " + std::to_string(index));
    EXPECT_TRUE(is_live && queues.contains(index)) << "kicked without use";
    kicks.push_back({.queue = index, .hint = hint});
  }
  void stop() override {
    note("stop");
    is_live = false;
    ++stops;
  }
  [[nodiscard]] Release release(std::uint32_t index) override {
    note("release " + std::to_string(index));
    EXPECT_FALSE(is_pending) << "two releases at once";
    pending_queue_ = static_cast<int>(index);
    return begin();
  }
  [[nodiscard]] Release release_all() override {
    note("release_all");
    EXPECT_FALSE(is_pending) << "two releases at once";
    is_live = false;
    pending_queue_ = -1;
    ++releases_of_all;
    return begin();
  }

  /// What was pending is done: nothing is held any more. Then tell the endpoint.
  void complete_release() {
    EXPECT_TRUE(is_pending);
    finish();
  }

  [[nodiscard]] bool holds(std::uint32_t index) const { return queues.contains(index); }

  bool refuses_enable = false;
  bool is_slow = false;  // releases are answered with kPending
  std::function<void()> on_go_live;

  std::map<std::uint32_t, QueueSetup> queues;
  std::vector<Kick> kicks;
  bool is_live = false;
  bool is_pending = false;
  int stops = 0;
  int releases_of_all = 0;

 private:
  Release begin() {
    is_pending = true;
    if (is_slow) return Release::kPending;
    finish();
    return Release::kDone;
  }
  void finish() {
    is_pending = false;
    if (pending_queue_ < 0) {
      queues.clear();
    } else {
      queues.erase(static_cast<std::uint32_t>(pending_queue_));
    }
    note("given back");
  }
  void note(std::string what) {
    if (log_ != nullptr) log_->push_back(std::move(what));
  }

  CallLog* log_;
  int pending_queue_ = -1;
};

}  // namespace vmsg::test
