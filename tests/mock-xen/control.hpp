// The operator's side of the broker: one JSON object in, one out. The commands are those of
// xen-mock's command line (xen_mock.cpp) and of MockXen (mock_xen.hpp).
#pragma once

#include <string>

namespace vmsg::mock {

class Broker;

/// Never throws; a request that makes no sense gets {"error": "..."}.
std::string serve_control(Broker& broker, const std::string& request);

}  // namespace vmsg::mock
