// A port whose output goes to a file on the host, which is rotated: FILE is renamed FILE.1, FILE.1
// is renamed FILE.2 and so on when it has grown to its limit. No file gets larger than that.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "devices/console/host_stream.hpp"
#include "devices/console/io_operation.hpp"
#include "devices/file_descriptor.hpp"

namespace vmsg::console {

class FileStream final : public HostStream {
 public:
  struct Rotation {
    std::uint64_t size = 0;   // of a file, in bytes; 0 for no limit
    std::uint32_t count = 0;  // old files that are kept
  };

  static Result<std::unique_ptr<HostStream>, std::string> open(const std::string& path,
                                                               const Rotation& rotation);

  /// A file is always there for the guest, even while its disk is full.
  bool is_open() const override { return true; }
  bool takes_output() const override { return !has_failed_; }
  bool can_write() const override { return !has_failed_ && !is_rotating_; }
  bool gives_input() const override { return false; }
  int descriptor() const override { return file_.get(); }
  void prepare_read(io_uring_sqe* entry, std::span<std::byte> into) override;
  void prepare_write(io_uring_sqe* entry, std::span<const std::byte> bytes) override;
  std::size_t most_to_write() const override;
  void wrote(std::size_t count) override;
  void write_failed(int error) override;
  void hung_up() override {}
  void read_ended(int) override {}
  void pump(IoRing& io, Nanoseconds now) override;
  std::optional<Nanoseconds> wants_turn_at() const override;
  void go_on(IoRing& io) override;
  bool has_operations() const override { return step_.is_in_flight(); }
  std::size_t flush(std::span<const std::byte> bytes, bool may_wait) override;
  std::pair<std::string, std::string> fact() const override { return {"file", names_.front()}; }

 private:
  FileStream(FileDescriptor file, std::uint64_t size, std::vector<std::string> names,
             const Rotation& rotation);
  void begin_step(IoRing& io);
  void on_step(std::int32_t result);
  void fail();

  FileDescriptor file_;
  FileDescriptor old_file_;  // rotated, to be closed where nobody waits for its disk
  std::uint64_t size_;
  const std::vector<std::string> names_;  // the file, and its old ones from young to old
  const Rotation rotation_;
  bool is_rotating_ = false;
  /// Files still to be renamed, the oldest first; then the new one is opened.
  std::size_t to_rename_ = 0;
  bool has_failed_ = false;
  Nanoseconds now_ = 0;
  Nanoseconds retry_at_ = 0;
  IoOperation<FileStream> step_{*this, &FileStream::on_step};
};

}  // namespace vmsg::console
