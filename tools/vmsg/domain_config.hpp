// The xl configuration of a guest, as far as it concerns us: its name and its devices. Read with
// libxlutil, the parser that xl itself uses, so that both always understand the same file.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "transport/result.hpp"

namespace vmsg::tool {

/// Something that is wrong with a file, for the person who wrote it.
struct Problem {
  std::string where;  // "guest.cfg: virtio_msg entry 2 ('type=nte')"
  std::string what;
  std::string hint;  // may be empty
};

/// "where: what", and the hint on a line of its own.
[[nodiscard]] std::string to_text(const Problem& problem);

struct DomainConfig {
  std::string file;
  std::string name;                     // empty when the file has none
  std::vector<std::string> virtio_msg;  // one device an entry
  std::vector<std::string> virtio;      // of these, 'type=vmsg-NAME' names a device of ours
};

/// `settings` are more lines, as on xl's command line after the file: "name=\"other\"".
[[nodiscard]] Result<DomainConfig, std::vector<Problem>> read_domain_config(
    const std::string& file, std::span<const std::string> settings = {});

/// The same for text that is in memory; `file` is what problems call it.
[[nodiscard]] Result<DomainConfig, std::vector<Problem>> parse_domain_config(std::string_view text,
                                                                             std::string file);

}  // namespace vmsg::tool
