#include "tests/mock-xen/store/store_tree.hpp"

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
  Node node;
  if (const Node* old = find(path)) node.children = old->children;
  node.permissions = permissions;
  node.value = std::move(value);
  bool is_new = find(path) == nullptr;
  put(path, std::move(node));
  while (is_new && path != "/") {
    const std::string_view above = parent_path(path);
    const Node* old = find(above);
    is_new = old == nullptr;
    Node parent;
    if (is_new) {
      parent.permissions = permissions;
    } else {
      parent = *old;
    }
    parent.add_child(base_name(path));
    put(above, std::move(parent));
    path = above;
  }
}

std::uint64_t Tree::owned_by(std::uint32_t domid) const {
  const auto found = owned_.find(domid);
  return found == owned_.end() ? 0 : found->second;
}

void Tree::count(std::uint32_t owner, std::int64_t change) {
  std::uint64_t& owned = owned_[owner];
  owned += static_cast<std::uint64_t>(change);
}

void Tree::forget_domain(std::uint32_t domid) {
  std::vector<std::string> tops;
  for (auto& [path, node] : nodes_) {
    for (Permission& permission : node.permissions) {
      if (permission.domid == domid && &permission != &node.permissions.front()) {
        permission.is_void = true;
      }
    }
    if (node.owner() == domid) tops.push_back(path);
  }
  for (const std::string& top : tops) {
    const std::string_view parent = parent_path(top);
    if (const auto found = nodes_.find(parent); found != nodes_.end()) {
      found->second.remove_child(base_name(top));
      found->second.generation = ++generation_;
    }
  }
  std::erase_if(nodes_, [&](const auto& entry) {
    for (const std::string& top : tops) {
      if (!is_at_or_below(entry.first, top)) continue;
      count(entry.second.owner(), -1);
      return true;
    }
    return false;
  });
}

}  // namespace vmsg::mock::store
