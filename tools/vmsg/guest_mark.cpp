#include "tools/vmsg/guest_mark.hpp"

#include <fmt/format.h>

namespace vmsg::tool {
namespace {

xen::Path mark_of(xen::DomainId guest) {
  return *xen::Path::parse(fmt::format("/libxl/{}/virtio-msg", guest));
}

constexpr std::string_view kNoConfig = "-";

}  // namespace

Result<void, xen::XenError> write_mark(xen::Store& store, xen::DomainId guest,
                                       const GuestMark& mark) {
  // Together: a mark alone says that nothing is missing.
  return store.transact([&](xen::Transaction& transaction) -> Result<void, xen::XenError> {
    const xen::Path node = mark_of(guest);
    auto written = transaction.write(node, mark.config.empty() ? kNoConfig : mark.config);
    if (!written) return written;
    return mark.waits ? transaction.write(node / "waiting", "")
                      : transaction.remove(node / "waiting");
  });
}

Result<std::optional<GuestMark>, xen::XenError> read_mark(xen::StoreOps& store,
                                                          xen::DomainId guest) {
  auto config = store.find(mark_of(guest));
  if (!config) return std::unexpected(config.error());
  if (!*config) return std::nullopt;
  const auto waits = store.exists(mark_of(guest) / "waiting");
  if (!waits) return std::unexpected(waits.error());
  if (**config == kNoConfig) (*config)->clear();
  return GuestMark{.config = std::move(**config), .waits = *waits};
}

}  // namespace vmsg::tool
