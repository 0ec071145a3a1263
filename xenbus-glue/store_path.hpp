// Names in xenstore. A Path is well-formed by construction: built from checked components, or
// parsed with every component checked.
#pragma once

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vmsg::xen {

class Path {
 public:
  static constexpr std::size_t kMaxAbsolute = 3072;  // xenstore's own limits
  static constexpr std::size_t kMaxRelative = 2048;  // below the caller's home
  static constexpr std::size_t kMaxComponent = 256;

  /// A component written in our source: checked by the compiler.
  struct Name {
    // NOLINTNEXTLINE(google-explicit-constructor): so that `path / "state"` reads as a path.
    consteval Name(const char* name) : text(name) {
      if (!is_component(text)) throw "not a xenstore path component";
    }
    std::string_view text;
  };

  /// An absolute path ("/a/b"), one relative to the caller's home ("a/b"), or a special watch name
  /// ("@releaseDomain"); nullopt for anything else, such as empty components or a trailing slash.
  static std::optional<Path> parse(std::string_view text);

  /// "/local/domain/<id>"
  static Path domain(std::uint16_t id);
  /// Relative to the caller's own home: "<name>".
  static Path home(Name name) { return Path(std::string(name.text)); }
  static Path release_domain() { return Path("@releaseDomain"); }
  static Path introduce_domain() { return Path("@introduceDomain"); }

  [[nodiscard]] Path operator/(Name name) const { return append(name.text); }
  template <std::unsigned_integral T>
  [[nodiscard]] Path operator/(T number) const {
    return append(std::to_string(number));
  }
  /// A component that came from elsewhere (a listing, a config file); nullopt when it is none.
  [[nodiscard]] std::optional<Path> child(std::string_view component) const;

  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] const char* c_str() const { return text_.c_str(); }
  [[nodiscard]] bool is_absolute() const { return text_.front() == '/'; }

  /// What of `inner` lies below this path ("" for itself); nullopt when it is elsewhere.
  [[nodiscard]] std::optional<std::string_view> below(std::string_view inner) const;

  static constexpr bool is_component(std::string_view text) {
    if (text.empty() || text.size() > kMaxComponent) return false;
    for (const char c : text) {
      const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      const bool digit = c >= '0' && c <= '9';
      if (!letter && !digit && c != '-' && c != '_' && c != '@') return false;
    }
    return true;
  }

  friend bool operator==(const Path&, const Path&) = default;
  friend auto operator<=>(const Path&, const Path&) = default;

 private:
  explicit Path(std::string text) : text_(std::move(text)) {}
  [[nodiscard]] Path append(std::string_view component) const;

  std::string text_;
};

}  // namespace vmsg::xen
