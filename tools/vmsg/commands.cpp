#include "tools/vmsg/commands.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace vmsg::tool {

int complain(int status, std::string_view what) {
  fmt::print(stderr, "vmsg: {}\n", what);
  return status;
}

void complain(const std::vector<Problem>& problems) {
  for (const Problem& problem : problems) fmt::print(stderr, "vmsg: {}\n", to_text(problem));
}

int with_toolstack(const std::function<int(Toolstack&)>& work) {
  auto toolstack = Toolstack::open();
  if (!toolstack) return complain(kExitFailed, toolstack.error());
  return work(**toolstack);
}

int with_guest(const std::string& guest,
               const std::function<int(Toolstack&, xen::DomainId)>& work) {
  return with_toolstack([&](Toolstack& toolstack) {
    const auto found = toolstack.find_domain(guest);
    return found ? work(toolstack, *found) : complain(kExitFailed, found.error());
  });
}

}  // namespace vmsg::tool
