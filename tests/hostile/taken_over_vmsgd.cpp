// vmsgd with an attacker in the place of its entropy device's code: when a guest first asks for
// random bytes, what serves it tries to get at everything that the daemon should not, and the guest
// reads what came of it: a line an attempt, "refused: WHAT", "reached: WHAT", or "absent: WHAT"
// where there is no such file.
//
// The linker (--wrap) has __wrap_getrandom() called in the place of getrandom(): in a worker's
// thread of the whole daemon, with its user, its capability and its filter. VMSG_SECRET names a
// file that is root's alone, VMSG_OWN one of the daemon's user. VMSG_DEADLY names the one attempt
// that is to be made instead and ends the daemon.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace {

struct Attempt {
  std::string_view what;
  std::function<long()> make;  // negative: refused
};

const char* setting(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// A process that comes into being goes at once.
long process() {
  const long child = syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) _exit(0);
  return child;
}

long all_capabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct wanted[2]{};
  for (auto& each : wanted) each.effective = each.permitted = ~0U;
  return syscall(SYS_capset, &header, wanted);
}

long page(int protection) {
  void* const made = mmap(nullptr, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return made == MAP_FAILED ? -1 : 0;
}

long data_as_code() {
  void* const made =
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return mprotect(made, 4096, PROT_READ | PROT_EXEC);
}

/// With what the kernel wants for it: nothing but the filter is in the way.
long io_uring() {
  io_uring_params params{};
  return syscall(SYS_io_uring_setup, 1, &params);
}

std::vector<Attempt> attempts() {
  return {
      {"a file of root's", [] { return open(setting("VMSG_SECRET"), O_RDONLY); }},
      {"writing to a file of root's", [] { return open("/etc/passwd", O_WRONLY); }},
      {"a new file in a folder of root's",
       [] { return open("/etc/vmsgd-was-here", O_WRONLY | O_CREAT, 0600); }},
      {"removing a file of root's", [] { return unlink(setting("VMSG_SECRET")); }},
      {"the rights of a file of root's", [] { return chmod(setting("VMSG_SECRET"), 0666); }},
      {"the machine's memory", [] { return open("/dev/mem", O_RDWR); }},
      {"the hypervisor", [] { return open("/dev/xen/privcmd", O_RDWR); }},
      {"the memory of init, as a file", [] { return open("/proc/1/mem", O_RDWR); }},
      {"the memory of init",
       [] { return syscall(SYS_process_vm_readv, 1, nullptr, 0, nullptr, 0, 0); }},
      {"a signal to init", [] { return kill(1, 0); }},
      {"a process", process},
      {"being root", [] { return syscall(SYS_setuid, 0); }},
      {"all capabilities", all_capabilities},
      {"a raw socket", [] { return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP); }},
      {"a packet socket", [] { return socket(AF_PACKET, SOCK_RAW, 0); }},
      {"a socket to the hypervisor's host", [] { return socket(AF_VSOCK, SOCK_STREAM, 0); }},
      {"a mount", [] { return mount("none", "/mnt", "tmpfs", 0, nullptr); }},
      {"a namespace", [] { return unshare(CLONE_NEWNS); }},
      {"an io_uring of its own", io_uring},
      {"code made at run time", [] { return page(PROT_READ | PROT_WRITE | PROT_EXEC); }},
      {"data turned into code", data_as_code},
      {"a file of the daemon's user", [] { return open(setting("VMSG_OWN"), O_RDWR); }},
      {"a TCP socket", [] { return socket(AF_INET, SOCK_STREAM, 0); }},
      {"a unix socket", [] { return socket(AF_UNIX, SOCK_STREAM, 0); }},
      {"the network's configuration", [] { return socket(AF_NETLINK, SOCK_RAW, 0); }},
  };
}

std::vector<Attempt> deadly_attempts() {
  return {
      {"program",
       [] {
         char program[] = "/bin/true";
         char* const arguments[] = {program, nullptr};
         return execve(program, arguments, nullptr);
       }},
      {"tracing", [] { return ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); }},
      {"module", [] { return syscall(SYS_init_module, nullptr, 0, nullptr); }},
      {"bpf", [] { return syscall(SYS_bpf, 0, nullptr, 0); }},
  };
}

std::string try_everything() {
  const std::string_view deadly = setting("VMSG_DEADLY");
  std::string report;
  for (const Attempt& attempt : deadly.empty() ? attempts() : deadly_attempts()) {
    if (!deadly.empty() && attempt.what != deadly) continue;
    const bool is_refused = attempt.make() < 0;
    report += !is_refused ? "reached: " : errno == ENOENT ? "absent: " : "refused: ";
    report += attempt.what;
    report += '\n';
  }
  return report;
}

}  // namespace

// The linker asks for this name.
// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" ssize_t __wrap_getrandom(void* out, std::size_t size, unsigned /*flags*/) {
  static const std::string report = try_everything();
  static std::atomic<std::size_t> told{0};
  auto* const bytes = static_cast<char*>(out);
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t at = told++;
    bytes[i] = at < report.size() ? report[at] : '\n';
  }
  return static_cast<ssize_t>(size);
}
