// The hypervisor and the drivers of all domains' kernels in one: domains, the handles of their
// processes, and what a handle may ask for. Knows no sockets: the broker hands it requests.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tests/mock-xen/event_channels.hpp"
#include "tests/mock-xen/grant_tables.hpp"
#include "tests/mock-xen/handles.hpp"
#include "tests/mock-xen/protocol.hpp"
#include "tests/mock-xen/segment.hpp"
#include "tests/mock-xen/unique_fd.hpp"

namespace vmsg::mock {

struct DomainInfo {
  std::uint16_t domid = 0;
  bool dying = false;  ///< destroyed, but somebody still maps pages of it
};

class Hypervisor {
 public:
  /// Null with errno when the shared memory cannot be made. Domain 0 exists from the start.
  static std::unique_ptr<Hypervisor> create();
  ~Hypervisor();
  Hypervisor(const Hypervisor&) = delete;
  Hypervisor& operator=(const Hypervisor&) = delete;

  int segment_fd() const { return segment_fd_.get(); }
  Segment& segment() { return *segment_; }

  // --- Domains. 0 or errno.
  int create_domain(std::uint32_t domid);
  int destroy_domain(std::uint32_t domid);
  bool is_alive(std::uint32_t domid) const;
  std::vector<DomainInfo> domains() const;
  int set_port_limit(std::uint32_t domid, std::uint32_t ports);

  // --- Handles.
  struct Opened {
    Handle* handle = nullptr;
    /// For the client: the pipe on which its ports arrive, or the domain's memory.
    UniqueFd fd;
    int error = 0;
  };
  Opened open_handle(Service service, std::uint32_t domid, std::uint32_t pid);
  void close_handle(std::uint32_t id);
  Handle* find_handle(std::uint32_t id) { return handles_.find(id); }

  // --- Requests of a handle.
  struct Answer {
    Reply reply;
    std::vector<std::byte> payload;
    int fd = -1;  ///< lent for the answer, remains ours
  };
  Answer serve(Handle& handle, const Request& request, std::span<const std::byte> payload);

  GrantTables& grants() { return grants_; }

  /// Housekeeping after anything happened; true when it should be called again soon.
  bool settle();

  /// One line for everything that processes of the domain still hold.
  std::vector<std::string> held(std::uint16_t domid) const;

 private:
  Hypervisor(UniqueFd segment_fd, Segment* segment);

  void serve_grants(Handle& handle, const Request& request, std::span<const std::byte> payload,
                    Answer& answer);

  UniqueFd segment_fd_;
  Segment* segment_;
  Handles handles_;
  EventChannels events_;
  GrantTables grants_;
  std::map<std::uint16_t, DomainInfo> domains_;
  std::array<bool, kMaxDomains> slots_taken_{};
  std::uint32_t next_incarnation_ = 1;
};

}  // namespace vmsg::mock
