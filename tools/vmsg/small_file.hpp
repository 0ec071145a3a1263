// Files that people write, read as a whole: regular ones of a sane size.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "transport/result.hpp"

namespace vmsg::tool {

constexpr std::size_t kMaxSmallFile = std::size_t{1} << 20;

/// The error is words without the file's name: "no such file or directory".
[[nodiscard]] Result<std::string, std::string> read_small_file(const std::string& file);

/// errno in words, as strerror() has them.
[[nodiscard]] std::string words_of_errno(int error);

/// Text of somebody else's for a terminal or a log: control characters and bytes that are no ASCII
/// become '?', and what is longer than `most` is cut.
[[nodiscard]] std::string printable(std::string_view text, std::size_t most = 512);

}  // namespace vmsg::tool
