#include "tests/mock-xen/store/store_engine.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "tests/mock-xen/store/store_path.hpp"
#include "tests/mock-xen/store/store_state.hpp"

namespace vmsg::mock {

// --- The public face.

StoreEngine::StoreEngine(Sink sink, Limits limits)
    : state_(std::make_unique<store::State>(std::move(sink), limits)) {}

StoreEngine::~StoreEngine() = default;

void StoreEngine::connect(ConnectionId id, std::uint16_t domid) {
  if (state_->by_id_.contains(id)) return;
  store::Connection& connection = state_->connections_.emplace_back();
  connection.id = id;
  connection.domid = domid;
  state_->by_id_.emplace(id, std::prev(state_->connections_.end()));
  ++state_->domains_[domid].connections;
}

void StoreEngine::disconnect(ConnectionId id) {
  if (store::Connection* connection = state_->find_connection(id)) state_->close(*connection);
}

bool StoreEngine::receive(ConnectionId id, std::span<const std::byte> bytes) {
  store::Connection* connection = state_->find_connection(id);
  if (connection == nullptr) return true;

  std::vector<std::byte>& partial = connection->partial;
  const bool resumes = !partial.empty();
  if (resumes) {
    partial.insert(partial.end(), bytes.begin(), bytes.end());
    bytes = partial;
  }
  const std::optional<std::size_t> consumed = state_->consume(*connection, bytes);
  if (!consumed) {
    state_->close(*connection);
    return false;
  }
  if (resumes) {
    partial.erase(partial.begin(), partial.begin() + static_cast<std::ptrdiff_t>(*consumed));
  } else {
    partial.assign(bytes.begin() + static_cast<std::ptrdiff_t>(*consumed), bytes.end());
  }
  return true;
}

void StoreEngine::set_blocked(ConnectionId id, bool blocked) {
  store::Connection* connection = state_->find_connection(id);
  if (connection == nullptr) return;
  connection->is_blocked = blocked;
  if (blocked) return;
  for (const std::vector<std::byte>& message : connection->waiting) state_->sink_(id, message);
  connection->waiting.clear();
}

void StoreEngine::domain_introduced(std::uint16_t domid) { state_->introduce(domid); }

void StoreEngine::domain_released(std::uint16_t domid) { state_->release(domid); }

void StoreEngine::populate_home(std::uint16_t domid, bool driver_domain) {
  const std::string home = store::home_path(domid);
  const store::Permissions readable = {{.domid = 0},
                                       {.domid = domid, .access = store::kAccessRead}};
  const store::Permissions owned = {{.domid = domid}};
  const auto make = [&](const std::string& path, const store::Permissions& permissions,
                        std::string value = {}) {
    state_->tree_.make(path, permissions, std::move(value));
    state_->fire(nullptr, {.path = path});
  };

  if (domid == 0) {
    make(home + "/domid", owned, "0");
    make(home + "/name", owned, "Domain-0");
    return;
  }
  state_->domains_[domid].has_home = true;
  make(home, readable);
  for (const char* name : {"cpu", "memory", "device", "control"}) {
    make(home + "/" + name, readable);
  }
  for (const char* name :
       {"control/shutdown", "control/feature-poweroff", "control/feature-reboot",
        "control/feature-suspend", "control/sysrq", "device/suspend/event-channel", "data",
        "drivers", "feature", "attr", "error"}) {
    make(home + "/" + name, owned);
  }
  if (driver_domain) {
    make(home + "/libxl", owned);
    make(home + "/device-model", owned);
  }
  make(home + "/domid", readable, std::to_string(domid));
}

StoreCounters StoreEngine::counters(std::uint16_t domid) const {
  StoreCounters counters;
  counters.nodes_owned = state_->tree_.owned_by(domid);
  if (const auto found = state_->domains_.find(domid); found != state_->domains_.end()) {
    const store::Domain& domain = found->second;
    counters.operations = domain.operations;
    counters.errors = domain.errors;
    counters.watches_fired = domain.watches_fired;
    counters.watches = domain.watches;
    counters.transactions = domain.transactions;
    counters.connections = domain.connections;
  }
  return counters;
}

StoreLeftovers StoreEngine::what_is_left(std::uint16_t domid) const {
  StoreLeftovers left;
  for (const store::Connection& connection : state_->connections_) {
    if (connection.domid != domid) continue;
    ++left.connections;
    left.transactions += connection.transactions.size();
    for (const store::Watch& watch : connection.watches) {
      left.watches.push_back(watch.path + " " + watch.token);
    }
  }
  return left;
}

std::vector<std::string> StoreEngine::inconsistencies() const {
  std::vector<std::string> wrong = state_->tree_.inconsistencies();
  for (const auto& [domid, domain] : state_->domains_) {
    const StoreLeftovers left = what_is_left(domid);
    if (left.connections != domain.connections || left.transactions != domain.transactions ||
        left.watches.size() != domain.watches) {
      wrong.push_back("domain " + std::to_string(domid) + ": the counts are not what is there");
    }
  }
  return wrong;
}

std::vector<std::uint16_t> StoreEngine::domains() const {
  std::vector<std::uint16_t> ids;
  for (const auto& [domid, domain] : state_->domains_) ids.push_back(domid);
  return ids;
}

namespace store {
namespace {

std::string_view error_name(Errno error) {
  const auto* found =
      std::ranges::find_if(xsd_errors, [&](const auto& known) { return known.errnum == error; });
  return found == std::end(xsd_errors) ? "EINVAL" : found->errstring;
}

// A C string's bytes with its terminator.
std::string_view with_nul(std::string_view literal) { return {literal.data(), literal.size() + 1}; }

}  // namespace

// --- Connections and framing.

State::State(Sink sink, Limits limits) : sink_(std::move(sink)), limits_(limits) {
  const Permissions privileged_only = {{.domid = 0}};
  domains_[0].is_introduced = true;
  tree_.make("/", privileged_only);
  tree_.make("/tool/xenstored", privileged_only);
  special_.emplace("@introduceDomain", privileged_only);
  special_.emplace("@releaseDomain", privileged_only);
}

Connection* State::find_connection(ConnectionId id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &*found->second;
}

void State::close(Connection& connection) {
  drop_watches(connection);
  drop_transactions(connection);
  --domains_[connection.domid].connections;
  const auto found = by_id_.find(connection.id);
  connections_.erase(found->second);
  by_id_.erase(found);
}

std::optional<std::size_t> State::consume(Connection& connection,
                                          std::span<const std::byte> bytes) {
  std::size_t consumed = 0;
  while (bytes.size() - consumed >= sizeof(xsd_sockmsg)) {
    const std::span<const std::byte> rest = bytes.subspan(consumed);
    std::memcpy(&connection.header, rest.data(), sizeof(xsd_sockmsg));
    const std::size_t length = connection.header.len;
    if (length > XENSTORE_PAYLOAD_MAX) return std::nullopt;
    if (rest.size() < sizeof(xsd_sockmsg) + length) break;

    // SAFETY: bytes as characters; the span is at least so long.
    const auto* text =
        reinterpret_cast<const char*>(  // NOLINT(cppcoreguidelines-pro-type-reinterpret-cast)
            rest.data() + sizeof(xsd_sockmsg));
    Domain& domain = domains_[connection.domid];
    ++domain.operations;
    if (const Errno error = handle(connection, {text, length}); error != 0) {
      ++domain.errors;
      send(connection, XS_ERROR, connection.header.req_id, connection.header.tx_id,
           with_nul(error_name(error)));
    }
    consumed += sizeof(xsd_sockmsg) + length;
  }
  return consumed;
}

void State::send(Connection& connection, std::uint32_t type, std::uint32_t request,
                 std::uint32_t transaction, std::string_view payload) {
  const xsd_sockmsg header = {.type = type,
                              .req_id = request,
                              .tx_id = transaction,
                              .len = static_cast<std::uint32_t>(payload.size())};
  out_.resize(sizeof header + payload.size());
  std::memcpy(out_.data(), &header, sizeof header);
  if (!payload.empty()) std::memcpy(out_.data() + sizeof header, payload.data(), payload.size());
  if (!connection.is_blocked) {
    sink_(connection.id, out_);
    return;
  }
  if (type == XS_WATCH_EVENT &&
      std::ranges::find(connection.waiting, out_) != connection.waiting.end())
    return;
  connection.waiting.push_back(out_);
}

// --- Domains.

bool State::exists(std::uint32_t domid) const {
  return domid <= UINT16_MAX && domains_.contains(static_cast<DomId>(domid));
}

void State::introduce(DomId domid) {
  Domain& domain = domains_[domid];
  if (std::exchange(domain.is_introduced, true)) return;
  fire_special("@introduceDomain");
}

void State::release(DomId domid) {
  if (domid == 0) return;
  const auto found = domains_.find(domid);
  if (found == domains_.end()) return;
  for (Connection& connection : connections_) {
    if (connection.domid != domid) continue;
    drop_watches(connection);
    drop_transactions(connection);
  }
  // libxl removes the home of a domain before the domain itself, and its watchers are told.
  const std::string home = home_path(domid);
  if (std::exchange(found->second.has_home, false) && tree_.find(home) != nullptr) {
    remove(nobody_, home);
  }
  for (const std::string& path : tree_.owned_tops(domid)) remove(nobody_, path);
  tree_.void_permissions(domid);
  for (auto& [other, domain] : domains_) {
    if (domain.target == domid) domain.target.reset();
  }
  if (found->second.connections == 0) {
    domains_.erase(found);
  } else {
    found->second.is_introduced = false;
    found->second.target.reset();
  }
  fire_special("@releaseDomain");
}

}  // namespace store
}  // namespace vmsg::mock
