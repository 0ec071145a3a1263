// Why what stands behind a device could not be opened.
#pragma once

#include <string>

namespace vmsg {

struct OpenError {
  std::string words;  // what is wrong with which parameter, and what is allowed
  /// Somebody has it who may be about to let it go: it is worth another try soon.
  bool may_pass = false;
};

}  // namespace vmsg
