#include "tests/mock-xen/store/store_permissions.hpp"

#include <array>
#include <cstdlib>

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
  // As strtol() with base 0: xenstored takes hexadecimal and octal as well.
  const std::string digits(text.substr(1));
  char* end = nullptr;
  permission.domid = static_cast<std::uint32_t>(std::strtol(digits.c_str(), &end, 0));
  if (*end != '\0') return std::nullopt;
  return permission;
}

std::string format_permissions(const Permissions& permissions) {
  static constexpr char kLetters[] = {'n', 'r', 'w', 'b'};
  std::string text;
  for (const Permission& permission : permissions) {
    text += kLetters[permission.access & (kAccessRead | kAccessWrite)];
    text += std::to_string(permission.domid);
    text += '\0';
  }
  return text;
}

}  // namespace vmsg::mock::store
