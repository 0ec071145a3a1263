// The nodes of the store by absolute path, what everybody sees: transactions keep their own copies
// (store_transaction.hpp). Knows about generations and who owns how many nodes; knows nothing of
// permissions checks, connections or watches.
//
// A flat table rather than nested maps: a lookup is one hash of the path, and a transaction can
// shadow single nodes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tests/mock-xen/store/store_permissions.hpp"

namespace vmsg::mock::store {

inline constexpr std::uint64_t kNoGeneration = ~std::uint64_t{0};  ///< "is not there"

struct Node {
  std::string value;
  std::string children;  ///< names in order of creation, each terminated by NUL: the wire's format
  Permissions permissions;
  std::uint64_t generation = 0;

  [[nodiscard]] std::uint32_t owner() const { return permissions.front().domid; }
  /// What xenstored's quota counts: its record header, permissions, value and names.
  [[nodiscard]] std::size_t size() const {
    return 24 + 8 * permissions.size() + value.size() + children.size();
  }
  void add_child(std::string_view name);
  void remove_child(std::string_view name);
};

struct PathHash {
  using is_transparent = void;  // NOLINT(readability-identifier-naming): the library's name
  std::size_t operator()(std::string_view path) const {
    return std::hash<std::string_view>{}(path);
  }
};

template <typename T>
using PathMap = std::unordered_map<std::string, T, PathHash, std::equal_to<>>;

class Tree {
 public:
  /// Valid until the node is changed.
  [[nodiscard]] const Node* find(std::string_view path) const;

  /// Adds or replaces; gives the node a new generation.
  void put(std::string_view path, Node node);
  void erase(std::string_view path);
  /// The node with these permissions and value; what is missing above it inherits permissions from
  /// the node above.
  void make(std::string_view path, const Permissions& permissions, std::string value = {});

  [[nodiscard]] std::uint64_t owned_by(std::uint32_t domid) const;

  /// The nodes it owns that are not below another node it owns, in the order of a walk from the
  /// root. The root is never one of them.
  [[nodiscard]] std::vector<std::string> owned_tops(std::uint32_t domid) const;

  /// Permissions that name the domain stand for nothing any more. A root that it owned is domain
  /// 0's again.
  void void_permissions(std::uint32_t domid);

  [[nodiscard]] std::vector<std::string> inconsistencies() const;

 private:
  void count(std::uint32_t owner, std::int64_t change);

  PathMap<Node> nodes_;
  std::map<std::uint32_t, std::uint64_t> owned_;
  std::uint64_t generation_ = 0;
};

}  // namespace vmsg::mock::store
