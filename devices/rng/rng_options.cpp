#include "devices/rng/rng_options.hpp"

namespace vmsg::rng {

Result<RngOptions, std::string> parse_options(const DeviceParameters& parameters) {
  constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 40;
  ParameterReader reader(parameters);
  const RngOptions options{.bytes_per_second = reader.size("rate", 0, {.most = kMostBytes})};
  if (auto read = reader.finish(); !read) return std::unexpected(read.error());
  return options;
}

}  // namespace vmsg::rng
