// The terminal on our standard input and output: raw for the time of a console, and its size.
#pragma once

#include <termios.h>

#include <optional>

namespace vmsg::tool {

/// Every key goes through untouched until this is destroyed. Does nothing where standard input is
/// no terminal.
class RawTerminal {
 public:
  /// kCooked leaves the treatment of what is printed as it is ("\n" begins a line).
  enum class Output : unsigned char { kRaw, kCooked };

  explicit RawTerminal(Output output = Output::kRaw);
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  ~RawTerminal();

 private:
  std::optional<termios> before_;
};

/// Lines of the terminal on standard output; nullopt when it is none.
[[nodiscard]] std::optional<unsigned> terminal_lines();

}  // namespace vmsg::tool
