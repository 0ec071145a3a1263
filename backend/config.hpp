// /etc/vmsg/vmsgd.toml. Every key has a default, so the file may be absent or empty; a key that
// does not exist or a value that cannot be is an error with its line, never a guess.
//
// packaging/vmsgd.toml documents every key; a test compares the two.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "backend/limits.hpp"
#include "transport/result.hpp"

namespace vmsg {

inline constexpr const char* kDefaultConfigFile = "/etc/vmsg/vmsgd.toml";

struct Config {
  unsigned workers = 1;
  std::string log_level = "info";
  std::string socket = "/run/vmsg/vmsgd.sock";
  std::string metrics_listen;                // see metrics_address.hpp
  std::string scripts = "/etc/xen/scripts";  // where scripts of network devices may be
  Limits limits;
};

/// Lines for the administrator, each "FILE:LINE: KEY: what is wrong; what is allowed".
using ConfigErrors = std::vector<std::string>;

[[nodiscard]] Result<Config, ConfigErrors> parse_config(std::string_view text,
                                                        std::string_view file_name);
[[nodiscard]] Result<Config, ConfigErrors> read_config(const std::string& file_name);

/// All keys, as "limits.buses_per_guest".
[[nodiscard]] std::vector<std::string> config_keys();

}  // namespace vmsg
