// Debian's own xenstored as a store to play transcripts to: a process of its own with
// xenstored_shim.c preloaded, domain 0 over its socket, other domains over their rings.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>

#include "tests/mock-xen/store/transcript.hpp"

namespace vmsg::mock::store {

class XenstoredUnderTest : public StoreUnderTest {
 public:
  /// Where the program, the directory of its libraries and the shim are.
  struct Paths {
    std::string xenstored;
    std::string libraries;
    std::string shim;
  };
  explicit XenstoredUnderTest(const Paths& paths);
  ~XenstoredUnderTest() override;

  void introduce(std::uint16_t domid) override;
  void release(std::uint16_t domid) override;
  void send(const std::string& connection, const StoreMessage& message) override;
  StoreMessage next(const std::string& connection) override;
  void close(const std::string& connection) override;

 private:
  class Line;
  class Socket;
  class Ring;
  Line& line(const std::string& connection);
  void kick(char what) const;

  std::string lab_;
  int kick_fd_ = -1;
  pid_t pid_ = -1;
  std::map<std::string, std::unique_ptr<Line>> lines_;
};

}  // namespace vmsg::mock::store
