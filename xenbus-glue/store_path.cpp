#include "xenbus-glue/store_path.hpp"

#include "transport/result.hpp"

namespace vmsg::xen {
namespace {

bool is_well_formed(std::string_view components) {
  while (true) {
    const std::size_t slash = components.find('/');
    if (!Path::is_component(components.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    components.remove_prefix(slash + 1);
  }
}

}  // namespace

std::optional<Path> Path::parse(std::string_view text) {
  if (text.empty()) return std::nullopt;
  if (text == "/") return Path("/");
  const bool is_absolute = text.front() == '/';
  if (text.size() > (is_absolute ? kMaxAbsolute : kMaxRelative)) return std::nullopt;
  if (!is_well_formed(is_absolute ? text.substr(1) : text)) return std::nullopt;
  return Path(std::string(text));
}

Path Path::domain(std::uint16_t id) { return Path("/local/domain/" + std::to_string(id)); }

Path Path::append(std::string_view component) const {
  std::string text = text_;
  if (text.back() != '/') text += '/';
  text += component;
  // Our own paths are a few components deep; child() checks what comes from elsewhere.
  VMSG_INVARIANT(text.size() <= kMaxAbsolute);
  return Path(std::move(text));
}

std::optional<Path> Path::child(std::string_view component) const {
  const std::size_t limit = is_absolute() ? kMaxAbsolute : kMaxRelative;
  if (!is_component(component) || text_.size() + 1 + component.size() > limit) return std::nullopt;
  return append(component);
}

std::optional<std::string_view> Path::below(std::string_view inner) const {
  if (!inner.starts_with(text_)) return std::nullopt;
  inner.remove_prefix(text_.size());
  if (inner.empty() || text_ == "/") return inner;
  if (inner.front() != '/') return std::nullopt;
  return inner.substr(1);
}

}  // namespace vmsg::xen
