// The answer to `status` on the control socket: the snapshot as one line of JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "backend/snapshot.hpp"

namespace vmsg {

/// Ends with a newline. With `guest`, only that guest's buses.
[[nodiscard]] std::string status_text(const Snapshot& snapshot, std::string_view version,
                                      std::optional<std::uint16_t> guest = std::nullopt);

/// "0x130000034", whatever the width of the set.
[[nodiscard]] std::string features_text(const FeatureSet& features);

}  // namespace vmsg
