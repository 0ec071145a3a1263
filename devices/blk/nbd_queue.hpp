// One queue's connection to an NBD server: libnbd's state machine, driven by polls on the worker's
// io_uring. libnbd allocates a little for each command itself; nothing here does.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "devices/blk/disk.hpp"
#include "devices/blk/nbd_connector.hpp"

namespace vmsg::blk {

class NbdCache;
struct NbdCounters;

class NbdQueue final : public DiskQueue {
 public:
  /// All of it outlives the queue.
  struct Environment {
    NbdConnector& connector;
    NbdCache& cache;
    NbdCounters& counters;
    std::chrono::seconds patience;  // with a server that does not answer a queue that is going
  };

  /// Without a connection it asks for one.
  NbdQueue(const Environment& environment, std::optional<NbdConnection> connection,
           const DiskQueueContext& context);
  ~NbdQueue() override;

  bool submit(std::uint32_t slot, const DiskIo& io) override;
  void carry_on() override;
  void abandon() override;
  bool is_idle() const override;

 private:
  enum class Stage : std::uint8_t { kFree, kWaiting, kSent, kSentFlush };

  /// What is known about the operation of a slot.
  struct Work {
    NbdQueue* queue = nullptr;
    std::uint32_t slot = 0;
    Stage stage = Stage::kFree;
    DiskIo io;
    std::uint64_t mark = 0;  // of a flush
  };

  struct Ended {
    Work* work;
    int error;
  };

  /// A poll on one descriptor, once.
  class Poll final : public IoCompletion {
   public:
    Poll(NbdQueue& queue, short events) : queue_(queue), events_(events) {}
    void on_complete(std::int32_t result, bool is_last) override;
    /// False when the ring had no room.
    bool arm(int fd);
    [[nodiscard]] bool is_armed() const { return is_armed_; }

   private:
    NbdQueue& queue_;
    const short events_;
    bool is_armed_ = false;
  };

  /// Ends the wait of a queue that is going for answers that do not come.
  class Deadline final : public IoCompletion {
   public:
    explicit Deadline(NbdQueue& queue) : queue_(queue) {}
    void on_complete(std::int32_t result, bool is_last) override;
    /// False when the ring had no room.
    bool arm(std::chrono::seconds patience);
    void cancel();
    [[nodiscard]] bool is_armed() const { return is_armed_; }

   private:
    NbdQueue& queue_;
    __kernel_timespec limit_{};
    bool is_armed_ = false;
  };

  static int on_ended(void* work, int* error);

  void ready(const Poll& poll);
  void read_answers();
  void send(Work& work);
  void work_off();
  void settle(const Ended& ended);
  void finish(Work& work, int error);
  void adopt(NbdConnection connection);
  void read_mail();
  void lose();
  void hang_up();
  void close_connection();
  void arm();

  const Environment environment_;
  IoRing& io_;
  DiskQueueOwner& owner_;
  std::shared_ptr<NbdMailbox> mailbox_ = std::make_shared<NbdMailbox>();

  std::deque<Work> works_;  // by slot; a deque, for they do not move
  std::vector<Ended> ended_;
  std::size_t sent_ = 0;
  NbdHandle nbd_;
  bool can_fua_ = false;
  int fd_ = -1;  // the socket again: what ends a poll on it whatever libnbd does
  Poll reading_;
  Poll writing_;
  Poll mail_;
  Deadline deadline_;
  bool is_waiting_for_mail_ = false;
  bool has_given_up_ = false;
  bool has_been_connected_ = false;
  bool is_abandoned_ = false;
};

}  // namespace vmsg::blk
