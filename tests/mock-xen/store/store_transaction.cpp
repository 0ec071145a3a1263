#include "tests/mock-xen/store/store_transaction.hpp"

#include <algorithm>

namespace vmsg::mock::store {

bool Transaction::has_touched(std::string_view path) const { return by_path_.contains(path); }

TouchedNode& Transaction::touch(std::string_view path, const Tree& tree) {
  if (const auto found = by_path_.find(path); found != by_path_.end()) return *found->second;
  TouchedNode& touched = touched_.emplace_back();
  touched.path = path;
  if (const Node* node = tree.find(path)) {
    touched.now = *node;
    touched.generation_before = node->generation;
    touched.permissions_before = node->permissions;
  }
  by_path_.emplace(touched.path, &touched);
  return touched;
}

void Transaction::fire_later(std::string_view path, bool exactly) {
  const auto found = by_path_.find(path);
  if (found == by_path_.end()) return;
  found->second->fires = true;
  found->second->fires_exactly = exactly;
}

bool Transaction::is_current(const Tree& tree) const {
  return std::ranges::all_of(touched_, [&](const TouchedNode& touched) {
    const Node* node = tree.find(touched.path);
    return (node == nullptr ? kNoGeneration : node->generation) == touched.generation_before;
  });
}

}  // namespace vmsg::mock::store
