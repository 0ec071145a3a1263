// Xenstore over libxenstore: nodes, permissions, transactions. Calls are round trips to xenstored
// and block for that long: control thread only, never on the data path.
//
// Everything read is bounded; what xenstore holds was written by others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "xenbus-glue/store_path.hpp"
#include "xenbus-glue/xen_types.hpp"

namespace vmsg::xen {

enum class StoreAccess : std::uint8_t { kNone = 0, kRead = 1, kWrite = 2, kReadWrite = 3 };

/// Who may do what with a node: its owner (who may do everything), everybody else, and exceptions.
struct Permissions {
  struct Entry {
    DomainId domain = 0;
    StoreAccess access = StoreAccess::kNone;
    friend bool operator==(const Entry&, const Entry&) = default;
  };

  DomainId owner = 0;
  StoreAccess others = StoreAccess::kNone;
  std::vector<Entry> entries;

  static Permissions owned_by(DomainId owner) { return {.owner = owner, .entries = {}}; }
  [[nodiscard]] Permissions readable_by(DomainId domain) && {
    entries.push_back({domain, StoreAccess::kRead});
    return std::move(*this);
  }

  friend bool operator==(const Permissions&, const Permissions&) = default;
};

/// The operations that exist both outside and inside of a transaction. Functions that work in
/// either take a StoreOps&.
class StoreOps {
 public:
  static constexpr std::size_t kMaxValue = 4096;  // a node holds no more
  static constexpr std::size_t kMaxChildren = 4096;

  StoreOps(const StoreOps&) = delete;
  StoreOps& operator=(const StoreOps&) = delete;

  /// ENOENT when there is no such node; E2BIG when its value is longer than `max_bytes`.
  [[nodiscard]] Result<std::string, XenError> read(const Path& path,
                                                   std::size_t max_bytes = kMaxValue);
  /// As read(), with absence as a value.
  [[nodiscard]] Result<std::optional<std::string>, XenError> find(
      const Path& path, std::size_t max_bytes = kMaxValue);

  /// Creates the node, and its parents, when absent.
  [[nodiscard]] Result<void, XenError> write(const Path& path, std::string_view value);
  [[nodiscard]] Result<void, XenError> write_number(const Path& path, std::uint64_t value);

  /// The node and everything below. Absence is success.
  [[nodiscard]] Result<void, XenError> remove(const Path& path);
  /// An existing node is success.
  [[nodiscard]] Result<void, XenError> make_directory(const Path& path);
  [[nodiscard]] Result<bool, XenError> exists(const Path& path);

  /// Names of the children that are well-formed; an absent node has none. E2BIG past
  /// `max_children`.
  [[nodiscard]] Result<std::vector<std::string>, XenError> list(
      const Path& path, std::size_t max_children = kMaxChildren);
  /// The children that are decimal numbers up to `max`, sorted; others are passed over.
  [[nodiscard]] Result<std::vector<std::uint32_t>, XenError> list_numbers(const Path& path,
                                                                          std::uint32_t max);

  [[nodiscard]] Result<Permissions, XenError> permissions(const Path& path);
  [[nodiscard]] Result<void, XenError> set_permissions(const Path& path,
                                                       const Permissions& permissions);

 protected:
  struct Connection;
  StoreOps(Connection* connection, std::uint32_t transaction)
      : connection_(connection), transaction_(transaction) {}
  ~StoreOps() = default;

  Connection* connection_;
  std::uint32_t transaction_;  // 0 for none
};

/// A transaction in progress: see Store::transact(). Not kept after the function returned.
class Transaction final : public StoreOps {
 private:
  friend class Store;
  Transaction(Connection* connection, std::uint32_t id) : StoreOps(connection, id) {}
};

/// One connection to xenstored.
class Store final : public StoreOps {
 public:
  static Result<std::unique_ptr<Store>, XenError> open();
  ~Store();

  /// Runs `work` in a transaction and commits when it succeeded; an error of `work` aborts it and
  /// is returned. A conflict runs `work` again, at most `max_attempts` times in all: EAGAIN then.
  /// So `work` must be repeatable, and short.
  [[nodiscard]] Result<void, XenError> transact(
      const std::function<Result<void, XenError>(Transaction&)>& work, unsigned max_attempts = 32);

  /// The number of this domain, from its own home.
  [[nodiscard]] Result<DomainId, XenError> own_domain();

  /// Whether xenstored knows the domain (it is running, or has not been released yet). Only
  /// privileged domains may ask: EACCES in a driver domain.
  [[nodiscard]] Result<bool, XenError> is_domain_introduced(DomainId domain);

  /// Transactions that conflicted and were run again.
  [[nodiscard]] std::uint64_t transaction_retries() const { return retries_; }

 private:
  friend class Watches;
  explicit Store(std::unique_ptr<Connection> connection);

  std::unique_ptr<Connection> owned_;
  std::uint64_t retries_ = 0;
};

}  // namespace vmsg::xen
