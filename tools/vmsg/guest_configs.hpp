// The folders where an administrator keeps the configurations of guests, searched by a guest's
// name.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/vmsg/domain_config.hpp"

namespace vmsg::tool {

class GuestConfigs {
 public:
  explicit GuestConfigs(std::vector<std::string> folders) : folders_(std::move(folders)) {}

  struct Found {
    DomainConfig config;
    /// Other files that claim the same name, and are passed over.
    std::vector<std::string> others;
  };

  /// The first file, in the order of the folders and then of names, whose `name` is this one. Files
  /// that are no configuration are passed over: the folders hold other things as well. One that is
  /// called like the guest and cannot be read is reported, for it was probably meant.
  [[nodiscard]] std::optional<Found> find(std::string_view name,
                                          std::vector<Problem>& problems) const;

 private:
  std::vector<std::string> folders_;
};

}  // namespace vmsg::tool
