// What the toolstack says about a device, as text, and how a device type reads it.
//
// Reading is separate from opening anything, so that `vmsg check` and vmsgd judge alike.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "transport/result.hpp"

namespace vmsg {

using DeviceParameters = std::map<std::string, std::string, std::less<>>;

/// Reads parameters by name and remembers which were read, so that a misspelt one is an error.
/// Complaints name the parameter, its value, and what is allowed; the first one is kept.
class ParameterReader {
 public:
  struct Range {
    std::uint64_t least = 0;
    std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  };

  /// `parameters` outlives the reader.
  explicit ParameterReader(const DeviceParameters& parameters) : parameters_(parameters) {}

  [[nodiscard]] std::optional<std::string> text(std::string_view name);
  /// Complains when it is not there.
  [[nodiscard]] std::string required_text(std::string_view name);
  [[nodiscard]] std::uint64_t number(std::string_view name, std::uint64_t fallback, Range range);
  /// Bytes; the suffixes K, M, G and T stand for powers of 1024.
  [[nodiscard]] std::uint64_t size(std::string_view name, std::uint64_t fallback, Range range);
  /// on, off, yes, no, true, false, 1, 0.
  [[nodiscard]] bool flag(std::string_view name, bool fallback);
  /// The place of the value in `allowed`.
  [[nodiscard]] std::size_t choice(std::string_view name, std::size_t fallback,
                                   std::initializer_list<std::string_view> allowed);

  /// For what the reader cannot know: a value that does not fit another one.
  void complain(std::string text);

  /// The first complaint, an unknown parameter included.
  [[nodiscard]] Result<void, std::string> finish();

 private:
  [[nodiscard]] const std::string* find(std::string_view name);

  const DeviceParameters& parameters_;
  std::set<std::string, std::less<>> known_;
  std::string complaint_;
};

/// Reads a number of bytes with an optional suffix K, M, G or T.
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);

}  // namespace vmsg
