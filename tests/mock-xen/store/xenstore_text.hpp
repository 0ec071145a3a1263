// How permissions are written in the protocol, between xenstore_lib.cpp and xenstore.cpp.
#pragma once

extern "C" {
#include <xenstore_lib.h>
}

#include <optional>
#include <string>

namespace vmsg::mock::store {

/// "r3"; nothing for a mask that has no letter.
[[nodiscard]] std::optional<std::string> permission_text(const xs_permissions& permission);

}  // namespace vmsg::mock::store
