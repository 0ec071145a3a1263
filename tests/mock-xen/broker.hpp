// The broker: accepts the connections of all client libraries and plays hypervisor and xenstored
// for them. One thread, one poll loop; what a connection asks for is decided in hypervisor.hpp,
// store/store_engine.hpp and control.hpp.
//
// A connection that hangs up is dealt with before any request that was sent after it: whoever has
// seen a process die finds its handles, ports and mappings gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tests/mock-xen/hypervisor.hpp"
#include "tests/mock-xen/protocol.hpp"
#include "tests/mock-xen/store/store_engine.hpp"
#include "tests/mock-xen/unique_fd.hpp"

namespace vmsg::mock {

class Broker {
 public:
  /// Listens at `socket` (a path, or '@' and an abstract name). Null, and the reason in `error`.
  static std::unique_ptr<Broker> create(const std::string& socket, std::string& error,
                                        const StoreLimits& limits = {});
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  /// One line for every connection, request and domain from now on. False: cannot write there.
  bool log_to(const std::string& file);

  /// Serves until stop(). 0, or the errno that ended it.
  int run();
  /// From any thread, or a signal handler.
  void stop();

  // --- For control.cpp.
  Hypervisor& hypervisor() { return *hypervisor_; }
  const StoreEngine& store() const { return store_; }
  int create_domain(std::uint32_t domid, bool driver_domain);
  int destroy_domain(std::uint32_t domid);

 private:
  struct Connection {
    std::uint64_t id = 0;
    UniqueFd fd;
    Service service = Service::kControl;
    bool greeted = false;
    bool closing = false;  ///< gone as soon as the loop is through with it
    std::uint32_t domid = 0;
    std::uint32_t handle = 0;
    std::vector<std::byte> in;
    std::vector<std::byte> out;
  };

  Broker(UniqueFd listener, std::string socket, std::unique_ptr<Hypervisor> hypervisor,
         const StoreLimits& limits);

  bool watch(int fd, std::uint64_t id, std::uint32_t events) const;
  void accept_all();
  void on_readable(std::uint64_t id);
  void hang_up(std::uint64_t id);
  void on_writable(std::uint64_t id);
  bool read_some(Connection& connection, bool& at_end);
  void process(Connection& connection);
  bool process_hello(Connection& connection);
  bool process_request(Connection& connection);
  bool process_control(Connection& connection);
  void process_store(Connection& connection);
  void send(Connection& connection, std::span<const std::byte> bytes, std::span<const int> fds);
  void set_backed_up(Connection& connection, bool backed_up);
  void on_store_message(ConnectionId id, std::span<const std::byte> message);
  void tell_store_who_is_blocked();
  void drop(std::uint64_t id);
  void drop_closing();
  void log(const std::string& line);

  UniqueFd listener_;
  std::string socket_;
  UniqueFd epoll_;
  UniqueFd stop_;
  std::vector<std::byte> read_buffer_;
  std::unique_ptr<Hypervisor> hypervisor_;
  StoreEngine store_;
  std::map<std::uint64_t, Connection> connections_;
  /// Connections whose output is (true) or is no longer (false) backed up, not yet told to the
  /// store: its sink must not call back.
  std::map<std::uint64_t, bool> blocked_changes_;
  std::uint64_t next_connection_ = 2;  // 0 and 1 name the listener and the stop event
  std::ofstream log_;
};

}  // namespace vmsg::mock
