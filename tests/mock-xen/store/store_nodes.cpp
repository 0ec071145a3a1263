// Nodes as one request sees them: in its transaction or in the shared tree, with the permissions
// and the quotas of its domain.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "tests/mock-xen/store/store_path.hpp"
#include "tests/mock-xen/store/store_state.hpp"

namespace vmsg::mock::store {

std::string_view State::joined(const Connection& connection, std::string_view path,
                               std::string& scratch) {
  if (path.starts_with('/') || is_special_path(path)) return path;
  scratch = home_path(connection.domid);
  scratch.append("/").append(path);
  return scratch;
}

Result<std::string_view, Errno> State::absolute(const Connection& connection, std::string_view path,
                                                std::string& scratch) const {
  path = joined(connection, path, scratch);
  if (!is_valid_node_path(path, limits_.path_length)) return std::unexpected(EINVAL);
  return path;
}

std::uint8_t State::access_of(DomId domid, const Permissions& permissions) const {
  constexpr std::uint8_t kEverything = kAccessRead | kAccessWrite | kAccessOwner;
  const auto domain = domains_.find(domid);
  const auto acts_for = [&](std::uint32_t other) {
    return other == domid || (domain != domains_.end() && domain->second.target == other);
  };
  if (domid == 0 || acts_for(permissions.front().domid)) return kEverything;
  for (auto entry = permissions.begin() + 1; entry != permissions.end(); ++entry) {
    if (!entry->is_void && acts_for(entry->domid)) return entry->access;
  }
  return permissions.front().access;
}

Result<const Node*, Errno> State::read(Connection& connection, std::string_view path) {
  Transaction* transaction = connection.transaction;
  if (transaction == nullptr) {
    const Node* node = tree_.find(path);
    if (node == nullptr) return std::unexpected(ENOENT);
    return node;
  }
  if (!is_privileged(connection) && !transaction->has_touched(path) &&
      transaction->nodes_touched() >= limits_.nodes_per_transaction) {
    transaction->fail();
    return std::unexpected(ENOSPC);
  }
  const TouchedNode& touched = transaction->touch(path, tree_);
  if (!touched.now) return std::unexpected(ENOENT);
  return &*touched.now;
}

Result<const Node*, Errno> State::get(Connection& connection, std::string_view path,
                                      std::uint8_t needed) {
  const Result<const Node*, Errno> node = read(connection, path);
  Errno error = EACCES;
  if (node) {
    if ((access_of(connection.domid, (*node)->permissions) & needed) == needed) return *node;
  } else {
    error = node.error();
    if (error != ENOENT) return std::unexpected(error);
  }
  // Whether something is missing or forbidden is told to those alone who have the same access to
  // the nearest node above that exists.
  for (std::string_view above = path; above != "/";) {
    above = parent_path(above);
    const Result<const Node*, Errno> parent = read(connection, above);
    if (!parent && parent.error() != ENOENT) return std::unexpected(parent.error());
    if (!parent) continue;
    const std::uint8_t access = access_of(connection.domid, (*parent)->permissions);
    return std::unexpected((access & needed) != 0 ? error : EACCES);
  }
  return std::unexpected(EACCES);
}

Errno State::replace(Connection& connection, std::string_view path, Node node) {
  if (!is_privileged(connection) && node.size() >= limits_.node_size) return ENOSPC;
  if (connection.transaction == nullptr) {
    tree_.put(path, std::move(node));
    return 0;
  }
  TouchedNode& touched = connection.transaction->touch(path, tree_);
  connection.transaction->count_owned(node.owner(), +1);
  if (touched.now) connection.transaction->count_owned(touched.now->owner(), -1);
  touched.now = std::move(node);
  touched.is_modified = true;
  return 0;
}

Errno State::create(Connection& connection, std::string_view path, std::string_view value) {
  // From the wanted node up to the nearest one that exists.
  std::vector<std::string_view> missing = {path};
  std::string_view above = parent_path(path);
  Result<const Node*, Errno> existing = read(connection, above);
  while (!existing) {
    if (existing.error() != ENOENT) return existing.error();
    missing.push_back(above);
    above = parent_path(above);
    existing = read(connection, above);
  }
  Node parent = **existing;
  Permissions inherited = parent.permissions;
  if (!is_privileged(connection)) {
    inherited.front().domid = connection.domid;
    // What the transaction itself has added is counted at its end.
    const std::size_t added = connection.transaction == nullptr ? missing.size() : 1;
    if (tree_.owned_by(connection.domid) + added > limits_.nodes_per_domain) return ENOSPC;
  }

  // Everything that can be refused is looked at before anything changes.
  std::vector<Node> nodes(missing.size());
  for (std::size_t i = 0; i < missing.size(); ++i) {
    nodes[i].permissions = inherited;
    if (i == 0) {
      nodes[i].value = value;
    } else {
      nodes[i].add_child(base_name(missing[i - 1]));
    }
    if (!is_privileged(connection) && nodes[i].size() >= limits_.node_size) return ENOSPC;
  }
  parent.add_child(base_name(missing.back()));
  if (const Errno error = replace(connection, above, std::move(parent)); error != 0) return error;
  for (std::size_t i = 0; i < missing.size(); ++i) {
    if (const Errno error = replace(connection, missing[i], std::move(nodes[i])); error != 0) {
      return error;
    }
  }
  if (connection.transaction != nullptr) connection.transaction->note_creation();
  return 0;
}

Errno State::remove(Connection& connection, std::string_view path) {
  const std::string_view above = parent_path(path);
  const Result<const Node*, Errno> parent = read(connection, above);
  if (!parent) return parent.error() == ENOENT ? EINVAL : parent.error();

  // Each node behind its children, as they are told of and removed.
  struct Level {
    std::string path;
    std::string children;
    std::size_t next_child = 0;
  };
  std::vector<Level> levels;
  const auto descend = [&](std::string name) -> Errno {
    const Result<const Node*, Errno> node = read(connection, name);
    if (!node) return node.error();
    levels.push_back({.path = std::move(name), .children = (*node)->children});
    return 0;
  };
  Errno error = descend(std::string(path));
  while (error == 0 && !levels.empty()) {
    Level& level = levels.back();
    if (level.next_child < level.children.size()) {
      const char* child = level.children.c_str() + level.next_child;
      level.next_child = level.children.find('\0', level.next_child) + 1;
      error = descend(level.path + "/" + child);
    } else {
      remove_one(connection, level.path, levels.size() > 1);
      levels.pop_back();
    }
  }
  if (error != 0) return error;
  Node changed = **read(connection, above);
  changed.remove_child(base_name(path));
  return replace(connection, above, std::move(changed));
}

void State::remove_one(Connection& connection, std::string_view path, bool is_told_exactly) {
  // While its permissions can still be seen.
  fire(&connection, {.path = path, .exactly = is_told_exactly, .node = *read(connection, path)});
  if (connection.transaction == nullptr) {
    tree_.erase(path);
    return;
  }
  TouchedNode& touched = connection.transaction->touch(path, tree_);
  connection.transaction->count_owned(touched.now->owner(), -1);
  touched.now.reset();
  touched.is_modified = true;
}

bool State::is_over_quota(const Transaction& transaction) const {
  return std::ranges::any_of(transaction.owned_changes(), [&](const auto& entry) {
    const auto& [domid, change] = entry;
    const std::int64_t owned = static_cast<std::int64_t>(tree_.owned_by(domid)) + change;
    // One less than outside of transactions, as xenstored has it.
    return domid != 0 && owned >= static_cast<std::int64_t>(limits_.nodes_per_domain);
  });
}

Errno State::commit(Connection& connection, Transaction& transaction) {
  if (!transaction.is_current(tree_)) return EAGAIN;
  for (TouchedNode& touched : transaction.touched()) {
    if (!touched.is_modified) continue;
    if (touched.now) {
      tree_.put(touched.path, std::move(*touched.now));
    } else {
      tree_.erase(touched.path);
    }
    if (touched.fires) {
      fire(&connection,
           {.path = touched.path,
            .exactly = touched.fires_exactly,
            .before = touched.permissions_before.empty() ? nullptr : &touched.permissions_before});
    }
  }
  return 0;
}

}  // namespace vmsg::mock::store
