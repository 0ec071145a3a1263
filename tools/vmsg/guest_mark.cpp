#include "tools/vmsg/guest_mark.hpp"

#include <fmt/format.h>

#include <ranges>
#include <string_view>
#include <utility>

#include "xenbus-glue/numbers.hpp"

namespace vmsg::tool {
namespace {

constexpr std::string_view kNone = "-";

xen::Path mark_of(xen::DomainId guest) {
  return *xen::Path::parse(fmt::format("/libxl/{}/virtio-msg", guest));
}

std::string to_text(const GuestMark::Backend& backend) {
  return backend.domain ? fmt::format("{} {}", *backend.domain, backend.name)
                        : fmt::format("{} {}", kNone, backend.name);
}

/// nullopt for what none of ours has written.
std::optional<GuestMark::Backend> parse_backend(std::string_view text) {
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const std::string_view domain = text.substr(0, space);
  const auto id = xen::parse_decimal<xen::DomainId>(domain);
  if (!id && domain != kNone) return std::nullopt;
  return GuestMark::Backend{.domain = id, .name = std::string(text.substr(space + 1))};
}

}  // namespace

Result<void, xen::XenError> write_mark(xen::StoreOps& store, xen::DomainId guest,
                                       const GuestMark& mark) {
  std::string text = mark.config.empty() ? std::string(kNone) : mark.config;
  for (const GuestMark::Backend& backend : mark.backends) text += '\n' + to_text(backend);
  return store.write(mark_of(guest), text);
}

Result<std::optional<GuestMark>, xen::XenError> read_mark(xen::StoreOps& store,
                                                          xen::DomainId guest) {
  const auto text = store.find(mark_of(guest));
  if (!text) return std::unexpected(text.error());
  if (!*text) return std::nullopt;
  GuestMark mark;
  bool is_first = true;
  for (const auto part : std::views::split(**text, '\n')) {
    const std::string_view line(part);
    if (std::exchange(is_first, false)) {
      if (line != kNone) mark.config = line;
    } else if (auto backend = parse_backend(line)) {
      mark.backends.push_back(std::move(*backend));
    }
  }
  return mark;
}

}  // namespace vmsg::tool
