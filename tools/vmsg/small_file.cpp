#include "tools/vmsg/small_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "devices/file_descriptor.hpp"

namespace vmsg::tool {

std::string words_of_errno(int error) { return std::generic_category().message(error); }

Result<std::string, std::string> read_small_file(const std::string& file) {
  // Not blocking, so that a named pipe among configuration files holds nobody up.
  const FileDescriptor opened(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status{};
  if (!opened.is_open() || fstat(opened.get(), &status) != 0) {
    return std::unexpected(words_of_errno(errno));
  }
  if (!S_ISREG(status.st_mode)) return std::unexpected("not a regular file");
  std::string text(kMaxSmallFile + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = read(opened.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(words_of_errno(errno));
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > kMaxSmallFile) {
    return std::unexpected(fmt::format("larger than {} bytes", kMaxSmallFile));
  }
  text.resize(size);
  return text;
}

std::string printable(std::string_view text, std::size_t most) {
  std::string clean(text.substr(0, most));
  for (char& c : clean) {
    if (c < ' ' || c > '~') c = '?';
  }
  if (text.size() > most) clean += "...";
  return clean;
}

}  // namespace vmsg::tool
