// A port that is a pseudo terminal on the host: people attach with any terminal program to the path
// that is published.
//
// A terminal tells its master when the last user leaves, but not when somebody comes or changes the
// window: that is looked for a few times a second while nobody is there, and once a second after.
#pragma once

#include <memory>
#include <string>

#include "devices/console/host_stream.hpp"
#include "devices/file_descriptor.hpp"

namespace vmsg::console {

class TerminalStream final : public HostStream {
 public:
  /// `link` is made a symbolic link to the terminal unless it is empty.
  static Result<std::unique_ptr<HostStream>, std::string> open(const std::string& link,
                                                               const WindowSize& size);
  ~TerminalStream() override;

  /// Takes a link away that a killed process left: its terminal is gone, and the kernel gives the
  /// name to whoever makes the next one. A link to anything but a terminal is not ours.
  static void remove_leftover(const std::string& link);

  bool is_open() const override { return is_open_; }
  bool takes_output() const override { return is_open_; }
  bool gives_input() const override { return gives_input_; }
  int descriptor() const override { return master_.get(); }
  void prepare_read(io_uring_sqe* entry, std::span<std::byte> into) override;
  void prepare_write(io_uring_sqe* entry, std::span<const std::byte> bytes) override;
  void write_failed(int error) override;
  void hung_up() override { is_open_ = false; }
  void read_ended(int error) override;
  void pump(IoRing& io, Nanoseconds now) override;
  std::optional<Nanoseconds> wants_turn_at() const override { return next_look_; }
  std::optional<WindowSize> window() const override { return window_; }
  std::size_t flush(std::span<const std::byte> bytes, bool may_wait) override;
  std::pair<std::string, std::string> fact() const override { return {"tty", path_}; }

 private:
  TerminalStream(FileDescriptor master, std::string path, std::string link, const WindowSize& size);
  void look();

  FileDescriptor master_;
  const std::string path_;
  const std::string link_;
  WindowSize window_;
  bool is_open_ = false;
  bool gives_input_ = false;  // may still be so after the user has left
  Nanoseconds next_look_ = 0;
};

}  // namespace vmsg::console
