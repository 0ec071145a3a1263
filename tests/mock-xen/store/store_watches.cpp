// Who is told what: matching changes with watches, and who may know.
#include <algorithm>
#include <utility>

#include "tests/mock-xen/store/store_path.hpp"
#include "tests/mock-xen/store/store_state.hpp"

namespace vmsg::mock::store {

void State::fire(Connection* by, const Change& change) {
  if (by != nullptr && by->transaction != nullptr) {
    by->transaction->fire_later(change.path, change.exactly);
    return;
  }
  for (Connection& watcher : connections_) {
    std::optional<bool> sees;  // looked up for the first watch that matches
    for (const Watch& watch : watcher.watches) {
      const bool matches =
          change.exactly ? change.path == watch.path : is_at_or_below(change.path, watch.path);
      if (!matches) continue;
      if (!sees) sees = may_see(watcher, change);
      if (!*sees) break;
      send_event(watcher, watch, change.path);
    }
  }
}

void State::fire_special(std::string_view name) {
  const auto permissions = special_.find(name);
  for (Connection& watcher : connections_) {
    if ((access_of(watcher.domid, permissions->second) & kAccessRead) == 0) continue;
    for (const Watch& watch : watcher.watches) {
      if (watch.path == name) send_event(watcher, watch, name);
    }
  }
}

bool State::may_see(const Connection& watcher, const Change& change) const {
  const auto can_read = [&](const Permissions& permissions) {
    return (access_of(watcher.domid, permissions) & kAccessRead) != 0;
  };
  if (change.before != nullptr && can_read(*change.before)) return true;
  const Node* node = change.node != nullptr ? change.node : tree_.find(change.path);
  if (node == nullptr) return false;
  if (can_read(node->permissions)) return true;
  // Who can list the parent knows of the node anyway.
  if (change.path == "/") return false;
  const Node* parent = tree_.find(parent_path(change.path));
  return parent != nullptr && can_read(parent->permissions);
}

void State::send_event(Connection& connection, const Watch& watch, std::string_view path) {
  if (watch.cut != 0) {
    path.remove_prefix(watch.cut);
    if (path.starts_with('/')) path.remove_prefix(1);
  }
  std::string payload;
  payload.reserve(path.size() + watch.token.size() + 2);
  payload.append(path).push_back('\0');
  payload.append(watch.token).push_back('\0');
  if (payload.size() > XENSTORE_PAYLOAD_MAX) return;
  ++domains_[connection.domid].watches_fired;
  send(connection, XS_WATCH_EVENT, 0, 0, payload);
}

void State::drop_watches(Connection& connection) {
  domains_[connection.domid].watches -= connection.watches.size();
  connection.watches.clear();
}

void State::drop_transactions(Connection& connection) {
  domains_[connection.domid].transactions -= connection.transactions.size();
  connection.transactions.clear();
}

}  // namespace vmsg::mock::store
