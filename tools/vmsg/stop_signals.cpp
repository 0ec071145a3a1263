#include "tools/vmsg/stop_signals.hpp"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace vmsg::tool {

StopSignals::StopSignals() {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGINT);
  sigaddset(&stop, SIGTERM);
  pthread_sigmask(SIG_SETMASK, nullptr, &before_);
  fd_ = FileDescriptor(signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK));
  if (fd_.is_open()) pthread_sigmask(SIG_BLOCK, &stop, nullptr);
}

StopSignals::~StopSignals() {
  // What has been heard must not end the process after all.
  signalfd_siginfo heard{};
  while (fd_.is_open() && read(fd_.get(), &heard, sizeof(heard)) > 0) {
  }
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

bool StopSignals::is_raised() const {
  pollfd ready{.fd = fd_.get(), .events = POLLIN, .revents = 0};
  return poll(&ready, 1, 0) > 0;
}

}  // namespace vmsg::tool
