// Where the tests run: which domain they are in, who their peers are, and how a domain is made and
// destroyed there. Filled from the command line; the rules themselves never ask which Xen this is.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "tests/contract/peer_client.hpp"

namespace vmsg::contract {

// A second process in the domain of the tests: a backend that can be killed.
class Neighbour {
 public:
  Neighbour(const std::string& program, std::uint32_t domain);
  Neighbour(const Neighbour&) = delete;
  Neighbour& operator=(const Neighbour&) = delete;
  ~Neighbour();

  [[nodiscard]] Peer& peer() { return *peer_; }

 private:
  pid_t supervisor_;
  std::unique_ptr<Peer> peer_;
};

class World {
 public:
  // Takes its own options out of the arguments; false (after a message) if they make no sense.
  static bool set_up(int argc, char** argv);
  static World& instance();

  // The domain the tests run in.
  [[nodiscard]] std::uint32_t self() const { return self_; }
  // A domain that nobody ever creates.
  [[nodiscard]] std::uint32_t nobody() const { return 32'000; }
  // The peer in the other domain; nothing where the store alone is under test without a guest.
  [[nodiscard]] Peer* guest();
  [[nodiscard]] Peer* neighbour();
  // Makes and destroys a domain that has nothing to do with the others; false: not possible here.
  [[nodiscard]] bool can_create_domains() const { return !domain_command_.empty(); }
  [[nodiscard]] std::uint32_t create_domain();
  void destroy_domain(std::uint32_t domain);

  // Peers that were used give back what they hold.
  void reset_peers();
  void give_up_peers();

 private:
  std::uint32_t self_ = 0;
  std::optional<std::uint32_t> guest_domain_;
  std::string peer_program_;
  std::string domain_command_;
  std::unique_ptr<Peer> guest_;
  std::unique_ptr<Neighbour> neighbour_;
};

// Base of all suites: peers come clean into a test and leave it clean.
class ContractTest : public testing::Test {
 protected:
  void TearDown() override;

  static World& world() { return World::instance(); }
  static std::uint32_t self() { return world().self(); }
  // Throws where there is none; a suite that can do without checks world().guest() first.
  static Peer& guest();
  static Peer& neighbour();
};

}  // namespace vmsg::contract
