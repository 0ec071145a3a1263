// A FrameSink that keeps what was sent, in order, and has as much room as a test says. `log` is
// shared with the other fakes, so that a test can tell what came before what.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "transport/frame_sink.hpp"
#include "transport/message_text.hpp"

namespace vmsg::test {

using Bytes = std::vector<std::byte>;
using CallLog = std::vector<std::string>;

class RecordingSink final : public FrameSink {
 public:
  static constexpr std::size_t kEndless = std::numeric_limits<std::size_t>::max();

  explicit RecordingSink(CallLog* log = nullptr) : log_(log) {}

  bool has_room(std::size_t bytes) override { return bytes <= room; }

  void send(std::span<const std::byte> frame) override {
    ASSERT_LE(frame.size(), room) << "sent without room";
    if (room != kEndless) room -= frame.size();
    frames.emplace_back(frame.begin(), frame.end());
    if (log_ != nullptr) log_->push_back("sent " + to_text(frame));
  }

  /// Everything sent since the last call.
  std::vector<Bytes> take() { return std::exchange(frames, {}); }

  std::vector<Bytes> frames;
  std::size_t room = kEndless;

 private:
  CallLog* log_;
};

}  // namespace vmsg::test
