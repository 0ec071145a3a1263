// The tests' end of the command protocol: tells one contract-peer what to do and waits for it.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/contract/abi/store.hpp"

namespace vmsg::contract {

struct PeerReply {
  int error = 0;  // the errno the peer got; 0: done
  std::vector<std::string> words;
};

// Pages that the peer shares or has mapped.
struct PeerArea {
  std::string id;
  std::vector<std::uint32_t> references;  // when shared
};

class Peer {
 public:
  // `directory` is absolute. Waits for the peer to announce itself; throws if it does not.
  Peer(std::uint32_t domain, std::string directory);

  [[nodiscard]] std::uint32_t domain() const { return domain_; }
  // The peer's own corner of the store, for nodes of the tests.
  [[nodiscard]] const std::string& directory() const { return directory_; }

  // call("share", 0, 2, "rw"): any errno is an answer. Throws if there is no answer.
  template <class... Words>
  PeerReply call(const Words&... words) {
    std::string request;
    ((request += ' ' + as_word(words)), ...);
    return ask(request);
  }
  // The same where an error would make the rest of the test pointless: throws on one.
  template <class... Words>
  std::vector<std::string> must(const Words&... words) {
    std::string request;
    ((request += ' ' + as_word(words)), ...);
    return ask_or_throw(request);
  }

  PeerArea share(std::uint32_t with, int pages, std::string_view access = "rw");
  PeerArea map(std::uint32_t domain, std::uint32_t reference, std::string_view access = "rw",
               int notify_offset = -1, int notify_port = -1);
  void release(const PeerArea& area) { must("release", area.id); }
  void fill(const PeerArea& area, std::size_t offset, std::size_t length, unsigned byte) {
    must("fill", area.id, offset, length, byte);
  }
  std::string peek(const PeerArea& area, std::size_t offset, std::size_t length);
  evtchn_port_t offer(std::uint32_t to);
  evtchn_port_t bind(std::uint32_t domain, evtchn_port_t remote);

  // SIGKILL in the middle of everything; returns when its successor serves.
  void die();
  // Ends a peer for good.
  void quit();

 private:
  static std::string as_word(std::string_view word) { return std::string(word); }
  static std::string as_word(std::integral auto number) { return std::to_string(number); }

  PeerReply ask(const std::string& request);
  std::vector<std::string> ask_or_throw(const std::string& request);
  void send(const std::string& request);
  // Waits until the node holds something that `is_it` accepts, and returns that.
  template <class Predicate>
  std::string await_node(std::string_view node, Predicate is_it);
  std::string path(std::string_view node) const { return directory_ + std::string(node); }

  std::uint32_t domain_;
  std::string directory_;
  Store store_;
  std::string generation_;
  unsigned sequence_ = 0;
};

}  // namespace vmsg::contract
