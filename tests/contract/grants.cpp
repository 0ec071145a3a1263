#include "tests/contract/grants.hpp"

#include <csetjmp>
#include <csignal>
#include <system_error>

namespace vmsg::contract {
namespace {

// One probe at a time, on one thread: a handler can reach nothing but globals.
sigjmp_buf probe_failed;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

void on_fault(int) { siglongjmp(probe_failed, 1); }

template <class Access>
bool faults(Access&& access) {
  struct sigaction handler{};
  handler.sa_handler = on_fault;
  struct sigaction old_segv{};
  struct sigaction old_bus{};
  sigaction(SIGSEGV, &handler, &old_segv);
  sigaction(SIGBUS, &handler, &old_bus);
  volatile bool faulted = true;
  if (sigsetjmp(probe_failed, 1) == 0) {
    access();
    faulted = false;
  }
  sigaction(SIGSEGV, &old_segv, nullptr);
  sigaction(SIGBUS, &old_bus, nullptr);
  return faulted;
}

}  // namespace

bool read_faults(const char* address) {
  return faults([address] { static_cast<void>(*static_cast<const volatile char*>(address)); });
}

bool write_faults(char* address) {
  return faults([address] { *static_cast<volatile char*>(address) = 1; });
}

GnttabContract::GnttabContract() : gnttab(xengnttab_open(nullptr, 0)) {
  if (!gnttab) throw std::system_error(errno, std::generic_category(), "xengnttab_open");
}

GnttabContract::MapResult GnttabContract::map(std::uint32_t domain,
                                              std::vector<std::uint32_t> references,
                                              int protection) {
  const auto count = static_cast<std::uint32_t>(references.size());
  errno = 0;
  void* const start =
      xengnttab_map_domain_grant_refs(gnttab.get(), count, domain, references.data(), protection);
  if (start == nullptr) return std::unexpected(errno);
  return Mapping(gnttab.get(), start, count);
}

GnttabContract::MapResult GnttabContract::map_notifying(const PeerArea& area, int offset,
                                                        int port) {
  errno = 0;
  void* const start = xengnttab_map_grant_ref_notify(
      gnttab.get(), guest().domain(), area.references.front(), kReadWrite,
      static_cast<std::uint32_t>(offset), static_cast<evtchn_port_t>(port));
  if (start == nullptr) return std::unexpected(errno);
  return Mapping(gnttab.get(), start, 1);
}

int GnttabContract::map_error(std::uint32_t domain, const std::vector<std::uint32_t>& references,
                              int protection) {
  const auto mapping = map(domain, references, protection);
  return mapping ? 0 : mapping.error();
}

bool GnttabContract::is_revoked_in_time(const PeerArea& area) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (map_error(area, kReadOnly) == 0) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    guest().must("ping");  // leaves the guest time to get on with it
  }
  return true;
}

}  // namespace vmsg::contract
