// The mock Xen without its broker: hypervisor and store are called where the client libraries would
// send a message, so that a whole world takes one thread, no socket, and the same course each time.
//
// one_thread_xen.cpp defines mock::Client and mock::store::StoreHandle in place of client.cpp and
// store_handle.cpp: whoever links it has this world instead of those that MockXen makes. The rest
// of the mock (Xen's C functions, grants, event channels, xenstored) is the same code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tests/mock-xen/calls.hpp"
#include "tests/mock-xen/client.hpp"
#include "tests/mock-xen/hypervisor.hpp"
#include "tests/mock-xen/store/store_engine.hpp"

namespace vmsg::mock {

class OneThreadXen {
 public:
  /// The one of this process, made when it is first asked for and never destroyed.
  static OneThreadXen& world();

  void create_domain(std::uint32_t domid, bool driver_domain = false);
  /// As MockXen::destroy_domain(): handles of the domain stop working.
  void destroy_domain(std::uint32_t domid);
  [[nodiscard]] bool is_alive(std::uint32_t domid) const { return hypervisor_->is_alive(domid); }

  /// One line for everything that the domain holds, open handles included.
  [[nodiscard]] std::vector<std::string> what_is_left(std::uint32_t domid) const;

  /// Is asked before every call of Xen's libraries: the errno with which it fails, or 0. What else
  /// it does happens in between of what the caller does, as if another processor did it. Not called
  /// for calls that it makes itself.
  std::function<int(std::uint32_t domid, Call call)> before_call;

  // What Client and StoreHandle are made of.
  [[nodiscard]] Hypervisor& hypervisor() { return *hypervisor_; }
  [[nodiscard]] StoreEngine& store() { return store_; }
  using Receiver = std::function<void(std::span<const std::byte>)>;
  /// 0 when the domain is not there.
  std::uint32_t connect_store(std::uint32_t domid);
  void disconnect_store(std::uint32_t connection);
  void set_receiver(std::uint32_t connection, Receiver receiver);
  [[nodiscard]] bool is_connected(std::uint32_t connection) const {
    return connections_.contains(connection);
  }
  int ask_before(std::uint32_t domid, Call call);

 private:
  struct Connection {
    std::uint32_t domid = 0;
    Receiver receive;
  };

  OneThreadXen();

  std::unique_ptr<Hypervisor> hypervisor_;
  StoreEngine store_;
  std::map<std::uint32_t, Connection> connections_;
  std::uint32_t next_connection_ = 1;
  bool is_asking_ = false;
};

/// While it lives, handles that are opened are of this domain.
class InDomain {
 public:
  explicit InDomain(std::uint32_t domid) : endpoint_({.socket = {}, .domid = domid}) {}

 private:
  ScopedEndpoint endpoint_;
};

}  // namespace vmsg::mock
