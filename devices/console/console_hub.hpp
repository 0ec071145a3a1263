// What the queues of one console device share: its ports, and what guest and host have told each
// other about them.
//
// All queues of the device are one queue group, so the worker that serves them is in charge of all
// of this, without a lock. While no queue is served the control thread is. The change of hands, and
// emergency writes, which the control thread brings in, are the only things behind a mutex.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "devices/console/console_counters.hpp"
#include "devices/console/console_options.hpp"
#include "devices/console/console_port.hpp"
#include "devices/console/console_wire.hpp"
#include "devices/console/io_operation.hpp"
#include "devices/file_descriptor.hpp"
#include "devices/queue_service.hpp"

namespace vmsg::console {

/// A message for the control receiveq.
struct ControlMessage {
  std::array<std::byte, sizeof(wire::Control) + kMaxPortName> bytes{};
  std::size_t size = 0;
};

class ConsoleHub {
 public:
  /// `counters` outlives the hub. `on_window_changed` is called on the worker's thread.
  ConsoleHub(std::vector<std::unique_ptr<ConsolePort>> ports, const WindowSize& window,
             ConsoleCounters& counters, FileDescriptor emergency,
             std::function<void()> on_window_changed);
  ~ConsoleHub();
  ConsoleHub(const ConsoleHub&) = delete;
  ConsoleHub& operator=(const ConsoleHub&) = delete;

  // The worker's side.

  /// A queue is served from now on, or not any more.
  void join(IoRing& io);
  void leave();
  /// Whether operations are still under way although no queue is served any more.
  [[nodiscard]] bool is_draining();

  [[nodiscard]] ConsolePort& port(std::size_t number) { return *ports_[number]; }
  /// Whether the guest wants input of the port.
  [[nodiscard]] bool wants_input(std::size_t number) const {
    return !is_multiport_ || guest_[number].is_open;
  }
  /// The guest has written to a port, so its driver is past the beginning.
  void heard_from(std::size_t number);
  /// A turn of one port, for the sake of one of its queues.
  void pump(std::size_t number, Nanoseconds now);

  void set_control_waker(QueueWaker* waker) { control_waker_ = waker; }
  /// What the driver says.
  void take_control(const wire::Control& control);
  /// The next thing to tell the driver, if there is one.
  [[nodiscard]] bool next_message(ControlMessage& message);

  // The control thread's side.

  void negotiated(bool is_multiport, bool has_size);
  /// After all queues have gone.
  void reset();
  /// At any time.
  void write_emergency(std::byte character);
  /// Of port 0, as the worker last saw it.
  [[nodiscard]] WindowSize window() const;
  /// What can still be handed over is handed over, perhaps slowly.
  void flush();

  [[nodiscard]] const std::vector<std::unique_ptr<ConsolePort>>& ports() const { return ports_; }

 private:
  /// What the guest said about a port and was told about it. What it is to be told is a flag each:
  /// however slow it is, or however often it asks, there is nothing to store.
  struct GuestView {
    bool is_ready = false;  // it knows the port
    bool is_open = false;   // somebody in the guest uses it
    bool is_told_open = false;
    WindowSize told_window{.cols = 0, .rows = 0};
    bool tell_add = false;
    bool tell_console = false;
    bool tell_name = false;
  };

  void look_for_changes(std::size_t number);
  [[nodiscard]] bool next_message_of(std::size_t number, ControlMessage& message);
  void wake_control();
  void pump_emergency(Nanoseconds now);
  void on_emergency(std::int32_t result);
  void move_emergency();
  [[nodiscard]] bool has_operations() const;

  std::vector<std::unique_ptr<ConsolePort>> ports_;
  std::vector<GuestView> guest_;  // as many
  ConsoleCounters& counters_;
  std::function<void()> on_window_changed_;
  QueueWaker* control_waker_ = nullptr;
  bool is_multiport_ = false;
  bool has_size_ = false;
  bool owes_window_ = false;
  std::atomic<std::uint32_t> window_;  // columns above rows

  std::size_t served_ = 0;  // queues
  IoRing* io_ = nullptr;    // of the worker that serves them

  FileDescriptor emergency_ready_;  // an eventfd
  std::uint64_t emergency_count_ = 0;
  bool has_emergency_ = false;
  IoOperation<ConsoleHub> emergency_read_{*this, &ConsoleHub::on_emergency};

  std::mutex mutex_;
  bool is_worker_in_charge_ = false;
  std::array<std::byte, 256> emergency_{};
  std::size_t emergency_size_ = 0;
};

}  // namespace vmsg::console
