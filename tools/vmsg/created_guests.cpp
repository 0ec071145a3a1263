#include "tools/vmsg/created_guests.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "tools/vmsg/small_file.hpp"

namespace vmsg::tool {
namespace {

struct flock whole_file(short type) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

}  // namespace

std::string CreatedGuests::file_of(std::string_view name) const {
  // Whatever a guest may be called, its file is a plain name in our folder.
  std::string file = folder_ + '/';
  for (const char c : name) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') || c == '-' || c == '_';
    file += is_plain ? std::string(1, c)
                     : fmt::format("%{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
  }
  return file;
}

Result<CreatedGuests::Claim, std::string> CreatedGuests::claim(std::string_view name) {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  const std::string file = file_of(name);
  FileDescriptor fd(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.is_open()) {
    return std::unexpected(fmt::format("{}: {}", file, words_of_errno(errno)));
  }
  struct flock lock = whole_file(F_WRLCK);
  if (fcntl(fd.get(), F_OFD_SETLK, &lock) != 0) {
    return std::unexpected(
        errno == EAGAIN || errno == EACCES
            ? fmt::format("'{}' is being created by another vmsg at this moment", printable(name))
            : fmt::format("{}: {}", file, words_of_errno(errno)));
  }
  Claim claim(file, std::move(fd));
  // What is remembered of a guest that runs already is not ours to forget.
  struct stat status{};
  claim.is_kept_ = fstat(claim.fd_.get(), &status) == 0 && status.st_size > 0;
  return claim;
}

Result<void, std::string> CreatedGuests::Claim::keep(std::string_view config) {
  if (ftruncate(fd_.get(), 0) != 0 ||
      pwrite(fd_.get(), config.data(), config.size(), 0) != static_cast<ssize_t>(config.size())) {
    return std::unexpected(fmt::format("{}: {}", file_, words_of_errno(errno)));
  }
  is_kept_ = true;
  return {};
}

CreatedGuests::Claim::~Claim() {
  if (fd_.is_open() && !is_kept_) unlink(file_.c_str());
}

bool CreatedGuests::is_claimed(std::string_view name) const {
  const FileDescriptor fd(open(file_of(name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  // Asked and not tried: to take the lock, however briefly, could make a claim fail.
  struct flock lock = whole_file(F_WRLCK);
  return fd.is_open() && fcntl(fd.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

std::optional<std::string> CreatedGuests::config_of(std::string_view name) const {
  auto text = read_small_file(file_of(name));
  if (!text || text->empty()) return std::nullopt;
  return std::move(*text);
}

}  // namespace vmsg::tool
