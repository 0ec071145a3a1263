// mock-xen-actor: a program that uses Xen's libraries as any other does, one command a line on
// standard input, one answer a line on standard output. It is linked to Debian's real libraries and
// meets the mock by LD_LIBRARY_PATH alone; tests steer it, and kill it.
//
//   offer DOMID            -> port          bind DOMID PORT   -> port
//   notify PORT            -> ok            flood PORT        -> "flooding", then notifies for ever
//   wait                   -> the next port that fires, unmasked again
//   share DOMID COUNT      -> first reference
//   map DOMID REF          -> the first byte of the page, as a number
//   map-notify DOMID REF   -> the same; when it ends, byte 0 is cleared and the port bound last
//   notified put BYTE               -> ok: into the page shared or mapped last copy DOMID REF ->
//   status of a copy of one page from there pound DOMID REF        -> "pounding", then copies from
//   there for ever
// An error answers "errno N".
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
}

namespace {

class Actor {
 public:
  Actor()
      : events_(xenevtchn_open(nullptr, 0)),
        gnttab_(xengnttab_open(nullptr, 0)),
        gntshr_(xengntshr_open(nullptr, 0)) {}

  bool is_open() const { return events_ != nullptr && gnttab_ != nullptr && gntshr_ != nullptr; }

  void obey(const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    std::uint32_t first = 0;
    std::uint32_t second = 0;
    words >> verb >> first >> second;
    if (verb == "offer") {
      answer(xenevtchn_bind_unbound_port(events_, first));
    } else if (verb == "bind") {
      port_ = xenevtchn_bind_interdomain(events_, first, second);
      answer(port_);
    } else if (verb == "notify") {
      answer(xenevtchn_notify(events_, first));
    } else if (verb == "flood") {
      std::cout << "flooding" << std::endl;
      while (xenevtchn_notify(events_, first) == 0) {
      }
    } else if (verb == "wait") {
      const int port = xenevtchn_pending(events_);
      if (port >= 0) xenevtchn_unmask(events_, static_cast<evtchn_port_t>(port));
      answer(port);
    } else {
      obey_memory(verb, first, second);
    }
  }

 private:
  static void answer(int value) {
    if (value < 0) {
      std::cout << "errno " << errno << std::endl;
    } else {
      std::cout << value << std::endl;
    }
  }

  void obey_memory(const std::string& verb, std::uint32_t first, std::uint32_t second) {
    if (verb == "share") {
      std::array<std::uint32_t, 64> refs{};
      page_ = static_cast<unsigned char*>(
          xengntshr_share_pages(gntshr_, first, static_cast<int>(second), refs.data(), 1));
      answer(page_ == nullptr ? -1 : static_cast<int>(refs[0]));
    } else if (verb == "map") {
      page_ = static_cast<unsigned char*>(
          xengnttab_map_grant_ref(gnttab_, first, second, PROT_READ | PROT_WRITE));
      answer(page_ == nullptr ? -1 : *page_);
    } else if (verb == "map-notify") {
      page_ = static_cast<unsigned char*>(xengnttab_map_grant_ref_notify(
          gnttab_, first, second, PROT_READ | PROT_WRITE, 0, static_cast<evtchn_port_t>(port_)));
      answer(page_ == nullptr ? -1 : *page_);
    } else if (verb == "put") {
      *page_ = static_cast<unsigned char>(first);
      answer(0);
    } else if (verb == "copy") {
      const int status = copy(first, second);
      std::cout << status << std::endl;
    } else if (verb == "pound") {
      std::cout << "pounding" << std::endl;
      while (copy(first, second) == GNTST_okay) {
      }
    } else {
      std::cout << "what?" << std::endl;
    }
  }

  int copy(std::uint32_t domid, std::uint32_t ref) {
    xengnttab_grant_copy_segment_t segment{};
    segment.flags = GNTCOPY_source_gref;
    segment.source.foreign.domid = static_cast<std::uint16_t>(domid);
    segment.source.foreign.ref = ref;
    segment.dest.virt = buffer_.data();
    segment.len = static_cast<std::uint16_t>(buffer_.size());
    if (xengnttab_grant_copy(gnttab_, 1, &segment) != 0) return -errno;
    return segment.status;
  }

  // Never closed: the tests want to see what becomes of them when the process dies.
  xenevtchn_handle* events_;
  xengnttab_handle* gnttab_;
  xengntshr_handle* gntshr_;
  unsigned char* page_ = nullptr;
  int port_ = -1;
  std::array<unsigned char, 4096> buffer_{};
};

}  // namespace

int main() {
  Actor actor;
  if (!actor.is_open()) {
    std::cout << "errno " << errno << std::endl;
    return 1;
  }
  std::cout << "ready" << std::endl;
  std::string line;
  while (std::getline(std::cin, line)) actor.obey(line);
  return 0;
}
