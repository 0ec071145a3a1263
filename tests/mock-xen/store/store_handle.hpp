// What is behind a `struct xs_handle` of the mock libxenstore: one connection to the broker,
// requests one at a time, watch events in a queue of their own.
//
// As in the real library a thread that reads the connection is started by the first watch. Before
// that whoever waits for a reply reads for itself, which costs no switch of threads. Nothing here
// knows the meaning of a request; xenstore.cpp does.
#pragma once

extern "C" {
#include <xenstore.h>
}

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>

#include "tests/mock-xen/client.hpp"

namespace vmsg::mock::store {

/// A malloc'ed buffer with a NUL behind its end, as the library hands out.
struct Buffer {
  struct Free {
    void operator()(char* block) const noexcept;
  };
  std::unique_ptr<char, Free> bytes;
  std::size_t size = 0;

  [[nodiscard]] static Buffer copy_of(std::string_view text);
  [[nodiscard]] std::string_view view() const { return {bytes.get(), size}; }
};

/// The errno that the name in an error reply stands for.
[[nodiscard]] int error_of_name(std::string_view name);

class StoreHandle {
 public:
  StoreHandle(std::unique_ptr<Client> client, bool filters_unwatched);
  ~StoreHandle();
  StoreHandle(const StoreHandle&) = delete;
  StoreHandle& operator=(const StoreHandle&) = delete;

  /// In a child that inherited the handle over fork(), instead of destroying it: closes the child's
  /// descriptors and leaves the rest alone, as mutexes and conditions may be in any state.
  void abandon();

  [[nodiscard]] const Client& client() const { return *client_; }

  /// One request and its reply; the payload is the parts one after another. Empty with errno set
  /// if the store refused or the connection is broken.
  std::optional<Buffer> talk(xsd_sockmsg_type type, xs_transaction_t transaction,
                             std::span<const std::string_view> parts);

  /// To be called before the first watch is asked for. False with errno.
  bool start_reader();

  /// The next watch event; waits for it if `may_wait`, else fails with EAGAIN.
  std::optional<Buffer> next_event(bool may_wait);

  /// Readable while watch events are queued. -1 with errno.
  int event_fd();

  /// After an unwatch, for handles opened so: queued events of that watch are dropped.
  void forget_events(std::string_view path, std::string_view token);
  [[nodiscard]] bool filters_unwatched() const { return filters_unwatched_; }

 private:
  struct Message {
    xsd_sockmsg header{};
    Buffer body;
  };

  bool send(const xsd_sockmsg& header, std::span<const std::string_view> parts);
  std::optional<Message> receive();
  bool fill(std::size_t size);
  std::optional<Message> next_reply();
  void queue_event(Buffer event);
  void read_until_closed();
  void break_connection();
  void close_pipe();
  void set_readable();
  void clear_readable();

  std::unique_ptr<Client> client_;
  const bool filters_unwatched_;

  std::mutex request_mutex_;  // held from request to reply
  // Bytes of the socket not yet taken; belongs to the reader thread once that runs, to the holder
  // of request_mutex_ before.
  std::array<char, 16384> input_;
  std::size_t input_begin_ = 0;
  std::size_t input_end_ = 0;

  // Everything below is guarded by queue_mutex_.
  std::mutex queue_mutex_;
  std::condition_variable reply_arrived_;
  std::condition_variable event_arrived_;
  std::deque<Message> replies_;
  std::deque<Buffer> events_;
  std::array<int, 2> event_pipe_ = {-1, -1};
  bool is_broken_ = false;
  bool has_reader_ = false;

  std::thread reader_;  // last: uses all of the above
};

}  // namespace vmsg::mock::store

struct xs_handle : vmsg::mock::store::StoreHandle {
  using StoreHandle::StoreHandle;
};
