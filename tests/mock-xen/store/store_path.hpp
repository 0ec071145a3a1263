// Paths of the store: what is a valid one, and how two of them relate; and lists of strings as
// the protocol has them. Text only; whether a node exists is none of this file's business.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vmsg::mock::store {

/// "/local/domain/<domid>", what a relative path of that domain is relative to.
[[nodiscard]] std::string home_path(std::uint32_t domid);

/// Absolute, of the permitted characters, no empty component, no slash at the end (but "/" itself)
/// and not longer than `max_length`, where a leading "/local/domain/<n>/" is not counted.
[[nodiscard]] bool is_valid_node_path(std::string_view path, std::size_t max_length);

/// "@introduceDomain" and the like.
[[nodiscard]] constexpr bool is_special_path(std::string_view path) {
  return path.starts_with('@');
}

/// "/a/b" -> "/a", "/a" -> "/". The parent of "/" is "/".
[[nodiscard]] std::string_view parent_path(std::string_view path);

/// "/a/b" -> "b".
[[nodiscard]] std::string_view base_name(std::string_view path);

/// The strings of a list in which each is terminated by NUL, without their NULs. Bytes behind the
/// last NUL are no string.
[[nodiscard]] std::vector<std::string_view> strings_of(std::string_view list);

/// Is `path` the node `top` or one below it?
[[nodiscard]] bool is_at_or_below(std::string_view path, std::string_view top);

}  // namespace vmsg::mock::store
