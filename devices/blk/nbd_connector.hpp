// Makes connections to one NBD server on a thread of its own, since looking up a name, connecting
// and negotiating all block. A queue that has lost its connection asks here for another one, and
// finds it in its mailbox.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "devices/blk/nbd_connection.hpp"

namespace vmsg::blk {

/// Where a queue finds what the connector has for it. Shared by both, for a queue may go while a
/// connection is being made for it.
class NbdMailbox {
 public:
  NbdMailbox();
  ~NbdMailbox();
  NbdMailbox(const NbdMailbox&) = delete;
  NbdMailbox& operator=(const NbdMailbox&) = delete;

  struct News {
    std::optional<NbdConnection> connection;
    bool has_given_up = false;  // for now: it has been tried in vain for as long as was allowed
  };
  /// An eventfd that is readable when there are news.
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] News take();
  void put(News news);
  void ring() const;

  /// The queue is going: nobody needs a connection any more.
  void cancel() { is_cancelled_ = true; }
  [[nodiscard]] const std::atomic<bool>& is_cancelled() const { return is_cancelled_; }

 private:
  const int fd_;
  std::atomic<bool> is_cancelled_{false};
  std::mutex mutex_;
  News news_;
};

class NbdConnector {
 public:
  /// `on_connected` is told of every export that a new connection has found, on the thread.
  /// `patience` is how long the requests of a queue wait before they fail.
  NbdConnector(std::string uri, std::chrono::seconds patience,
               std::function<void(const NbdExport&)> on_connected);
  ~NbdConnector();
  NbdConnector(const NbdConnector&) = delete;
  NbdConnector& operator=(const NbdConnector&) = delete;

  /// A connection for this mailbox, as soon as there can be one.
  void connect(std::shared_ptr<NbdMailbox> mailbox);
  /// A short connection, only to see what the server says now.
  void look();

 private:
  struct Wish {
    std::shared_ptr<NbdMailbox> mailbox;
    std::chrono::steady_clock::time_point deadline;
    bool has_given_up = false;
  };

  void run();
  void hand_out(NbdConnection connection);
  void give_up_on_the_late();

  const std::string uri_;
  const std::chrono::seconds patience_;
  const std::function<void(const NbdExport&)> on_connected_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Wish> wishes_;  // oldest first
  bool has_to_look_ = false;
  std::atomic<bool> is_stopped_{false};
  std::thread thread_;  // last: it uses all the others
};

}  // namespace vmsg::blk
