// Scripts of the host that put an interface where it belongs, as those of xl in /etc/xen/scripts.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "transport/result.hpp"

namespace vmsg::net {

/// How the name of every script begins. There are others in xl's folder that are not for networks.
inline constexpr std::string_view kScriptPrefix = "vif-";

struct ScriptCall {
  std::string script;   // a name, or a path
  std::string command;  // "add" or "remove"
  /// Added to the environment. What is empty is left out.
  std::vector<std::pair<std::string, std::string>> variables;
};

/// Whoever may start programs. A device may not: it lives in a confined process.
class NetworkScripts {
 public:
  NetworkScripts() = default;
  NetworkScripts(const NetworkScripts&) = delete;
  NetworkScripts& operator=(const NetworkScripts&) = delete;
  virtual ~NetworkScripts() = default;

  /// Waits for the script's end. May be called on any thread. The error is for people.
  [[nodiscard]] virtual Result<void, std::string> run(const ScriptCall& call) = 0;
};

}  // namespace vmsg::net
