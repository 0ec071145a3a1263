// A connection to the broker's control service: JSON out, JSON in. Used by xen-mock's commands and
// by MockXen.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tests/mock-xen/unique_fd.hpp"
#include "transport/result.hpp"

namespace vmsg::mock {

class ControlClient {
 public:
  static Result<ControlClient, std::string> connect(const std::string& socket);

  /// The broker's answer, or its (or the connection's) complaint.
  Result<nlohmann::json, std::string> call(const nlohmann::json& request);

 private:
  explicit ControlClient(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

}  // namespace vmsg::mock
