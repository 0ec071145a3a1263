// The xenstore nodes that attaching a plan to a fresh guest writes, as text: for `vmsg check`. The
// names come from the code that writes them.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/vmsg/guest_plan.hpp"
#include "xenbus-glue/xen_types.hpp"

namespace vmsg::tool {

/// "path = "value"" lines in the order in which they are written. The guest does not run yet: its
/// id is <guest>. `backend_id` tells the id of a backend domain; without one it is <name>.
[[nodiscard]] std::vector<std::string> planned_nodes(
    const GuestPlan& plan,
    const std::function<std::optional<xen::DomainId>(std::string_view)>& backend_id);

}  // namespace vmsg::tool
