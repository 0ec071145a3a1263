// Two domains exchange something by Xen's own means: grants, an event channel, grant copy,
// xenstore. It shows that programs built from this tree run in dom0 and in guests of the test
// images, and that those domains reach each other. It tests Xen and the images; it uses nothing of
// this project.
//
//   xen_exchange offer PEER                 shares pages with domain PEER, answers until told to
//   stop xen_exchange take DOMAIN DIRECTORY [N]  the peer: N questions and answers, then grant
//   copies
//
// "offer" publishes its references and its port below data/exchange of its own domain; "take" finds
// them in DIRECTORY, an absolute path. Both end with 0 only if all that arrived was right.
#include <fmt/core.h>
#include <poll.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

// Debian's Xen headers do not say so themselves.
extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
}

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::uint32_t kPages = 16;  // page 0 is the mailbox, the last one is written by the peer
constexpr int kPatience = 20'000;     // ms for one answer, under emulation and beside other load
constexpr std::string_view kDirectory = "data/exchange";

struct Mailbox {
  std::atomic<std::uint32_t> question;
  std::atomic<std::uint32_t> answer;
  std::atomic<std::uint32_t> stop;
  std::atomic<std::uint64_t> value;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

template <auto Close>
struct Closer {
  template <typename Handle>
  void operator()(Handle* handle) const {
    Close(handle);
  }
};
using Store = std::unique_ptr<xs_handle, Closer<xs_close>>;
using Ports = std::unique_ptr<xenevtchn_handle, Closer<xenevtchn_close>>;
using Grants = std::unique_ptr<xengnttab_handle, Closer<xengnttab_close>>;
using Shares = std::unique_ptr<xengntshr_handle, Closer<xengntshr_close>>;

// What a failing call of Xen's libraries has left in errno, for main to print.
[[noreturn]] void give_up(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

template <typename T>
T* must(T* result, const std::string& what) {
  if (result == nullptr) give_up(what);
  return result;
}

std::optional<std::uint32_t> parse(std::string_view text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void put(xs_handle* store, std::string_view key, std::string_view value) {
  const auto path = fmt::format("{}/{}", kDirectory, key);
  if (!xs_write(store, XBT_NULL, path.c_str(), value.data(), static_cast<unsigned>(value.size()))) {
    give_up(path);
  }
}

std::uint32_t get(xs_handle* store, std::string_view directory, std::string_view key) {
  const auto path = fmt::format("{}/{}", directory, key);
  unsigned length = 0;
  const std::unique_ptr<void, Closer<std::free>> bytes{
      xs_read(store, XBT_NULL, path.c_str(), &length)};
  if (!bytes) give_up(path);
  const auto value = parse({static_cast<const char*>(bytes.get()), length});
  if (!value) throw std::runtime_error(path + ": not a number");
  return *value;
}

unsigned char pattern(std::size_t at) { return static_cast<unsigned char>(at * 7 + at / kPage); }
unsigned char peer_pattern(std::size_t at) { return static_cast<unsigned char>(at ^ 0x5a); }

// One event, however many kicks it stands for; false when nothing came in time.
bool wait_for_event(xenevtchn_handle* ports) {
  pollfd waiting{.fd = xenevtchn_fd(ports), .events = POLLIN, .revents = 0};
  if (poll(&waiting, 1, kPatience) <= 0) return false;
  const auto port = xenevtchn_pending(ports);
  return port >= 0 && xenevtchn_unmask(ports, static_cast<evtchn_port_t>(port)) == 0;
}

int offer(std::uint32_t peer) {
  const Store store{must(xs_open(0), "xs_open")};
  const Shares shares{must(xengntshr_open(nullptr, 0), "xengntshr_open")};
  const Ports ports{must(xenevtchn_open(nullptr, 0), "xenevtchn_open")};
  std::array<std::uint32_t, kPages> references{};
  auto* const pages = static_cast<unsigned char*>(
      must(xengntshr_share_pages(shares.get(), peer, kPages, references.data(), 1),
           "xengntshr_share_pages"));
  const auto bound = xenevtchn_bind_unbound_port(ports.get(), peer);
  if (bound < 0) give_up("xenevtchn_bind_unbound_port");
  const auto port = static_cast<evtchn_port_t>(bound);

  for (std::size_t i = kPage; i < kPages * kPage; ++i) pages[i] = pattern(i);
  auto* const mailbox = new (pages) Mailbox{};
  for (std::uint32_t i = 0; i < kPages; ++i) {
    put(store.get(), fmt::format("reference{}", i), std::to_string(references[i]));
  }
  put(store.get(), "port", std::to_string(port));
  put(store.get(), "state", "ready");
  fmt::print("offering {} pages and port {} to domain {}\n", kPages, port, peer);

  std::uint32_t seen = 0;
  while (mailbox->stop.load() == 0) {
    if (!wait_for_event(ports.get())) {
      fmt::print("nobody asks any more\n");
      return 1;
    }
    const auto question = mailbox->question.load();
    if (question == seen) continue;  // the first event, or a kick that came with another
    seen = question;
    mailbox->value.store(std::uint64_t{question} * question);
    mailbox->answer.store(question);
    if (xenevtchn_notify(ports.get(), port) != 0) give_up("xenevtchn_notify");
  }

  std::size_t wrong = 0;
  const auto* const written = pages + (kPages - 1) * kPage;
  for (std::size_t i = 0; i < kPage; ++i) wrong += written[i] != peer_pattern(i) ? 1U : 0U;
  fmt::print("{} questions answered, {} bytes wrong in the page that the peer wrote\n", seen,
             wrong);
  return wrong == 0 ? 0 : 1;
}

// Copies the pages between mailbox and last into a buffer of ours and compares them.
std::size_t wrong_bytes_by_copy(xengnttab_handle* grants, std::uint16_t domain,
                                const std::array<std::uint32_t, kPages>& references) {
  std::vector<unsigned char> buffer(kPages * kPage);
  std::vector<xengnttab_grant_copy_segment_t> segments;
  for (std::uint32_t i = 1; i + 1 < kPages; ++i) {
    xengnttab_grant_copy_segment_t segment{};
    segment.source.foreign = {.ref = references[i], .offset = 0, .domid = domain};
    segment.dest.virt = &buffer[i * kPage];
    segment.len = kPage;
    segment.flags = GNTCOPY_source_gref;
    segments.push_back(segment);
  }
  if (xengnttab_grant_copy(grants, static_cast<std::uint32_t>(segments.size()), segments.data()) !=
      0) {
    give_up("xengnttab_grant_copy");
  }
  std::size_t wrong = 0;
  for (const auto& segment : segments) wrong += segment.status != GNTST_okay ? 1U : 0U;
  for (std::size_t i = kPage; i < (kPages - 1) * kPage; ++i)
    wrong += buffer[i] != pattern(i) ? 1U : 0U;
  return wrong;
}

bool write_by_copy(xengnttab_handle* grants, std::uint16_t domain, std::uint32_t reference) {
  std::vector<unsigned char> buffer(kPage);
  for (std::size_t i = 0; i < kPage; ++i) buffer[i] = peer_pattern(i);
  xengnttab_grant_copy_segment_t segment{};
  segment.source.virt = buffer.data();
  segment.dest.foreign = {.ref = reference, .offset = 0, .domid = domain};
  segment.len = kPage;
  segment.flags = GNTCOPY_dest_gref;
  return xengnttab_grant_copy(grants, 1, &segment) == 0 && segment.status == GNTST_okay;
}

int take(std::uint32_t domain, std::string_view directory, std::uint32_t rounds) {
  const Store store{must(xs_open(0), "xs_open")};
  const Ports ports{must(xenevtchn_open(nullptr, 0), "xenevtchn_open")};
  const Grants grants{must(xengnttab_open(nullptr, 0), "xengnttab_open")};
  std::array<std::uint32_t, kPages> references{};
  for (std::uint32_t i = 0; i < kPages; ++i) {
    references[i] = get(store.get(), directory, fmt::format("reference{}", i));
  }
  auto* const pages = static_cast<unsigned char*>(
      must(xengnttab_map_domain_grant_refs(grants.get(), kPages, domain, references.data(),
                                           PROT_READ | PROT_WRITE),
           "xengnttab_map_domain_grant_refs"));
  const auto bound =
      xenevtchn_bind_interdomain(ports.get(), domain, get(store.get(), directory, "port"));
  if (bound < 0) give_up("xenevtchn_bind_interdomain");
  const auto port = static_cast<evtchn_port_t>(bound);
  // SAFETY: the other side, this same program, has constructed a Mailbox at the start of page 0.
  auto* const mailbox = reinterpret_cast<Mailbox*>(pages);  // NOLINT(*-reinterpret-cast)

  std::size_t wrong = 0;
  for (std::uint32_t question = 1; question <= rounds; ++question) {
    mailbox->question.store(question);
    if (xenevtchn_notify(ports.get(), port) != 0) give_up("xenevtchn_notify");
    while (mailbox->answer.load() != question) {
      if (!wait_for_event(ports.get())) {
        fmt::print("no answer to question {}\n", question);
        return 1;
      }
    }
    wrong += mailbox->value.load() != std::uint64_t{question} * question ? 1U : 0U;
  }
  fmt::print("{} questions, {} answers wrong\n", rounds, wrong);

  std::size_t wrong_mapped = 0;
  for (std::size_t i = kPage; i < kPages * kPage; ++i)
    wrong_mapped += pages[i] != pattern(i) ? 1U : 0U;
  const auto wrong_copied =
      wrong_bytes_by_copy(grants.get(), static_cast<std::uint16_t>(domain), references);
  const bool written =
      write_by_copy(grants.get(), static_cast<std::uint16_t>(domain), references.back());
  fmt::print("{} bytes wrong in the mapping, {} in the copy; writing by copy {}\n", wrong_mapped,
             wrong_copied, written ? "worked" : "failed");

  mailbox->stop.store(1);
  if (xenevtchn_notify(ports.get(), port) != 0) give_up("xenevtchn_notify");
  if (xengnttab_unmap(grants.get(), pages, kPages) != 0) give_up("xengnttab_unmap");
  return wrong + wrong_mapped + wrong_copied == 0 && written ? 0 : 1;
}

int usage() {
  fmt::print(stderr, "usage: xen_exchange offer PEER | take DOMAIN DIRECTORY [ROUNDS]\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  if (arguments.size() == 2 && arguments[0] == "offer") {
    const auto peer = parse(arguments[1]);
    return peer ? offer(*peer) : usage();
  }
  if ((arguments.size() == 3 || arguments.size() == 4) && arguments[0] == "take") {
    const auto domain = parse(arguments[1]);
    const auto rounds = arguments.size() == 4 ? parse(arguments[3]) : 1000U;
    return domain && rounds ? take(*domain, arguments[2], *rounds) : usage();
  }
  return usage();
} catch (const std::exception& failure) {
  // fmt::print may throw itself.
  static_cast<void>(std::fputs(failure.what(), stderr));
  static_cast<void>(std::fputc('\n', stderr));
  return 1;
}
