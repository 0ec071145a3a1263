// xen-mock: the mock Xen's command line. `serve` is the broker; everything else talks to one.
//
// Exit status: 0 done, 1 the broker refused or something is left (leaks), 2 wrong usage or no
// broker.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "tests/mock-xen/broker.hpp"
#include "tests/mock-xen/calls.hpp"
#include "tests/mock-xen/control_client.hpp"

namespace {

using nlohmann::json;
using vmsg::mock::Broker;
using vmsg::mock::ControlClient;

constexpr int kRefused = 1;
constexpr int kUsage = 2;

std::atomic<Broker*> serving{nullptr};

void on_signal(int) {
  if (Broker* const broker = serving.load(); broker != nullptr) broker->stop();
}

void complain(const std::string& text) { fmt::print(stderr, "xen-mock: {}\n", text); }

// --- The broker ------------------------------------------------------------------------------

struct ServeOptions {
  std::string socket;
  std::string log;
  vmsg::mock::StoreLimits limits;
};

int serve(const ServeOptions& options) {
  // Every handle of every client costs a descriptor or three here.
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    static_cast<void>(::setrlimit(RLIMIT_NOFILE, &files));
  }
  std::string error;
  const std::unique_ptr<Broker> broker = Broker::create(options.socket, error, options.limits);
  if (!broker) {
    complain(error);
    return kUsage;
  }
  if (!options.log.empty() && !broker->log_to(options.log)) {
    complain("cannot write to " + options.log);
    return kUsage;
  }
  serving = broker.get();
  struct sigaction action{};
  action.sa_handler = on_signal;
  if (::sigaction(SIGTERM, &action, nullptr) != 0 || ::sigaction(SIGINT, &action, nullptr) != 0) {
    complain("cannot handle signals");
    return kUsage;
  }
  fmt::print("xen-mock: ready at {}\n", options.socket);
  if (std::fflush(stdout) != 0) complain("cannot write to standard output");
  const int ended = broker->run();
  serving = nullptr;
  if (ended == 0) return 0;
  complain(fmt::format("the poll loop ended: {}", std::generic_category().message(ended)));
  return kRefused;
}

// --- Commands --------------------------------------------------------------------------------

struct CommandOptions {
  std::string socket;
  std::optional<std::uint32_t> domid;
  bool as_json = false;
  bool driver_domain = false;
  std::string name;
  std::uint32_t number = 0;
  std::string error = "EIO";
  std::string on_or_off;
  bool list = false;
  bool clear = false;
};

/// A number, or a name like EIO.
std::optional<int> parse_errno(const std::string& text) {
  int number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && stop == text.data() + text.size()) return number;
  constexpr int kLastErrno = 133;
  for (int candidate = 1; candidate <= kLastErrno; ++candidate) {
    const char* const name = ::strerrorname_np(candidate);
    if (name != nullptr && text == name) return candidate;
  }
  return std::nullopt;
}

int ask(const CommandOptions& options, json request, const std::function<int(const json&)>& show) {
  auto client = ControlClient::connect(options.socket);
  if (!client) {
    complain(client.error());
    return kUsage;
  }
  if (options.domid) request["domid"] = *options.domid;
  const auto answer = client->call(request);
  if (!answer) {
    complain(answer.error());
    return kRefused;
  }
  return show(*answer);
}

int show_nothing(const json&) { return 0; }

int show_domains(const json& answer) {
  for (const json& domain : answer.at("domains")) {
    fmt::print("{}{}\n", domain.at("domid").get<std::uint32_t>(),
               domain.at("dying").get<bool>() ? " dying" : "");
  }
  return 0;
}

int show_stats(const json& answer, bool as_json) {
  if (as_json) {
    fmt::print("{}\n", answer.at("domains").dump(2));
    return 0;
  }
  for (const auto& [domid, counters] : answer.at("domains").items()) {
    fmt::print("domain {}\n", domid);
    for (const auto& [name, value] : counters.items()) {
      const auto number = value.get<std::uint64_t>();
      if (number != 0) fmt::print("  {:<20}{:>12}\n", name, number);
    }
  }
  return 0;
}

int show_leaks(const json& answer) {
  for (const json& line : answer.at("held")) fmt::print("{}\n", line.get<std::string>());
  return answer.at("held").empty() ? 0 : kRefused;
}

int show_failures(const json& answer) {
  for (const json& rule : answer.at("armed")) {
    fmt::print("domain {}: {} in {} with {}\n", rule.at("domid").get<std::uint32_t>(),
               rule.at("call").get<std::string>(), rule.at("nth").get<std::uint32_t>(),
               rule.at("errno").get<int>());
  }
  return 0;
}

int fail(const CommandOptions& options) {
  if (options.list) return ask(options, {{"command", "fail-list"}}, show_failures);
  if (options.clear) return ask(options, {{"command", "fail-clear"}}, show_nothing);
  if (options.name.empty()) {
    complain("fail: which call? (or --list, --clear)");
    return kUsage;
  }
  const std::optional<int> error = parse_errno(options.error);
  if (!error) {
    complain("no such errno: " + options.error);
    return kUsage;
  }
  if (!vmsg::mock::find_call(options.name)) {
    complain("there is no call '" + options.name + "'; there are:");
    for (const auto name : vmsg::mock::kCallNames) fmt::print(stderr, "  {}\n", name);
    return kUsage;
  }
  return ask(
      options,
      {{"command", "fail"}, {"call", options.name}, {"nth", options.number}, {"errno", *error}},
      show_nothing);
}

