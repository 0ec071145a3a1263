#include "tests/mock-xen/store/store_path.hpp"

#include <algorithm>
#include <cctype>

namespace vmsg::mock::store {
namespace {

constexpr std::string_view kDomains = "/local/domain/";

constexpr bool is_path_character(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '/' || c == '_' || c == '@';
}

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Length of a leading "/local/domain/<up to five digits>/", 0 without one.
std::size_t home_prefix_length(std::string_view path) {
  if (!path.starts_with(kDomains)) return 0;
  std::size_t end = kDomains.size();
  const std::size_t first_digit = end;
  while (end < path.size() && end < first_digit + 5 && is_digit(path[end])) ++end;
  if (end == first_digit || end == path.size() || path[end] != '/') return 0;
  return end + 1;
}

}  // namespace

std::string home_path(std::uint32_t domid) {
  return std::string(kDomains).append(std::to_string(domid));
}

bool is_valid_node_path(std::string_view path, std::size_t max_length) {
  if (!path.starts_with('/')) return false;
  if (path.size() > 1 && path.ends_with('/')) return false;
  if (path.find("//") != std::string_view::npos) return false;
  if (path.size() > home_prefix_length(path) + max_length) return false;
  return std::ranges::all_of(path, is_path_character);
}

std::string_view parent_path(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string_view::npos ? std::string_view("/")
                                                       : path.substr(0, slash);
}

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::vector<std::string_view> strings_of(std::string_view list) {
  std::vector<std::string_view> strings;
  for (std::size_t end = list.find('\0'); end != std::string_view::npos; end = list.find('\0')) {
    strings.push_back(list.substr(0, end));
    list.remove_prefix(end + 1);
  }
  return strings;
}

bool is_at_or_below(std::string_view path, std::string_view top) {
  if (top == "/") return true;
  return path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/');
}

}  // namespace vmsg::mock::store
