// What the grant tests share: a guest with pages, mappings that are given back, and a look at
// memory that may not be there.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tests/contract/world.hpp"

namespace vmsg::contract {

inline constexpr int kReadOnly = PROT_READ;
inline constexpr int kReadWrite = PROT_READ | PROT_WRITE;

// Pages of a guest, mapped by us; unmapped by release() or at the end.
class Mapping {
 public:
  Mapping(xengnttab_handle* handle, void* start, std::uint32_t pages)
      : handle_(handle), bytes_(static_cast<char*>(start), pages * kPageSize) {}
  Mapping(Mapping&& other) noexcept
      : handle_(other.handle_), bytes_(std::exchange(other.bytes_, {})) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() {
    if (!bytes_.empty()) static_cast<void>(release());
  }

  // 0 or the errno.
  int release() {
    const auto bytes = std::exchange(bytes_, {});
    errno = 0;
    return xengnttab_unmap(handle_, bytes.data(),
                           static_cast<std::uint32_t>(bytes.size() / kPageSize)) == 0
               ? 0
               : errno;
  }

  [[nodiscard]] std::span<char> bytes() const { return bytes_; }
  [[nodiscard]] std::string read(std::size_t offset, std::size_t length) const {
    return {bytes_.data() + offset, length};
  }

 private:
  xengnttab_handle* handle_;
  std::span<char> bytes_;
};

// Does reading or writing one byte here end in SIGSEGV or SIGBUS?
bool read_faults(const char* address);
bool write_faults(char* address);

class GnttabContract : public ContractTest {
 protected:
  GnttabContract();

  using MapResult = std::expected<Mapping, int>;
  MapResult map(std::uint32_t domain, std::vector<std::uint32_t> references, int protection);
  MapResult map(const PeerArea& area, int protection = kReadWrite) {
    return map(guest().domain(), area.references, protection);
  }
  MapResult map_notifying(const PeerArea& area, int offset, int port);
  // The errno of a mapping that is made and given back at once; 0 if it worked.
  int map_error(std::uint32_t domain, const std::vector<std::uint32_t>& references, int protection);
  int map_error(const PeerArea& area, int protection = kReadWrite) {
    return map_error(guest().domain(), area.references, protection);
  }
  // Waits until the guest's reference is no longer good; false if it stays so.
  bool is_revoked_in_time(const PeerArea& area);

  GnttabHandle gnttab;
};

}  // namespace vmsg::contract
