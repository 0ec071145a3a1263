#include "backend/device_catalog.hpp"

#include <fmt/format.h>

#include <charconv>
#include <set>

#include "devices/rng/rng_device.hpp"

namespace vmsg {
namespace {

using Created = Result<std::unique_ptr<ServedDevice>, std::string>;

/// Reads parameters by name and remembers which were read, so that a misspelt one is an error.
class ParameterReader {
 public:
  explicit ParameterReader(const DeviceParameters& parameters) : parameters_(parameters) {}

  std::uint64_t number(std::string_view name, std::uint64_t fallback, std::uint64_t most) {
    known_.emplace(name);
    const auto found = parameters_.find(name);
    if (found == parameters_.end()) return fallback;
    const std::string& text = found->second;
    std::uint64_t value = 0;
    const auto end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, value);
    if (parsed.ec != std::errc{} || parsed.ptr != end || value > most) {
      complain(fmt::format("{}='{}': a number from 0 to {} is allowed", name, text, most));
      return fallback;
    }
    return value;
  }

  /// The first complaint, an unknown parameter included; empty when all is well.
  [[nodiscard]] std::string finish() {
    for (const auto& [name, value] : parameters_) {
      if (!known_.contains(name)) {
        complain(fmt::format("no parameter '{}'; there are: {}", name, fmt::join(known_, ", ")));
      }
    }
    return complaint_;
  }

 private:
  void complain(std::string text) {
    if (complaint_.empty()) complaint_ = std::move(text);
  }

  const DeviceParameters& parameters_;
  std::set<std::string, std::less<>> known_;
  std::string complaint_;
};

}  // namespace

Result<std::unique_ptr<ServedDevice>, std::string> DeviceCatalog::create(
    std::string_view type, const DeviceParameters& parameters) {
  ParameterReader reader(parameters);
  if (type == "rng") {
    constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 40;
    const rng::RngOptions options{.bytes_per_second = reader.number("rate", 0, kMostBytes)};
    if (auto complaint = reader.finish(); !complaint.empty()) {
      return std::unexpected(std::move(complaint));
    }
    return std::make_unique<rng::RngDevice>(options, entropy_);
  }
  return std::unexpected(fmt::format("no device type '{}'; there are: rng", type));
}

}  // namespace vmsg
