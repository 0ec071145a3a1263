// The seccomp filter, tried from inside: what somebody who took the daemon over would do next is
// stopped, what the daemon itself does goes on. Each attempt is made by a process of its own.
#include "backend/confinement.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "devices/io_ring.hpp"

namespace vmsg {
namespace {

void confine_or_die() {
  if (const auto done = confine(); !done) {
    std::cerr << done.error() << '\n';
    std::_Exit(99);
  }
}

/// Ends with 0 when `attempt` (a system call's result) fails with EPERM inside of the filter.
void expect_refused(const std::function<long()>& attempt) {
  confine_or_die();
  errno = 0;
  const long result = attempt();
  if (result == -1 && errno == EPERM) std::_Exit(0);
  std::cerr << "it returned " << result << ", errno " << errno << '\n';
  std::_Exit(1);
}

struct Attempt {
  const char* name;
  std::function<long()> make;
};

void PrintTo(const Attempt& attempt, std::ostream* out) { *out << attempt.name; }

class Refused : public ::testing::TestWithParam<Attempt> {};

TEST_P(Refused, FailsAndTheDaemonGoesOn) {
  EXPECT_EXIT(expect_refused(GetParam().make), ::testing::ExitedWithCode(0), "");
}

std::vector<Attempt> refused_attempts() {
  std::vector<Attempt> attempts{
      {"packet_socket", [] { return ::socket(AF_PACKET, SOCK_RAW, 0); }},
      {"vsock", [] { return ::socket(AF_VSOCK, SOCK_STREAM, 0); }},
      {"crypto_socket", [] { return ::socket(AF_ALG, SOCK_SEQPACKET, 0); }},
      {"mount", [] { return ::mount("none", "/nonexistent", "tmpfs", 0, nullptr); }},
      {"umount", [] { return ::umount2("/nonexistent", 0); }},
      {"chroot", [] { return ::chroot("/nonexistent"); }},
      {"new_namespace", [] { return ::unshare(CLONE_NEWNS); }},
      {"other_namespace", [] { return ::setns(-1, 0); }},
      {"another_user", [] { return ::setuid(::getuid()); }},
      {"another_group", [] { return ::setgid(::getgid()); }},
      {"a_new_io_uring", [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); }},
      {"keys", [] { return ::syscall(SYS_keyctl, 0, 0, 0, 0, 0); }},
      {"perf_events", [] { return ::syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0); }},
      {"userfaultfd", [] { return ::syscall(SYS_userfaultfd, 0); }},
      {"reboot", [] { return ::syscall(SYS_reboot, 0, 0, 0, nullptr); }},
      {"swap", [] { return ::syscall(SYS_swapon, "/nonexistent", 0); }},
      {"the_clock", [] { return ::syscall(SYS_settimeofday, nullptr, nullptr); }},
      {"the_host_name", [] { return ::syscall(SYS_sethostname, nullptr, 0); }},
      {"a_device_node", [] { return ::syscall(SYS_mknodat, AT_FDCWD, "/nonexistent/x", 0, 0); }},
  };
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // Sanitizers make these calls themselves, so they are allowed then.
  attempts.push_back({"a_signal_to_another_process", [] { return ::kill(::getppid(), 0); }});
  attempts.push_back(
      {"reading_another_process",
       [] { return ::syscall(SYS_process_vm_readv, ::getppid(), nullptr, 0, nullptr, 0, 0); }});
  attempts.push_back({"a_new_process", [] {
                        return ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
                      }});
  attempts.push_back({"code_made_at_run_time", [] {
                        void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                        return page == MAP_FAILED ? -1L : 0L;
                      }});
  attempts.push_back({"data_turned_into_code", [] {
                        void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                        return static_cast<long>(::mprotect(page, 4096, PROT_READ | PROT_EXEC));
                      }});
#endif
  return attempts;
}

INSTANTIATE_TEST_SUITE_P(Attempts, Refused, ::testing::ValuesIn(refused_attempts()),
                         [](const auto& attempt) { return std::string(attempt.param.name); });

void run_a_program() {
  confine_or_die();
  const char* const arguments[] = {"/bin/true", nullptr};
  ::execve("/bin/true", const_cast<char* const*>(arguments), nullptr);
}

TEST(Deadly, RunningAProgram) {
  EXPECT_EXIT(run_a_program(), ::testing::KilledBySignal(SIGSYS), "");
}

TEST(Deadly, LoadingAModule) {
  EXPECT_EXIT(
      {
        confine_or_die();
        ::syscall(SYS_init_module, nullptr, 0, nullptr);
      },
      ::testing::KilledBySignal(SIGSYS), "");
}

TEST(Deadly, LoadingABpfProgram) {
  EXPECT_EXIT(
      {
        confine_or_die();
        ::syscall(SYS_bpf, 0, nullptr, 0);
      },
      ::testing::KilledBySignal(SIGSYS), "");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Deadly, TracingAProcess) {
  EXPECT_EXIT(
      {
        confine_or_die();
        ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
      },
      ::testing::KilledBySignal(SIGSYS), "");
}
#endif

// ---- what goes on -------------------------------------------------------------------------------

class Nothing final : public IoCompletion {
 public:
  void on_complete(std::int32_t result, bool) override { result_ = result; }
  std::int32_t result_ = 1;
};

int connect_by_ring() {
  auto ring = IoRing::create(4);
  if (!ring) return 98;
  Nothing nothing;
  const sockaddr address{};
  io_uring_sqe* entry = (*ring)->prepare(nothing);
  if (entry == nullptr) return 97;
  io_uring_prep_connect(entry, -1, &address, sizeof(address));
  (*ring)->submit_and_wait(std::nullopt);
  return (*ring)->reap(1) == 1 ? -nothing.result_ : 96;
}

// What a filter on system calls does not see: EBADF would mean that the ring tried.
TEST(Rings, ConnectingByTheRing) { EXPECT_EQ(connect_by_ring(), EACCES); }

bool can_still_work(IoRing& ring) {
  // A thread, with a signal mask, a mutex and a name.
  int from_thread = 0;
  std::thread([&] {
    ::pthread_setname_np(::pthread_self(), "inside");
    from_thread = 7;
  }).join();
  if (from_thread != 7) return false;
  // Files and sockets.
  for (const int family : {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK}) {
    const int fd = ::socket(family, family == AF_NETLINK ? SOCK_RAW : SOCK_STREAM, 0);
    if (fd < 0 && errno != EAFNOSUPPORT) return false;
    ::close(fd);
  }
  const int file = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (file < 0 || ::write(file, "x", 1) != 1) return false;
  // Waiting.
  if (::epoll_create1(EPOLL_CLOEXEC) < 0 || ::eventfd(0, EFD_CLOEXEC) < 0) return false;
  // The ring that was made before.
  Nothing nothing;
  io_uring_sqe* entry = ring.prepare(nothing);
  if (entry == nullptr) return false;
  io_uring_prep_nop(entry);
  ring.submit_and_wait(std::nullopt);
  return ring.reap(1) == 1 && nothing.result_ == 0;
}

TEST(Allowed, WhatTheDaemonDoes) {
  EXPECT_EXIT(
      {
        auto ring = IoRing::create(4);
        if (!ring) std::_Exit(98);
        confine_or_die();
        std::_Exit(can_still_work(**ring) ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace vmsg
