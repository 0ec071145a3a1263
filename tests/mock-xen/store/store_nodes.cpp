// Nodes as one request sees them: in its transaction or in the shared tree, with the permissions
// and the quotas of its domain.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "tests/mock-xen/store/store_path.hpp"
#include "tests/mock-xen/store/store_state.hpp"

namespace vmsg::mock::store {

Result<std::string_view, Errno> State::absolute(const Connection& connection, std::string_view path,
                                                std::string& scratch) const {
  if (!path.starts_with('/') && !is_special_path(path)) {
    scratch = home_path(connection.domid);
    scratch.append("/").append(path);
    path = scratch;
  }
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
    std::int64_t owned = static_cast<std::int64_t>(tree_.owned_by(connection.domid));
    if (connection.transaction != nullptr) {
      owned += connection.transaction->owned_change(connection.domid);
    }
    if (owned + static_cast<std::int64_t>(missing.size()) >
        static_cast<std::int64_t>(limits_.nodes_per_domain)) {
      return ENOSPC;
    }
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

  // All paths first, children behind their parents; removed from the end of the list.
  std::vector<std::string> doomed = {std::string(path)};
  for (std::size_t i = 0; i < doomed.size(); ++i) {
    const Result<const Node*, Errno> node = read(connection, doomed[i]);
    if (!node) return node.error() == ENOENT ? EIO : node.error();
    const std::string children = (*node)->children;
    for (std::size_t at = 0; at < children.size();) {
      const std::size_t end = children.find('\0', at);
      doomed.push_back(doomed[i] + "/" + children.substr(at, end - at));
      at = end + 1;
    }
  }
  for (auto name = doomed.rbegin(); name != doomed.rend(); ++name) {
    fire(&connection, {.path = *name, .exactly = *name != path, .node = *read(connection, *name)});
    if (connection.transaction == nullptr) {
      tree_.erase(*name);
      continue;
    }
    TouchedNode& touched = connection.transaction->touch(*name, tree_);
    connection.transaction->count_owned(touched.now->owner(), -1);
    touched.now.reset();
    touched.is_modified = true;
  }
  Node changed = **read(connection, above);
  changed.remove_child(base_name(path));
  return replace(connection, above, std::move(changed));
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
