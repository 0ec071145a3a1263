#include "tests/contract/world.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "tests/contract/protocol.hpp"

namespace vmsg::contract {
namespace {

constexpr std::string_view kUsage =
    "usage: contract-tests [GoogleTest options] [--self=DOMID] [--guest=DOMID]\n"
    "                      [--peer-program=PATH] [--domain-command=COMMAND]\n"
    "  --self            the domain this runs in (0)\n"
    "  --guest           a contract-peer serves /local/domain/DOMID/data/contract\n"
    "  --peer-program    contract-peer, to be run as a second process of this domain\n"
    "  --domain-command  `COMMAND create` makes a domain and prints its number,\n"
    "                    `COMMAND destroy DOMID` ends it\n";

std::string home_of(std::uint32_t domain) { return "/local/domain/" + std::to_string(domain); }

pid_t start(const std::string& program, const std::string& directory) {
  const pid_t self = getpid();
  const pid_t child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != self) _exit(1);
  execl(program.c_str(), program.c_str(), directory.c_str(), nullptr);
  std::perror(program.c_str());
  _exit(127);
}

// The first line a command prints. Throws if it fails.
std::string output_of(const std::string& command) {
  FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("cannot run " + command);
  std::array<char, 256> line{};
  const bool got_line = std::fgets(line.data(), line.size(), pipe) != nullptr;
  if (pclose(pipe) != 0) throw std::runtime_error(command + " failed");
  std::string text = got_line ? line.data() : "";
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace

Neighbour::Neighbour(const std::string& program, std::uint32_t domain) {
  const std::string directory = home_of(domain) + "/data/contract-neighbour";
  static_cast<void>(Store().remove(directory));  // of an earlier run
  supervisor_ = start(program, directory);
  peer_ = std::make_unique<Peer>(domain, directory);
}

Neighbour::~Neighbour() {
  peer_->quit();
  int status = 0;
  waitpid(supervisor_, &status, 0);
  static_cast<void>(Store().remove(peer_->directory()));
}

bool World::set_up(int argc, char** argv) {
  World& world = instance();
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const auto value = argument.substr(argument.find('=') + 1);
    if (argument.starts_with("--self=")) {
      world.self_ = to_number<std::uint32_t>(value);
    } else if (argument.starts_with("--guest=")) {
      world.guest_domain_ = to_number<std::uint32_t>(value);
    } else if (argument.starts_with("--peer-program=")) {
      world.peer_program_ = value;
    } else if (argument.starts_with("--domain-command=")) {
      world.domain_command_ = value;
    } else {
      std::fputs(kUsage.data(), stderr);
      return false;
    }
  }
  return true;
}

World& World::instance() {
  static World world;
  return world;
}

Peer* World::guest() {
  if (!guest_ && guest_domain_)
    guest_ = std::make_unique<Peer>(*guest_domain_, home_of(*guest_domain_) + "/data/contract");
  return guest_.get();
}

Peer* World::neighbour() {
  if (!neighbour_ && !peer_program_.empty())
    neighbour_ = std::make_unique<Neighbour>(peer_program_, self_);
  return neighbour_ ? &neighbour_->peer() : nullptr;
}

std::uint32_t World::create_domain() {
  return to_number<std::uint32_t>(output_of(domain_command_ + " create"));
}

void World::destroy_domain(std::uint32_t domain) {
  static_cast<void>(output_of(domain_command_ + " destroy " + std::to_string(domain)));
}

void World::reset_peers() {
  if (guest_) guest_->must("reset");
  if (neighbour_) neighbour_->peer().must("reset");
}

void World::give_up_peers() {
  guest_.reset();
  neighbour_.reset();
}

void ContractTest::TearDown() { world().reset_peers(); }

Peer& ContractTest::guest() {
  if (Peer* const guest = world().guest()) return *guest;
  throw std::logic_error("this rule needs a guest: give --guest");
}

Peer& ContractTest::neighbour() {
  if (Peer* const neighbour = world().neighbour()) return *neighbour;
  throw std::logic_error("this rule needs a second process: give --peer-program");
}

}  // namespace vmsg::contract
