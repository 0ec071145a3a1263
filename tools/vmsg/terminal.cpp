#include "tools/vmsg/terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

namespace vmsg::tool {

RawTerminal::RawTerminal(Output output) {
  termios now{};
  if (tcgetattr(STDIN_FILENO, &now) != 0) return;
  before_ = now;
  cfmakeraw(&now);
  if (output == Output::kCooked) now.c_oflag = before_->c_oflag;
  tcsetattr(STDIN_FILENO, TCSANOW, &now);
}

RawTerminal::~RawTerminal() {
  if (before_) tcsetattr(STDIN_FILENO, TCSANOW, &*before_);
}

std::optional<unsigned> terminal_lines() {
  winsize size{};
  if (isatty(STDOUT_FILENO) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
    return std::nullopt;
  return size.ws_row;
}

}  // namespace vmsg::tool
