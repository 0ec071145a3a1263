#include "tests/contract/peer_client.hpp"

#include <unistd.h>

#include <stdexcept>
#include <utility>

#include "tests/contract/protocol.hpp"

namespace vmsg::contract {

Peer::Peer(std::uint32_t domain, std::string directory)
    : domain_(domain), directory_(std::move(directory)) {
  if (store_.watch(path(kGenerationNode), "peer") != 0 ||
      store_.watch(path(kReplyNode), "peer") != 0)
    throw std::runtime_error("cannot watch " + directory_);
  generation_ =
      await_node(kGenerationNode, [](const std::string& value) { return !value.empty(); });
}

template <class Predicate>
std::string Peer::await_node(std::string_view node, Predicate is_it) {
  for (;;) {
    const std::string value = store_.read(path(node)).value_or("");
    if (is_it(value)) return value;
    if (!store_.next_event())
      throw std::runtime_error("the peer does not answer: " + path(node) + " stays \"" + value +
                               '"');
  }
}

void Peer::send(const std::string& request) {
  const int error = store_.write(path(kRequestNode), request);
  if (error != 0) throw std::runtime_error("cannot write " + path(kRequestNode));
}

PeerReply Peer::ask(const std::string& request) {
  // Unique also across runs of the tests against one long-living peer.
  const std::string sequence = std::to_string(getpid()) + '.' + std::to_string(++sequence_);
  send(sequence + request);
  const std::string line = await_node(
      kReplyNode, [&](const std::string& value) { return value.starts_with(sequence + ' '); });
  auto words = split_words(line);
  const int error = to_number<int>(words.at(1));
  words.erase(words.begin(), words.begin() + 2);
  return {.error = error, .words = std::move(words)};
}

std::vector<std::string> Peer::ask_or_throw(const std::string& request) {
  PeerReply reply = ask(request);
  if (reply.error != 0)
    throw std::runtime_error("peer:" + request + ": errno " + std::to_string(reply.error));
  return std::move(reply.words);
}

PeerArea Peer::share(std::uint32_t with, int pages, std::string_view access) {
  const auto words = must("share", with, pages, access);
  PeerArea area{.id = words.at(0), .references = {}};
  for (std::size_t i = 1; i < words.size(); ++i)
    area.references.push_back(to_number<std::uint32_t>(words[i]));
  return area;
}

PeerArea Peer::map(std::uint32_t domain, std::uint32_t reference, std::string_view access,
                   int notify_offset, int notify_port) {
  return {.id = must("map", domain, reference, access, notify_offset, notify_port).at(0),
          .references = {}};
}

std::string Peer::peek(const PeerArea& area, std::size_t offset, std::size_t length) {
  return from_hex(must("peek", area.id, offset, length).at(0));
}

evtchn_port_t Peer::offer(std::uint32_t to) {
  return to_number<evtchn_port_t>(must("offer", to).at(0));
}

evtchn_port_t Peer::bind(std::uint32_t domain, evtchn_port_t remote) {
  return to_number<evtchn_port_t>(must("bind", domain, remote).at(0));
}

void Peer::die() {
  send(std::to_string(getpid()) + '.' + std::to_string(++sequence_) + " die");
  generation_ =
      await_node(kGenerationNode, [&](const std::string& value) { return value != generation_; });
}

void Peer::quit() { send(std::to_string(getpid()) + '.' + std::to_string(++sequence_) + " quit"); }

}  // namespace vmsg::contract
