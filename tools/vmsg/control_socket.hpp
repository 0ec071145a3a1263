// Where vmsgd listens for vmsg.
#pragma once

namespace vmsg::tool {

constexpr const char* kDefaultControlSocket = "/run/vmsg/vmsgd.sock";

}  // namespace vmsg::tool
