#include "tests/mock-xen/store/store_tree.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "tests/mock-xen/store/store_path.hpp"

namespace vmsg::mock::store {

void Node::add_child(std::string_view name) { children.append(name).push_back('\0'); }

void Node::remove_child(std::string_view name) {
  for (std::size_t at = 0; at < children.size();) {
    const std::size_t end = children.find('\0', at);
    if (std::string_view(children).substr(at, end - at) == name) {
      children.erase(at, end - at + 1);
      return;
    }
    at = end + 1;
  }
}

const Node* Tree::find(std::string_view path) const {
  const auto found = nodes_.find(path);
  return found == nodes_.end() ? nullptr : &found->second;
}

void Tree::put(std::string_view path, Node node) {
  node.generation = ++generation_;
  count(node.owner(), +1);
  if (const auto found = nodes_.find(path); found != nodes_.end()) {
    count(found->second.owner(), -1);
    found->second = std::move(node);
  } else {
    nodes_.emplace(path, std::move(node));
  }
}

void Tree::erase(std::string_view path) {
  const auto found = nodes_.find(path);
  if (found == nodes_.end()) return;
  count(found->second.owner(), -1);
  nodes_.erase(found);
}

void Tree::make(std::string_view path, const Permissions& permissions, std::string value) {
  std::vector<std::string_view> missing;
  std::string_view above = path;
  while (find(above) == nullptr && above != "/") {
    missing.push_back(above);
    above = parent_path(above);
  }
  for (; !missing.empty(); missing.pop_back()) {
    Node parent;
    if (const Node* existing = find(parent_path(missing.back()))) parent = *existing;
    Node node;
    node.permissions = parent.permissions;
    parent.add_child(base_name(missing.back()));
    put(parent_path(missing.back()), std::move(parent));
    put(missing.back(), std::move(node));
  }
  Node node;
  if (const Node* existing = find(path)) node.children = existing->children;
  node.permissions = permissions;
  node.value = std::move(value);
  put(path, std::move(node));
}

std::uint64_t Tree::owned_by(std::uint32_t domid) const {
  const auto found = owned_.find(domid);
  return found == owned_.end() ? 0 : found->second;
}

void Tree::count(std::uint32_t owner, std::int64_t change) {
  std::uint64_t& owned = owned_[owner];
  owned += static_cast<std::uint64_t>(change);
}

std::vector<std::string> Tree::owned_tops(std::uint32_t domid) const {
  std::vector<std::string> tops;
  if (owned_by(domid) == 0) return tops;
  std::vector<std::string> pending = {"/"};
  while (!pending.empty()) {
    const std::string path = std::move(pending.back());
    pending.pop_back();
    const Node* node = find(path);
    if (path != "/" && node->owner() == domid) {
      tops.push_back(path);
      continue;
    }
    const std::string prefix = path == "/" ? path : path + "/";
    const std::size_t first = pending.size();
    for (const std::string_view name : strings_of(node->children)) {
      pending.push_back(prefix + std::string(name));
    }
    std::reverse(pending.begin() + static_cast<std::ptrdiff_t>(first), pending.end());
  }
  return tops;
}

void Tree::void_permissions(std::uint32_t domid) {
  for (auto& [path, node] : nodes_) {
    for (Permission& permission : node.permissions) {
      if (permission.domid == domid) permission.is_void = true;
    }
    if (node.owner() != domid) continue;
    count(domid, -1);
    count(0, +1);
    node.permissions.front().domid = 0;
  }
}

std::vector<std::string> Tree::inconsistencies() const {
  std::vector<std::string> wrong;
  std::map<std::uint32_t, std::uint64_t> owned;
  std::size_t listed = 1;  // the root is nobody's child
  for (const auto& [path, node] : nodes_) {
    ++owned[node.owner()];
    const std::string prefix = path == "/" ? path : path + "/";
    for (const std::string_view name : strings_of(node.children)) {
      ++listed;
      if (find(prefix + std::string(name)) == nullptr) {
        wrong.push_back(prefix + std::string(name) + ": listed, but not there");
      }
    }
  }
  if (listed != nodes_.size()) {
    wrong.push_back(std::to_string(nodes_.size()) + " nodes, but " + std::to_string(listed) +
                    " listed");
  }
  for (const auto& [domid, count] : owned_) {
    if (owned[domid] != count) wrong.push_back("nodes of domain " + std::to_string(domid));
  }
  return wrong;
}

}  // namespace vmsg::mock::store