int complete_unmaps(const CommandOptions& options) {
  return ask(options, {{"command", "complete-unmaps"}}, [](const json& answer) {
    fmt::print("{} completed\n", answer.at("completed").get<std::size_t>());
    return 0;
  });
}

// --- The command line ------------------------------------------------------------------------

class CommandLine {
 public:
  CommandLine() {
    app_.require_subcommand(1);
    add_serve();
    add_domain();
    add_looking();
    add_failing();
    add_settings();
  }

  int run(int count, char** words) {
    try {
      app_.parse(count, words);
    } catch (const CLI::ParseError& error) {
      return app_.exit(error) == 0 ? 0 : kUsage;
    }
    return action_();
  }

 private:
  CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& what,
                        std::function<int()> action) {
    CLI::App* const command = parent.add_subcommand(name, what);
    command->add_option("--socket", options_.socket, "The broker's socket")
        ->envname("XEN_MOCK")
        ->required();
    command->callback([this, action = std::move(action)] { action_ = action; });
    return command;
  }

  void add_domid(CLI::App* command, bool required) {
    command->add_option("domid", options_.domid, "A domain's number")->required(required);
  }

  void add_serve() {
    CLI::App* const command = app_.add_subcommand("serve", "Play Xen and xenstored, until SIGTERM");
    command->add_option("--socket", serve_.socket, "Listen here: a path, or '@' and a name")
        ->required();
    command->add_option("--internal-log", serve_.log,
                        "Write connections and requests to this file");
    command
        ->add_option("--entry-nb", serve_.limits.nodes_per_domain,
                     "How many nodes of xenstore a domain may own, as xenstored's option")
        ->capture_default_str();
    command->callback([this] { action_ = [this] { return serve(serve_); }; });
  }

  void add_domain() {
    CLI::App* const domain = app_.add_subcommand("domain", "Domains appear and vanish");
    domain->require_subcommand(1);
    CLI::App* const create = add_command(*domain, "create", "Make a domain", [this] {
      return ask(options_, {{"command", "create"}, {"driver_domain", options_.driver_domain}},
                 show_nothing);
    });
    add_domid(create, true);
    create->add_flag("--driver-domain", options_.driver_domain,
                     "With the xenstore directories of one");
    add_domid(add_command(*domain, "destroy", "End a domain",
                          [this] { return ask(options_, {{"command", "destroy"}}, show_nothing); }),
              true);
    add_command(*domain, "list", "Print the domains' numbers",
                [this] { return ask(options_, {{"command", "list"}}, show_domains); });
  }

  void add_looking() {
    CLI::App* const stats = add_command(app_, "stats", "What domains have done", [this] {
      return ask(options_, {{"command", "stats"}},
                 [this](const json& answer) { return show_stats(answer, options_.as_json); });
    });
    add_domid(stats, false);
    stats->add_flag("--json", options_.as_json, "As JSON, zeroes included");
    add_domid(add_command(app_, "leaks", "What domains still hold; exit status 1 if anything",
                          [this] { return ask(options_, {{"command", "leaks"}}, show_leaks); }),
              false);
  }

  void add_failing() {
    CLI::App* const command =
        add_command(app_, "fail", "Make a library call fail", [this] { return fail(options_); });
    CLI::Option* const call =
        command->add_option("call", options_.name, "A function of Xen's libraries, or 'any'");
    CLI::Option* const nth =
        command->add_option("--nth", options_.number, "Which one from now; 1 is the next");
    command->add_option("--errno", options_.error, "A number or a name like EIO")
        ->capture_default_str();
    command->add_option("--domain", options_.domid, "Only in this domain; else in all there are");
    call->needs(nth);
    CLI::Option* const list =
        command->add_flag("--list", options_.list, "Print what is going to fail")->excludes(call);
    command->add_flag("--clear", options_.clear, "Nothing is going to fail")
        ->excludes(call)
        ->excludes(list);
  }

  void add_settings() {
    CLI::App* const set = add_command(app_, "set", "Turn a behaviour on or off", [this] {
      return ask(
          options_,
          {{"command", "set"}, {"switch", options_.name}, {"on", options_.on_or_off == "on"}},
          show_nothing);
    });
    set->add_option("switch", options_.name, "Which one")
        ->required()
        ->check(
            CLI::IsMember({"deferred-unmap", "scattered-references", "newest-reference-first"}));
    set->add_option("value", options_.on_or_off, "on or off")
        ->required()
        ->check(CLI::IsMember({"on", "off"}));
    add_command(app_, "complete-unmaps", "Let the deferred unmaps take effect",
                [this] { return complete_unmaps(options_); });
    CLI::App* const limit = add_command(app_, "limit", "Limit what a domain can have", [this] {
      return ask(options_,
                 {{"command", "limit"}, {"limit", options_.name}, {"value", options_.number}},
                 show_nothing);
    });
    limit->add_option("limit", options_.name, "Of what")
        ->required()
        ->check(CLI::IsMember({"ports", "grant-entries", "shared-pages", "maptrack"}));
    limit->add_option("value", options_.number, "How many")->required();
    limit->add_option("--domain", options_.domid, "Whose")->required();
    add_command(app_, "stop", "End the broker",
                [this] { return ask(options_, {{"command", "stop"}}, show_nothing); });
  }

  CLI::App app_{"The mock Xen: its broker, and the commands that steer one"};
  ServeOptions serve_;
  CommandOptions options_;
  std::function<int()> action_;
};

}  // namespace

int main(int argc, char** argv) {
  CommandLine line;
  return line.run(argc, argv);
}
