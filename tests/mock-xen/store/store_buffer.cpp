// What libxenstore makes of the bytes that a store answers with.
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "tests/mock-xen/store/store_handle.hpp"

namespace vmsg::mock::store {

void Buffer::Free::operator()(char* block) const noexcept { std::free(block); }

Buffer Buffer::copy_of(std::string_view text) {
  // NOLINTNEXTLINE(cppcoreguidelines-no-malloc): the caller of the C interface calls free()
  auto* block = static_cast<char*>(std::malloc(text.size() + 1));
  if (block == nullptr) std::abort();
  if (!text.empty()) std::memcpy(block, text.data(), text.size());
  block[text.size()] = '\0';
  return {.bytes = std::unique_ptr<char, Free>(block), .size = text.size()};
}

int error_of_name(std::string_view name) {
  const auto* found =
      std::ranges::find_if(xsd_errors, [&](const auto& known) { return name == known.errstring; });
  return found == std::end(xsd_errors) ? EINVAL : found->errnum;
}

}  // namespace vmsg::mock::store
