// Internal to this folder. Xen's libraries print to stderr by themselves when a grant does not map,
// which a guest can make happen as often as it likes. We report errors; they stay silent.
#pragma once

extern "C" {
#include <xentoollog.h>
}

namespace vmsg::xen {

/// Lives for ever, has no state.
[[nodiscard]] xentoollog_logger* silent_logger();

}  // namespace vmsg::xen
