// One open transaction: private copies of every node it touched, and what the shared tree said
// about each when it was first touched, so that the end can tell whether anybody interfered.
//
// There is no snapshot: a node is copied when the transaction first looks at it. A transaction that
// mixes old and new in this way fails at its end, since one of the nodes has changed.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "tests/mock-xen/store/store_tree.hpp"

namespace vmsg::mock::store {

struct TouchedNode {
  std::string path;
  std::optional<Node> now;  ///< as the transaction sees it; empty: not there
  std::uint64_t generation_before = kNoGeneration;
  Permissions permissions_before;  ///< empty if it was not there
  bool is_modified = false;
  bool fires = false;
  bool fires_exactly = false;  ///< only watches on this very node
};

class Transaction {
 public:
  explicit Transaction(std::uint32_t id) : id_(id) {}

  [[nodiscard]] std::uint32_t id() const { return id_; }
  [[nodiscard]] std::size_t nodes_touched() const { return touched_.size(); }
  [[nodiscard]] bool has_touched(std::string_view path) const;

  /// The transaction's own view of the node; the first touch takes it from the tree.
  [[nodiscard]] TouchedNode& touch(std::string_view path, const Tree& tree);

  /// To be told to watchers if and when the transaction is committed.
  void fire_later(std::string_view path, bool exactly);

  /// Nodes that domains gained (or, below zero, lost) in here.
  [[nodiscard]] const std::map<std::uint32_t, std::int64_t>& owned_changes() const {
    return owned_change_;
  }
  void count_owned(std::uint32_t domid, std::int64_t change) { owned_change_[domid] += change; }

  [[nodiscard]] bool created_nodes() const { return created_nodes_; }
  void note_creation() { created_nodes_ = true; }

  /// It can only be aborted any more.
  void fail() { has_failed_ = true; }
  [[nodiscard]] bool has_failed() const { return has_failed_; }

  /// True if nothing that was touched has changed in the tree since.
  [[nodiscard]] bool is_current(const Tree& tree) const;

  /// In order of first touch: the order of changes and watch events at commit.
  [[nodiscard]] std::deque<TouchedNode>& touched() { return touched_; }

 private:
  std::uint32_t id_;
  std::deque<TouchedNode> touched_;  // a deque: by_path_ points into it
  PathMap<TouchedNode*> by_path_;
  std::map<std::uint32_t, std::int64_t> owned_change_;
  bool created_nodes_ = false;
  bool has_failed_ = false;
};

}  // namespace vmsg::mock::store
