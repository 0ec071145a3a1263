// Internal to this folder: words for people in a node.
#pragma once

#include <string>
#include <string_view>

namespace vmsg::xen {

/// At most 256 printable ASCII characters; anything else becomes '?'.
[[nodiscard]] inline std::string one_line(std::string_view words) {
  constexpr std::size_t kMax = 256;
  std::string line(words.substr(0, kMax));
  for (char& c : line) {
    if (c < ' ' || c > '~') c = '?';
  }
  return line;
}

}  // namespace vmsg::xen
