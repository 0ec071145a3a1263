// One connection to xenstore with errors as values: what libxenstore reports through a null pointer
// and errno becomes the number. Adds no policy: no retry, no coalescing, no parsing.
#pragma once

#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/contract/abi/answer.hpp"
#include "tests/contract/abi/handles.hpp"

namespace vmsg::contract {

struct WatchEvent {
  std::string path;
  std::string token;

  friend bool operator==(const WatchEvent&, const WatchEvent&) = default;
  friend std::ostream& operator<<(std::ostream& out, const WatchEvent& event) {
    return out << event.path << " with token " << event.token;
  }
};

// "n5" "r0" ... as the store's own tools write it: the first is the owner with everybody's rights.
using Permissions = std::vector<std::string>;

class Store {
 public:
  // Throws std::system_error when xenstore cannot be reached.
  Store();

  // 0 or the errno.
  [[nodiscard]] int write(const std::string& path, std::string_view value,
                          xs_transaction_t transaction = XBT_NULL);
  [[nodiscard]] int mkdir(const std::string& path, xs_transaction_t transaction = XBT_NULL);
  [[nodiscard]] int remove(const std::string& path, xs_transaction_t transaction = XBT_NULL);
  [[nodiscard]] int set_permissions(const std::string& path, const Permissions& permissions,
                                    xs_transaction_t transaction = XBT_NULL);
  [[nodiscard]] Answer<std::string> read(const std::string& path,
                                         xs_transaction_t transaction = XBT_NULL);
  // The children's names, sorted (the store promises no order).
  [[nodiscard]] Answer<std::vector<std::string>> list(const std::string& path,
                                                      xs_transaction_t transaction = XBT_NULL);
  [[nodiscard]] Answer<Permissions> permissions(const std::string& path,
                                                xs_transaction_t transaction = XBT_NULL);

  [[nodiscard]] Answer<xs_transaction_t> begin();
  [[nodiscard]] int commit(xs_transaction_t transaction);
  [[nodiscard]] int abandon(xs_transaction_t transaction);

  [[nodiscard]] int watch(const std::string& path, const std::string& token);
  [[nodiscard]] int unwatch(const std::string& path, const std::string& token);
  // Waits for the next event; nothing if none came within kPatience.
  [[nodiscard]] std::optional<WatchEvent> next_event();
  // The next event that is already here. Asks the store something first: events and answers share
  // one stream, so what was fired before the call has arrived when the answer has.
  [[nodiscard]] std::optional<WatchEvent> event_fired_so_far();

  [[nodiscard]] xs_handle* raw() const { return handle_.get(); }

 private:
  std::optional<WatchEvent> take_event();

  StoreHandle handle_;
};

}  // namespace vmsg::contract
