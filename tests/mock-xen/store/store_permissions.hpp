// A node's permission list: "n0 r3" means owned by domain 0, nothing for others, readable by 3.
// The first entry names the owner (who may do everything) and what domains not listed may do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmsg::mock::store {

using DomId = std::uint16_t;

enum Access : std::uint8_t {
  kAccessNone = 0,
  kAccessRead = 1,
  kAccessWrite = 2,
  kAccessOwner = 4,
};

struct Permission {
  std::uint32_t domid = 0;
  std::uint8_t access = kAccessNone;
  /// The domain did not exist when this was set, or is gone: a later domain with the same number
  /// gets nothing from it.
  bool is_void = false;
};

using Permissions = std::vector<Permission>;

/// One "n0", "r3", "w3" or "b3". Nothing if it is no such thing.
[[nodiscard]] std::optional<Permission> parse_permission(std::string_view text);

/// As on the wire: each entry terminated by NUL.
[[nodiscard]] std::string format_permissions(const Permissions& permissions);

}  // namespace vmsg::mock::store
