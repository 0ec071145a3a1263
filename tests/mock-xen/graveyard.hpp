// Connections of handles that the program closed while pages mapped through them are still in its
// address space. As in the kernel, where a mapping holds the device file open, such a mapping
// lives until the process ends: the connection stays open, and the broker's leak report lists it.
#pragma once

#include <memory>

#include "tests/mock-xen/client.hpp"

namespace vmsg::mock {

void bury(std::unique_ptr<Client> client);

}  // namespace vmsg::mock
