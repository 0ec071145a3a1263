// Numbers of virtio in the words of the specification, for people.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace vmsg::tool {

/// "BLK_RO, VERSION_1, bit 60".
[[nodiscard]] std::string feature_words(std::string_view type, std::uint64_t features);

/// "1.5 ms", "830 ns".
[[nodiscard]] std::string duration_words(double nanoseconds);
/// "1.5 MiB".
[[nodiscard]] std::string size_words(double bytes);

/// A member of an answer of the daemon as text; '-' when it is missing.
[[nodiscard]] std::string member_text(const nlohmann::json& object, std::string_view key);
/// A member that is a number; 0 when it is missing.
[[nodiscard]] double member_number(const nlohmann::json& object, std::string_view key);
/// A member that is an object or a list; an empty one when it is missing.
[[nodiscard]] nlohmann::json member(const nlohmann::json& object, std::string_view key);

}  // namespace vmsg::tool
