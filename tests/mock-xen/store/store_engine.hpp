// The mock's xenstored: nodes, permissions, transactions, watches and quotas of Xen 4.17's C
// xenstored, as one single-threaded object. Bytes of the xs_wire protocol go in per connection and
// whole xs_wire messages come out through a sink.
//
// It does no I/O, has no clock and no thread: whoever hosts it (the broker, a unit test) owns the
// sockets. What a client sends is untrusted: it can end its own connection, nothing else.
// See store_state.hpp for the parts inside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace vmsg::mock {

using ConnectionId = std::uint64_t;

/// xenstored's quotas, with its defaults. They bind unprivileged domains (all but domain 0); the
/// protocol's own limits (payload, path lengths) bind everybody and are not here.
struct StoreLimits {
  std::uint32_t nodes_per_domain = 1000;
  std::uint32_t node_size = 2048;  ///< data, names of children and permissions together
  std::uint32_t watches_per_domain = 128;
  std::uint32_t transactions_per_domain = 10;
  std::uint32_t nodes_per_transaction = 1024;
  std::uint32_t permissions_per_node = 5;
  std::uint32_t path_length = 2048;  ///< without the /local/domain/<id>/ in front
};

struct StoreCounters {
  std::uint64_t operations = 0;     ///< requests answered, whatever the answer
  std::uint64_t errors = 0;         ///< of these, answered with XS_ERROR
  std::uint64_t watches_fired = 0;  ///< watch events sent, initial ones included
  std::uint64_t nodes_owned = 0;    ///< as charged against the quota, now
  std::uint64_t watches = 0;        ///< registered now
  std::uint64_t transactions = 0;   ///< open now
  std::uint64_t connections = 0;    ///< open now
};

/// What a domain holds that it ought to have given back. Nodes are not listed: they outlive their
/// writers by design and go when the domain is released.
struct StoreLeftovers {
  std::uint64_t connections = 0;
  std::uint64_t transactions = 0;
  std::vector<std::string> watches;  ///< "path token"

  [[nodiscard]] bool none() const {
    return connections == 0 && transactions == 0 && watches.empty();
  }
};

namespace store {
class State;
}

class StoreEngine {
 public:
  /// Called with one whole message at a time; the bytes are valid during the call only. It may be
  /// called for any connection during any call below and must not call back into the engine.
  using Sink = std::function<void(ConnectionId, std::span<const std::byte>)>;
  using Limits = StoreLimits;

  explicit StoreEngine(Sink sink, Limits limits = {});
  ~StoreEngine();
  StoreEngine(const StoreEngine&) = delete;
  StoreEngine& operator=(const StoreEngine&) = delete;
  StoreEngine(StoreEngine&&) = delete;
  StoreEngine& operator=(StoreEngine&&) = delete;

  // --- Connections. Unknown ids are ignored everywhere.

  /// A process of domain `domid` connected. Domain 0 is privileged. The domain need not have been
  /// introduced.
  void connect(ConnectionId id, std::uint16_t domid);

  /// The connection is gone: its watches go, its open transactions are aborted.
  void disconnect(ConnectionId id);

  /// Bytes from the client, cut anywhere. False: the client broke the framing (a payload longer
  /// than XENSTORE_PAYLOAD_MAX); the engine has already forgotten the connection as by
  /// disconnect() and the host must close it.
  [[nodiscard]] bool receive(ConnectionId id, std::span<const std::byte> bytes);

  /// Flow control, optional. While a connection is blocked (its socket takes no more) messages for
  /// it wait here, and a watch event equal to one that already waits is dropped, as xenstored
  /// does; unblocking sends what waited, in order.
  void set_blocked(ConnectionId id, bool blocked);

  // --- Domains, as the hypervisor and the toolstack see them.

  /// The domain exists and is known to the store: @introduceDomain fires. Its home directory is
  /// not made here, see populate_home(). Again for a known domain: nothing happens.
  void domain_introduced(std::uint16_t domid);

  /// The domain is gone: its connections lose watches and transactions, the home that
  /// populate_home() made goes as when libxl destroys a domain, then all other nodes that it owns
  /// with everything below them, and @releaseDomain fires. Watchers are told of all that. The host
  /// closes the domain's connections.
  void domain_released(std::uint16_t domid);

  /// The part of what libxl writes when it makes a domain that a guest can see: /local/domain/<id>
  /// readable by it, and the few directories below that it owns (data, error, ...).
  void populate_home(std::uint16_t domid, bool driver_domain = false);

  // --- Watching over it.

  [[nodiscard]] StoreCounters counters(std::uint16_t domid) const;
  [[nodiscard]] StoreLeftovers what_is_left(std::uint16_t domid) const;
  /// What is wrong inside, one line each: nodes without parents, counts that do not add up. Always
  /// empty, whatever clients send; for tests.
  [[nodiscard]] std::vector<std::string> inconsistencies() const;
  [[nodiscard]] std::vector<std::uint16_t> domains() const;  ///< introduced, or ever connected

 private:
  std::unique_ptr<store::State> state_;
};

}  // namespace vmsg::mock
