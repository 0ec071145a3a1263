// The snapshot in Prometheus' text format (version 0.0.4).
#pragma once

#include <string>
#include <string_view>

#include "backend/snapshot.hpp"

namespace vmsg {

[[nodiscard]] std::string metrics_text(const Snapshot& snapshot, std::string_view version);

}  // namespace vmsg
