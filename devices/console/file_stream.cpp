#include "devices/console/file_stream.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace vmsg::console {
namespace {

constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
constexpr mode_t kMode = S_IRUSR | S_IWUSR | S_IRGRP;
constexpr Nanoseconds kRetryAfter = kSecond;

}  // namespace

Result<std::unique_ptr<HostStream>, std::string> FileStream::open(const std::string& path,
                                                                  const Rotation& rotation) {
  // O_NONBLOCK matters for what is not a file alone: opening a pipe would wait for its reader.
  FileDescriptor file(::open(path.c_str(), kFlags | O_NONBLOCK, kMode));
  struct stat state{};
  if (!file.is_open() || fstat(file.get(), &state) != 0) {
    return std::unexpected(
        fmt::format("cannot open {}: {}", path, std::generic_category().message(errno)));
  }
  if (!S_ISREG(state.st_mode)) {
    return std::unexpected(fmt::format("{} is no regular file", path));
  }
  std::vector<std::string> names{path};
  if (rotation.size != 0) {
    for (std::uint32_t i = 1; i <= rotation.count; ++i) {
      names.push_back(fmt::format("{}.{}", path, i));
    }
  }
  return std::unique_ptr<HostStream>(new FileStream(
      std::move(file), static_cast<std::uint64_t>(state.st_size), std::move(names), rotation));
}

FileStream::FileStream(FileDescriptor file, std::uint64_t size, std::vector<std::string> names,
                       const Rotation& rotation)
    : file_(std::move(file)), size_(size), names_(std::move(names)), rotation_(rotation) {
  wrote(0);
}

void FileStream::prepare_read(io_uring_sqe* entry, std::span<std::byte>) {
  io_uring_prep_nop(entry);  // a file gives no input, so nobody asks
}

void FileStream::prepare_write(io_uring_sqe* entry, std::span<const std::byte> bytes) {
  io_uring_prep_write(entry, file_.get(), bytes.data(), static_cast<unsigned>(bytes.size()), 0);
}

std::size_t FileStream::most_to_write() const {
  if (rotation_.size == 0) return HostStream::most_to_write();
  return static_cast<std::size_t>(rotation_.size - std::min(size_, rotation_.size));
}

void FileStream::wrote(std::size_t count) {
  size_ += count;
  if (rotation_.size == 0 || size_ < rotation_.size) return;
  is_rotating_ = true;
  to_rename_ = names_.size() - 1;
}

void FileStream::write_failed(int) { fail(); }

void FileStream::fail() {
  count_error();
  has_failed_ = true;
  retry_at_ = now_ + kRetryAfter;
}

void FileStream::pump(IoRing& io, Nanoseconds now) {
  now_ = now;
  if (has_failed_ && now >= retry_at_) has_failed_ = false;
  go_on(io);
}

void FileStream::go_on(IoRing& io) {
  if (step_.is_in_flight()) return;
  if (old_file_.is_open() || (is_rotating_ && !has_failed_)) begin_step(io);
}

std::optional<Nanoseconds> FileStream::wants_turn_at() const {
  return has_failed_ ? std::optional(retry_at_) : std::nullopt;
}

void FileStream::begin_step(IoRing& io) {
  io_uring_sqe* entry = step_.begin(io);
  if (entry == nullptr) return tell();
  if (old_file_.is_open()) {
    io_uring_prep_close(entry, old_file_.release());
  } else if (to_rename_ != 0) {
    io_uring_prep_renameat(entry, AT_FDCWD, names_[to_rename_ - 1].c_str(), AT_FDCWD,
                           names_[to_rename_].c_str(), 0);
  } else {
    // Without old files to keep, rotation means to begin again.
    const int truncate = names_.size() == 1 ? O_TRUNC : 0;
    io_uring_prep_openat(entry, AT_FDCWD, names_.front().c_str(), kFlags | truncate, kMode);
  }
}

void FileStream::on_step(std::int32_t result) {
  if (!is_rotating_) {
    // The old file was closed: an error that comes so late is one all the same.
    if (result < 0) count_error();
  } else if (to_rename_ != 0) {
    // An old file that is not there yet need not be renamed. Anything else ends the rotation, or
    // the file would grow beyond its limit: it is tried again later.
    if (result < 0 && result != -ENOENT) {
      fail();
    } else {
      --to_rename_;
    }
  } else if (result < 0) {
    fail();
  } else {
    old_file_ = std::exchange(file_, FileDescriptor(result));
    size_ = 0;
    is_rotating_ = false;
    count_rotation();
  }
  tell();
}

std::size_t FileStream::flush(std::span<const std::byte> bytes, bool may_wait) {
  // A disk may take its time, and a file that is full wants to be rotated first.
  if (!may_wait || is_rotating_) return 0;
  const std::size_t count = std::min(bytes.size(), most_to_write());
  const ssize_t written = ::write(file_.get(), bytes.data(), count);
  if (written <= 0) return 0;
  wrote(static_cast<std::size_t>(written));
  return static_cast<std::size_t>(written);
}

}  // namespace vmsg::console
