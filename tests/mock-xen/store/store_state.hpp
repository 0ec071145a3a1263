// What the engine is made of, shared by its source files and by nobody else:
//   store_engine.cpp    connections, framing, dispatch, domains
//   store_nodes.cpp     nodes as one request sees them: permissions, quotas, transactions
//   store_requests.cpp  one function for each request of the protocol
//   store_watches.cpp   who is told what
#pragma once

#include <cerrno>  // before xs_wire.h, which names errors if it knows them
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

extern "C" {
#include <xen/io/xs_wire.h>
}

#include "tests/mock-xen/store/store_engine.hpp"
#include "tests/mock-xen/store/store_permissions.hpp"
#include "tests/mock-xen/store/store_transaction.hpp"
#include "tests/mock-xen/store/store_tree.hpp"
#include "transport/result.hpp"

namespace vmsg::mock::store {

/// An errno value that goes to the client by its name; 0 is success.
using Errno = int;

struct Watch {
  std::string path;  ///< absolute, or special
  std::string token;
  std::size_t cut = 0;  ///< so much of an event's path is not shown: the watch was relative
};

struct Connection {
  ConnectionId id = 0;
  DomId domid = 0;

  std::vector<std::byte> partial;  ///< a message whose end has not arrived
  bool is_blocked = false;
  std::deque<std::vector<std::byte>> waiting;  ///< while blocked: whole messages

  std::vector<Watch> watches;
  std::vector<std::unique_ptr<Transaction>> transactions;
  std::uint32_t next_transaction_id = 1;

  // The request being answered.
  Transaction* transaction = nullptr;
  xsd_sockmsg header{};
};

struct Domain {
  bool is_introduced = false;
  bool has_home = false;        ///< by populate_home()
  std::optional<DomId> target;  ///< acts for that domain as well (a device model's domain)
  std::uint64_t operations = 0;
  std::uint64_t errors = 0;
  std::uint64_t watches_fired = 0;
  std::uint64_t watches = 0;
  std::uint64_t transactions = 0;
  std::uint64_t connections = 0;
};

class State {
 public:
  using Sink = StoreEngine::Sink;
  using Limits = StoreEngine::Limits;

  State(Sink sink, Limits limits);

  // --- store_engine.cpp
  Connection* find_connection(ConnectionId id);
  void close(Connection& connection);
  /// Handles what is complete in `bytes` and returns how much that was; nothing: bad framing.
  std::optional<std::size_t> consume(Connection& connection, std::span<const std::byte> bytes);
  void send(Connection& connection, std::uint32_t type, std::uint32_t request,
            std::uint32_t transaction, std::string_view payload);
  void introduce(DomId domid);
  void release(DomId domid);
  [[nodiscard]] bool exists(std::uint32_t domid) const;
  [[nodiscard]] static bool is_privileged(const Connection& connection) {
    return connection.domid == 0;
  }

  // --- store_nodes.cpp
  /// The absolute form of a path, valid or not.
  static std::string_view joined(const Connection& connection, std::string_view path,
                                 std::string& scratch);
  /// The absolute form of a path as a client gave it; in `scratch` if it had to be put together.
  Result<std::string_view, Errno> absolute(const Connection& connection, std::string_view path,
                                           std::string& scratch) const;
  [[nodiscard]] std::uint8_t access_of(DomId domid, const Permissions& permissions) const;
  /// The node if it is there and the domain has all of `needed`. Who may not even see that it is
  /// missing gets EACCES for ENOENT.
  Result<const Node*, Errno> get(Connection& connection, std::string_view path,
                                 std::uint8_t needed);
  /// The node without a look at permissions.
  Result<const Node*, Errno> read(Connection& connection, std::string_view path);
  Errno replace(Connection& connection, std::string_view path, Node node);
  Errno create(Connection& connection, std::string_view path, std::string_view value);
  Errno remove(Connection& connection, std::string_view path);
  void remove_one(Connection& connection, std::string_view path, bool is_told_exactly);
  [[nodiscard]] bool is_over_quota(const Transaction& transaction) const;
  Errno commit(Connection& connection, Transaction& transaction);

  // --- store_watches.cpp
  struct Change {
    std::string_view path;
    bool exactly = false;  ///< only for watches on this very node, not on those above
    const Node* node = nullptr;
    const Permissions* before = nullptr;  ///< who could read it until now is told as well
  };
  void fire(Connection* by, const Change& change);
  void fire_special(std::string_view name);
  void send_event(Connection& connection, const Watch& watch, std::string_view path);
  [[nodiscard]] bool may_see(const Connection& watcher, const Change& change) const;
  void drop_watches(Connection& connection);
  void drop_transactions(Connection& connection);

  // --- store_requests.cpp
  Errno handle(Connection& connection, std::string_view payload);
  Errno directory(Connection& connection, std::string_view payload);
  Errno directory_part(Connection& connection, std::string_view payload);
  Errno read_value(Connection& connection, std::string_view payload);
  Errno get_permissions(Connection& connection, std::string_view payload);
  Errno set_permissions(Connection& connection, std::string_view payload);
  Errno watch(Connection& connection, std::string_view payload);
  Errno unwatch(Connection& connection, std::string_view payload);
  Errno reset_watches(Connection& connection, std::string_view payload);
  Errno transaction_start(Connection& connection, std::string_view payload);
  Errno transaction_end(Connection& connection, std::string_view payload);
  Errno write(Connection& connection, std::string_view payload);
  Errno make_directory(Connection& connection, std::string_view payload);
  Errno remove_node(Connection& connection, std::string_view payload);
  Errno domain_path(Connection& connection, std::string_view payload);
  Errno is_introduced(Connection& connection, std::string_view payload);
  Errno introduce_domain(Connection& connection, std::string_view payload);
  Errno release_domain(Connection& connection, std::string_view payload);
  Errno resume_domain(Connection& connection, std::string_view payload);
  Errno set_target(Connection& connection, std::string_view payload);
  Errno control(Connection& connection, std::string_view payload);
  Errno reply(Connection& connection, std::string_view payload);
  Errno acknowledge(Connection& connection);

  Sink sink_;
  Limits limits_;
  Tree tree_;
  std::map<std::string, Permissions, std::less<>> special_;
  std::list<Connection> connections_;  // in order of connecting: the order of telling watchers
  std::unordered_map<ConnectionId, std::list<Connection>::iterator> by_id_;
  Connection nobody_;  // on whose behalf the store itself changes nodes
  std::map<DomId, Domain> domains_;
  std::vector<std::byte> out_;  // reused for every message
};

}  // namespace vmsg::mock::store
