// The reading end of a handle's event queue: see event_queue.hpp.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "tests/mock-xen/event_queue.hpp"
#include "tests/mock-xen/unique_fd.hpp"

namespace vmsg::mock {

class EventReader {
 public:
  EventReader() = default;
  EventReader(UniqueFd numbers, UniqueFd bell, std::atomic<std::uint64_t>& state,
              std::uint32_t owner)
      : numbers_(std::move(numbers)), bell_(std::move(bell)), state_(&state), owner_(owner) {}

  /// What the program polls, and sets to blocking or not.
  int fd() const { return bell_.get(); }
  EventQueue queue() const {
    return {.numbers = numbers_.get(), .bell = bell_.get(), .state = state_, .owner = owner_};
  }

  /// False with errno: there is none, and the descriptor does not block.
  bool next(std::uint32_t& port);

 private:
  bool has_rung() const;
  bool fill();
  void listen();

  UniqueFd numbers_;
  UniqueFd bell_;
  std::atomic<std::uint64_t>* state_ = nullptr;
  std::uint32_t owner_ = 0;
  /// Read from the pipe in one go; for the program they are unread still.
  std::array<std::uint32_t, 64> read_{};
  std::size_t at_ = 0;
  std::size_t count_ = 0;
};

}  // namespace vmsg::mock
