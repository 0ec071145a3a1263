// A port that is a unix socket on the host. One client at a time; the next one waits in the
// socket's queue until the first has gone.
#pragma once

#include <memory>
#include <string>

#include "devices/console/host_stream.hpp"
#include "devices/console/io_operation.hpp"
#include "devices/file_descriptor.hpp"

namespace vmsg::console {

class SocketStream final : public HostStream {
 public:
  static Result<std::unique_ptr<HostStream>, std::string> open(const std::string& path);
  ~SocketStream() override;

  bool is_open() const override { return takes_output_; }
  bool takes_output() const override { return takes_output_; }
  bool gives_input() const override { return gives_input_; }
  int descriptor() const override { return client_.get(); }
  void prepare_read(io_uring_sqe* entry, std::span<std::byte> into) override;
  void prepare_write(io_uring_sqe* entry, std::span<const std::byte> bytes) override;
  void write_failed(int error) override;
  void hung_up() override { takes_output_ = false; }
  void read_ended(int error) override;
  bool is_finished() const override;
  void leave() override;
  void pump(IoRing& io, Nanoseconds now) override;
  std::optional<Nanoseconds> wants_turn_at() const override;
  void cancel(IoRing& io) override;
  bool has_operations() const override;
  std::size_t flush(std::span<const std::byte> bytes, bool may_wait) override;
  std::pair<std::string, std::string> fact() const override { return {"socket", path_}; }

 private:
  SocketStream(FileDescriptor socket, std::string path);
  void accept_client();
  void on_knock(std::int32_t result);
  void on_hang_up(std::int32_t result);

  FileDescriptor socket_;
  const std::string path_;
  FileDescriptor client_;
  bool takes_output_ = false;
  bool gives_input_ = false;     // what a client sent before it left counts
  bool has_next_ = false;        // somebody waits to be accepted
  bool is_half_closed_ = false;  // the client says no more; whether it listens must be looked at
  Nanoseconds next_look_ = 0;
  IoOperation<SocketStream> knock_{*this, &SocketStream::on_knock};
  IoOperation<SocketStream> hang_up_{*this, &SocketStream::on_hang_up};
};

}  // namespace vmsg::console
