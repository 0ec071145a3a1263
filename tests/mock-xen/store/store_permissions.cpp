#include "tests/mock-xen/store/store_permissions.hpp"

#include <charconv>

namespace vmsg::mock::store {

std::optional<Permission> parse_permission(std::string_view text) {
  if (text.size() < 2) return std::nullopt;
  Permission permission;
  switch (text.front()) {
    case 'n':
      permission.access = kAccessNone;
      break;
    case 'r':
      permission.access = kAccessRead;
      break;
    case 'w':
      permission.access = kAccessWrite;
      break;
    case 'b':
      permission.access = kAccessRead | kAccessWrite;
      break;
    default:
      return std::nullopt;
  }
  const std::string_view digits = text.substr(1);
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), permission.domid);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return permission;
}

std::string format_permissions(const Permissions& permissions) {
  static constexpr char kLetters[] = {'n', 'r', 'w', 'b'};
  std::string text;
  for (const Permission& permission : permissions) {
    if (permission.is_void) continue;
    text += kLetters[permission.access & (kAccessRead | kAccessWrite)];
    text += std::to_string(permission.domid);
    text += '\0';
  }
  return text;
}

}  // namespace vmsg::mock::store
