#include "backend/confinement.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>

namespace vmsg {
namespace {

struct FreeFilter {
  void operator()(void* filter) const { seccomp_release(filter); }
};
using Filter = std::unique_ptr<void, FreeFilter>;

// Allowed whatever their arguments are, by what they are for.
constexpr int kAllowed[] = {
    // Memory and threads of this process. mmap and mprotect are below.
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(mlock),
    SCMP_SYS(munlock),
    SCMP_SYS(mincore),
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(get_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(membarrier),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(getppid),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_setaffinity),
    SCMP_SYS(sched_getparam),
    SCMP_SYS(sched_getscheduler),
    SCMP_SYS(getcpu),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(arch_prctl),
    SCMP_SYS(getrandom),
    SCMP_SYS(getrusage),
    SCMP_SYS(uname),
    SCMP_SYS(sysinfo),
    SCMP_SYS(times),
    // Who we are.
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(getgroups),
    SCMP_SYS(getresuid),
    SCMP_SYS(getresgid),
    SCMP_SYS(capget),
    // Time and signals (to this process alone: tgkill is below).
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(timerfd_gettime),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(signalfd4),
    // Files: targets of disks, outputs of consoles, terminals.
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(preadv),
    SCMP_SYS(pwritev),
    SCMP_SYS(preadv2),
    SCMP_SYS(pwritev2),
    SCMP_SYS(lseek),
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(openat2),
    SCMP_SYS(close),
    SCMP_SYS(close_range),
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(pipe2),
    SCMP_SYS(fcntl),
    SCMP_SYS(flock),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(sync_file_range),
    SCMP_SYS(fallocate),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fadvise64),
    SCMP_SYS(stat),
    SCMP_SYS(fstat),
    SCMP_SYS(lstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(statfs),
    SCMP_SYS(fstatfs),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(symlink),
    SCMP_SYS(symlinkat),
    SCMP_SYS(getdents64),
    SCMP_SYS(getcwd),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(mkdir),
    SCMP_SYS(mkdirat),
    SCMP_SYS(chmod),
    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),
    SCMP_SYS(umask),
    SCMP_SYS(ioctl),
    SCMP_SYS(memfd_create),
    SCMP_SYS(splice),
    // Waiting.
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(eventfd2),
    // The rings of the workers were made before; which operations they take was fixed then.
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
    // Sockets, of the families below.
    SCMP_SYS(bind),
    SCMP_SYS(connect),
    SCMP_SYS(listen),
    SCMP_SYS(accept),
    SCMP_SYS(accept4),
    SCMP_SYS(shutdown),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(sendto),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(recvmmsg),
};

// The control socket, a console's socket, a network's socket, links and bridges.
constexpr int kFamilies[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kIsSanitized = true;
#else
constexpr bool kIsSanitized = false;
#endif

// What the leak check at the end of a sanitized build does to its own process.
constexpr int kForSanitizers[] = {
    SCMP_SYS(clone),
    SCMP_SYS(ptrace),
    SCMP_SYS(wait4),
    SCMP_SYS(getdents),
    SCMP_SYS(getdents64),
    SCMP_SYS(kill),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(mmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(prctl),
    SCMP_SYS(personality),
};

// No bug of ours makes these: somebody else is at work.
constexpr int kDeadly[] = {
    SCMP_SYS(execve),      SCMP_SYS(execveat),
    SCMP_SYS(ptrace),      SCMP_SYS(process_vm_writev),
    SCMP_SYS(init_module), SCMP_SYS(finit_module),
    SCMP_SYS(kexec_load),  SCMP_SYS(bpf),
};

// Flags of clone() that make namespaces: a thread has none of them.
constexpr unsigned long kNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                      CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

/// One comparison of an argument of a call.
scmp_arg_cmp argument(unsigned index, std::uint64_t value) {
  return {.arg = index, .op = SCMP_CMP_EQ, .datum_a = value, .datum_b = 0};
}
scmp_arg_cmp argument_bits(unsigned index, std::uint64_t mask, std::uint64_t value) {
  return {.arg = index, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
}

int allow_with_conditions(scmp_filter_ctx filter, int own_process) {
  int error = 0;
  const auto rule = [&](int call, const scmp_arg_cmp& condition) {
    if (error == 0) {
      error = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &condition);
    }
  };
  for (const int family : kFamilies) {
    rule(SCMP_SYS(socket), argument(0, static_cast<std::uint64_t>(family)));
  }
  rule(SCMP_SYS(socketpair), argument(0, AF_UNIX));
  // Threads, and no processes: what is cloned shares our memory. clone3() hides its flags from a
  // filter, so glibc is told that there is none and takes clone().
  rule(SCMP_SYS(clone),
       argument_bits(0, CLONE_VM | CLONE_THREAD | kNamespaces, CLONE_VM | CLONE_THREAD));
  // Memory is either written or executed.
  rule(SCMP_SYS(mmap), argument_bits(2, PROT_EXEC, 0));
  rule(SCMP_SYS(mprotect), argument_bits(2, PROT_EXEC, 0));
  rule(SCMP_SYS(tgkill), argument(0, static_cast<std::uint64_t>(own_process)));
  rule(SCMP_SYS(prctl), argument(0, PR_SET_NAME));
  rule(SCMP_SYS(prctl), argument(0, PR_SET_VMA));
  rule(SCMP_SYS(prlimit64), argument(2, 0));  // reads only
  return error;
}

int add_rules(scmp_filter_ctx filter) {
  for (const int call : kAllowed) {
    // A call that this architecture does not have is no call to allow.
    const int error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
    if (error != 0 && error != -EDOM) return error;
  }
  for (const int call : kForSanitizers) {
    if (!kIsSanitized) break;
    if (const int error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0); error != 0) {
      return error;
    }
  }
  for (const int call : kDeadly) {
    if (kIsSanitized && call == SCMP_SYS(ptrace)) continue;
    if (const int error = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, call, 0); error != 0) {
      return error;
    }
  }
  if (const int error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
      error != 0) {
    return error;
  }
  return allow_with_conditions(filter, ::getpid());
}

}  // namespace

Result<void, std::string> confine() {
  const Filter filter(seccomp_init(SCMP_ACT_ERRNO(EPERM)));
  if (filter == nullptr) return std::unexpected(std::string("seccomp: no filter can be made"));
  int error = seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  // A library may have made a thread already.
  if (error == 0) error = seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1);
  if (error == 0) error = add_rules(filter.get());
  if (error == 0) error = seccomp_load(filter.get());
  if (error != 0) {
    return std::unexpected(fmt::format("seccomp: {}", std::generic_category().message(-error)));
  }
  return {};
}

}  // namespace vmsg
