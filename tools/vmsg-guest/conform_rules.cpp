#include "tools/vmsg-guest/conform_rules.hpp"

namespace vmsg::guest {

std::vector<ConformRule> conform_rules() {
  std::vector<ConformRule> all;
  for (const auto rules : {frame_rules(), device_rules(), queue_rules(), bus_rules()}) {
    all.insert(all.end(), rules.begin(), rules.end());
  }
  return all;
}

}  // namespace vmsg::guest
