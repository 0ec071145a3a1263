// What a process that was killed left behind and that would mislead whoever reads it: facts in
// xenstore, names on the host. A terminal's name is the worst of them, since the kernel gives it to
// the next terminal that is made, which is another guest's.
#pragma once

#include "transport/result.hpp"
#include "xenbus-glue/store.hpp"
#include "xenbus-glue/xen_types.hpp"

namespace vmsg {

/// Takes it all back, for every device that this domain is to serve. Before any device is made.
[[nodiscard]] Result<void, xen::XenError> withdraw_earlier_run(xen::Store& store,
                                                               xen::DomainId own_domain);

}  // namespace vmsg
