#include "tests/mock-xen/store/xenstored_under_test.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <system_error>

namespace vmsg::mock::store {
namespace {

constexpr int kPatienceMs = 10000;

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

int connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  // SAFETY: the sockets interface takes every family's address by this pointer type.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  ::close(fd);
  return -1;
}

void wait_readable(int fd) {
  pollfd waiting = {.fd = fd, .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, kPatienceMs) != 1) throw std::runtime_error("xenstored says nothing");
}

}  // namespace

/// A stream of bytes to and from xenstored.
class XenstoredUnderTest::Line {
 public:
  Line() = default;
  virtual ~Line() = default;
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  virtual void write(const char* bytes, std::size_t size) = 0;
  virtual void read(char* bytes, std::size_t size) = 0;
};

class XenstoredUnderTest::Socket : public Line {
 public:
  explicit Socket(const std::string& path) : fd_(connect_to(path)) {
    if (fd_ < 0) fail("connect to xenstored");
  }
  ~Socket() override { ::close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  void write(const char* bytes, std::size_t size) override {
    if (::send(fd_, bytes, size, MSG_NOSIGNAL) != static_cast<ssize_t>(size)) fail("send");
  }
  void read(char* bytes, std::size_t size) override {
    while (size > 0) {
      wait_readable(fd_);
      const ssize_t n = ::read(fd_, bytes, size);
      if (n <= 0) throw std::runtime_error("xenstored hung up");
      bytes += n;
      size -= static_cast<std::size_t>(n);
    }
  }

 private:
  int fd_;
};

/// The guest's end of its ring.
class XenstoredUnderTest::Ring : public Line {
 public:
  Ring(const std::string& page, const std::string& wake, int kick_fd) : kick_fd_(kick_fd) {
    const int fd = ::open(page.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ::ftruncate(fd, 4096) != 0) fail("ring");
    void* mapped = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    if (mapped == MAP_FAILED) fail("mmap");
    ring_ = static_cast<xenstore_domain_interface*>(mapped);
    ::unlink(wake.c_str());
    if (::mkfifo(wake.c_str(), 0600) != 0) fail("mkfifo");
    wake_fd_ = ::open(wake.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (wake_fd_ < 0) fail("open wake");
  }
  ~Ring() override {
    ::close(wake_fd_);
    ::munmap(ring_, 4096);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  void write(const char* bytes, std::size_t size) override {
    for (std::size_t i = 0; i < size; ++i) {
      const std::uint32_t produced = ring_->req_prod;
      while (produced - load(ring_->req_cons) == XENSTORE_RING_SIZE) wait();
      ring_->req[MASK_XENSTORE_IDX(produced)] = bytes[i];
      store(ring_->req_prod, produced + 1);
    }
    kick();
  }
  void read(char* bytes, std::size_t size) override {
    for (std::size_t i = 0; i < size; ++i) {
      const std::uint32_t consumed = ring_->rsp_cons;
      while (load(ring_->rsp_prod) == consumed) wait();
      bytes[i] = ring_->rsp[MASK_XENSTORE_IDX(consumed)];
      store(ring_->rsp_cons, consumed + 1);
    }
    kick();
  }

 private:
  static std::uint32_t load(std::uint32_t& index) {
    return std::atomic_ref(index).load(std::memory_order_acquire);
  }
  static void store(std::uint32_t& index, std::uint32_t value) {
    std::atomic_ref(index).store(value, std::memory_order_release);
  }
  void kick() const {
    if (::write(kick_fd_, "k", 1) != 1) fail("kick");
  }
  void wait() const {
    kick();
    wait_readable(wake_fd_);
    std::array<char, 256> bytes;
    if (::read(wake_fd_, bytes.data(), bytes.size()) < 0) fail("wake");
  }

  xenstore_domain_interface* ring_ = nullptr;
  int kick_fd_;
  int wake_fd_ = -1;
};

XenstoredUnderTest::XenstoredUnderTest(const Paths& paths) {
  std::string lab = std::filesystem::temp_directory_path() / "store-lab-XXXXXX";
  if (::mkdtemp(lab.data()) == nullptr) fail("mkdtemp");
  lab_ = lab;
  const std::string kick_path = lab_ + "/kick";
  if (::mkfifo(kick_path.c_str(), 0600) != 0) fail("mkfifo");
  kick_fd_ = ::open(kick_path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);

  std::vector<std::string> environment = {"STORE_LAB=" + lab_, "XENSTORED_RUNDIR=" + lab_,
                                          "LD_LIBRARY_PATH=" + paths.libraries,
                                          "LD_PRELOAD=" + paths.shim};
  const std::string log = lab_ + "/log";
  pid_ = ::fork();
  if (pid_ == 0) {
    const int out = ::open(log.c_str(), O_WRONLY | O_CREAT, 0600);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    std::vector<char*> pointers;
    pointers.reserve(environment.size() + 1);
    for (std::string& entry : environment) pointers.push_back(entry.data());
    pointers.push_back(nullptr);
    ::execle(paths.xenstored.c_str(), "xenstored", "-N", nullptr, pointers.data());
    ::_exit(127);
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  const std::string socket = lab_ + "/socket";
  for (int fd = -1; fd < 0; fd = connect_to(socket)) {
    // There is nothing to wait for but the socket itself.
    if (std::chrono::steady_clock::now() > deadline || ::waitpid(pid_, nullptr, WNOHANG) != 0) {
      throw std::runtime_error("xenstored did not start, see " + log);
    }
    ::poll(nullptr, 0, 1);
  }
}

XenstoredUnderTest::~XenstoredUnderTest() {
  lines_.clear();
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  ::close(kick_fd_);
  std::error_code ignored;
  std::filesystem::remove_all(lab_, ignored);
}

void XenstoredUnderTest::kick(char what) const {
  if (::write(kick_fd_, &what, 1) != 1) fail("kick");
}

XenstoredUnderTest::Line& XenstoredUnderTest::line(const std::string& connection) {
  std::unique_ptr<Line>& line = lines_[connection];
  if (!line) {
    if (std::stoi(connection) != 0) throw std::runtime_error("no domain " + connection);
    line = std::make_unique<Socket>(lab_ + "/socket");
  }
  return *line;
}

void XenstoredUnderTest::introduce(std::uint16_t domid) {
  const std::string number = std::to_string(domid);
  const int fd = ::open((lab_ + "/dom" + number).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  ::close(fd);
  lines_[number] =
      std::make_unique<Ring>(lab_ + "/ring" + number, lab_ + "/wake" + number, kick_fd_);

  StoreMessage message;
  message.payload = number + std::string("\0001\0001\0", 5);
  message.header = {.type = XS_INTRODUCE,
                    .req_id = 0,
                    .tx_id = 0,
                    .len = static_cast<std::uint32_t>(message.payload.size())};
  send("toolstack", message);
  if (next("toolstack").header.type != XS_INTRODUCE) throw std::runtime_error("not introduced");
}

void XenstoredUnderTest::release(std::uint16_t domid) {
  ::unlink((lab_ + "/dom" + std::to_string(domid)).c_str());
  lines_.erase(std::to_string(domid));
  kick('v');
}

void XenstoredUnderTest::send(const std::string& connection, const StoreMessage& message) {
  Line& to = line(connection == "toolstack" ? "0toolstack" : connection);
  std::string bytes(sizeof message.header, '\0');
  std::memcpy(bytes.data(), &message.header, sizeof message.header);
  bytes.append(message.payload);
  to.write(bytes.data(), bytes.size());
}

StoreMessage XenstoredUnderTest::next(const std::string& connection) {
  Line& from = line(connection == "toolstack" ? "0toolstack" : connection);
  StoreMessage message;
  std::array<char, sizeof message.header> header;
  from.read(header.data(), header.size());
  std::memcpy(&message.header, header.data(), header.size());
  message.payload.resize(message.header.len);
  from.read(message.payload.data(), message.payload.size());
  return message;
}

void XenstoredUnderTest::close(const std::string& connection) { lines_.erase(connection); }

}  // namespace vmsg::mock::store
