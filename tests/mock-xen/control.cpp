// The operator's commands: see control.hpp.
#include "tests/mock-xen/control.hpp"

#include <cerrno>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

#include "tests/mock-xen/broker.hpp"
#include "tests/mock-xen/calls.hpp"
#include "tests/mock-xen/segment.hpp"

namespace vmsg::mock {
namespace {

using nlohmann::json;

json failure(const std::string& text, int error = EINVAL) {
  return {{"error", text}, {"errno", error}};
}

json outcome(int error, const std::string& what) {
  if (error == 0) return json::object();
  return failure(what + ": " + std::generic_category().message(error), error);
}

std::string domain_text(std::uint32_t domid) { return "domain " + std::to_string(domid); }

json no_such_domain(std::uint32_t domid) {
  return failure("there is no " + domain_text(domid), ESRCH);
}

/// The domain that the request names, or all that live.
std::vector<std::uint16_t> selected_domains(Broker& broker, const json& request) {
  std::vector<std::uint16_t> domids;
  for (const DomainInfo& info : broker.hypervisor().domains()) {
    if (!request.contains("domid") || request.at("domid").get<std::uint32_t>() == info.domid) {
      domids.push_back(info.domid);
    }
  }
  return domids;
}

json create_domain(Broker& broker, const json& request) {
  const auto domid = request.at("domid").get<std::uint32_t>();
  const int error = broker.create_domain(domid, request.value("driver_domain", false));
  if (error == EEXIST) {
    const bool dying = !broker.hypervisor().is_alive(domid);
    return failure(domain_text(domid) + (dying ? " is still dying" : " exists already"), error);
  }
  return outcome(error, "cannot create " + domain_text(domid));
}

json destroy_domain(Broker& broker, const json& request) {
  const auto domid = request.at("domid").get<std::uint32_t>();
  const int error = broker.destroy_domain(domid);
  if (error == ESRCH) return no_such_domain(domid);
  return outcome(error, "cannot destroy " + domain_text(domid));
}

json list_domains(Broker& broker, const json& request) {
  static_cast<void>(request);
  json domains = json::array();
  for (const DomainInfo& info : broker.hypervisor().domains()) {
    domains.push_back({{"domid", info.domid}, {"dying", info.dying}});
  }
  return {{"domains", domains}};
}

json counters_of(Broker& broker, std::uint16_t domid) {
  const DomainArea& area = *broker.hypervisor().segment().find_domain(domid);
  const StoreCounters store = broker.store().counters(domid);
  json counters = json::object();
  for (std::size_t i = 0; i < kCounterCount; ++i) {
    counters[std::string(kCounterNames[i])] = area.counters[i].load(std::memory_order_relaxed);
  }
  counters["store_ops"] = store.operations;
  counters["store_errors"] = store.errors;
  counters["watches_fired"] = store.watches_fired;
  counters["store_nodes"] = store.nodes_owned;
  counters["store_watches"] = store.watches;
  counters["store_transactions"] = store.transactions;
  counters["store_connections"] = store.connections;
  return counters;
}

json stats(Broker& broker, const json& request) {
  const std::vector<std::uint16_t> domids = selected_domains(broker, request);
  if (domids.empty()) return no_such_domain(request.at("domid").get<std::uint32_t>());
  json domains = json::object();
  for (const std::uint16_t domid : domids) {
    domains[std::to_string(domid)] = counters_of(broker, domid);
  }
  return {{"domains", domains}};
}

json leaks(Broker& broker, const json& request) {
  const std::vector<std::uint16_t> domids = selected_domains(broker, request);
  if (domids.empty()) return no_such_domain(request.at("domid").get<std::uint32_t>());
  json held = json::array();
  for (const std::uint16_t domid : domids) {
    const auto add = [&](const std::string& line) {
      held.push_back(domain_text(domid) + ": " + line);
    };
    for (const std::string& line : broker.hypervisor().held(domid)) add(line);
    const StoreLeftovers store = broker.store().what_is_left(domid);
    for (std::uint64_t i = 0; i < store.connections; ++i) add("xenstore connection");
    for (std::uint64_t i = 0; i < store.transactions; ++i) add("xenstore transaction");
    for (const std::string& watch : store.watches) add("watch " + watch);
  }
  return {{"held", held}};
}

// --- Failures -------------------------------------------------------------------------------

void disarm(FailureTable& table, Call call) {
  const std::uint64_t before =
      table.rules[static_cast<std::size_t>(call)].exchange(0, std::memory_order_relaxed);
  if (before != 0) table.armed.fetch_sub(1, std::memory_order_relaxed);
}

void arm(FailureTable& table, Call call, std::uint32_t nth, int error) {
  disarm(table, call);
  const std::uint64_t rule = (static_cast<std::uint64_t>(error) << 32) | nth;
  table.rules[static_cast<std::size_t>(call)].store(rule, std::memory_order_relaxed);
  table.armed.fetch_add(1, std::memory_order_relaxed);
}

json fail(Broker& broker, const json& request) {
  const auto name = request.at("call").get<std::string>();
  const std::optional<Call> call = find_call(name);
  if (!call) return failure("there is no call '" + name + "'");
  const auto nth = request.at("nth").get<std::uint32_t>();
  const auto error = request.at("errno").get<std::int32_t>();
  if (nth == 0) return failure("calls are counted from 1");
  if (error <= 0 || error > 4095) return failure("not an errno: " + std::to_string(error));
  const std::vector<std::uint16_t> domids = selected_domains(broker, request);
  if (domids.empty()) return no_such_domain(request.at("domid").get<std::uint32_t>());
  for (const std::uint16_t domid : domids) {
    arm(broker.hypervisor().segment().find_domain(domid)->failures, *call, nth, error);
  }
  return json::object();
}

json list_failures(Broker& broker, const json& request) {
  json armed = json::array();
  for (const std::uint16_t domid : selected_domains(broker, request)) {
    const FailureTable& table = broker.hypervisor().segment().find_domain(domid)->failures;
    for (std::size_t i = 0; i < kCallCount; ++i) {
      const std::uint64_t rule = table.rules[i].load(std::memory_order_relaxed);
      if (rule == 0) continue;
      armed.push_back({{"domid", domid},
                       {"call", kCallNames[i]},
                       {"nth", static_cast<std::uint32_t>(rule)},
                       {"errno", rule >> 32}});
    }
  }
  return {{"armed", armed}};
}

json clear_failures(Broker& broker, const json& request) {
  for (const std::uint16_t domid : selected_domains(broker, request)) {
    FailureTable& table = broker.hypervisor().segment().find_domain(domid)->failures;
    for (std::size_t i = 0; i < kCallCount; ++i) disarm(table, static_cast<Call>(i));
  }
  return json::object();
}

// --- Switches and limits --------------------------------------------------------------------

json set_switch(Broker& broker, const json& request) {
  const auto name = request.at("switch").get<std::string>();
  const bool on = request.at("on").get<bool>();
  if (name == "deferred-unmap") {
    broker.hypervisor().grants().set_deferred_unmap(on);
    broker.hypervisor().settle();
  } else if (name == "scattered-references") {
    broker.hypervisor().grants().set_scattered(on);
  } else if (name == "newest-reference-first") {
    broker.hypervisor().grants().set_newest_first(on);
  } else {
    return failure("there is no switch '" + name + "'");
  }
  return json::object();
}

json complete_unmaps(Broker& broker, const json& request) {
  static_cast<void>(request);
  const std::size_t completed = broker.hypervisor().grants().complete_deferred_unmaps();
  broker.hypervisor().settle();
  return {{"completed", completed}};
}

json set_limit(Broker& broker, const json& request) {
  const auto name = request.at("limit").get<std::string>();
  const auto value = request.at("value").get<std::uint32_t>();
  const auto domid = request.at("domid").get<std::uint32_t>();
  Hypervisor& hypervisor = broker.hypervisor();
  if (!hypervisor.is_alive(domid)) return no_such_domain(domid);
  GrantLimits& limits = *hypervisor.grants().limits(static_cast<std::uint16_t>(domid));
  if (name == "ports") {
    return outcome(hypervisor.set_port_limit(domid, value), "cannot limit ports");
  }
  if (name == "grant-entries") {
    limits.grant_entries = value;
  } else if (name == "shared-pages") {
    limits.shared_pages = value;
  } else if (name == "maptrack") {
    limits.maptrack = value;
  } else {
    return failure("there is no limit '" + name + "'");
  }
  return json::object();
}

json stop(Broker& broker, const json& request) {
  static_cast<void>(request);
  broker.stop();
  return json::object();
}

struct Command {
  std::string_view name;
  json (*serve)(Broker&, const json&);
};

constexpr std::array kCommands = {
    Command{"create", create_domain},
    Command{"destroy", destroy_domain},
    Command{"list", list_domains},
    Command{"stats", stats},
    Command{"leaks", leaks},
    Command{"fail", fail},
    Command{"fail-list", list_failures},
    Command{"fail-clear", clear_failures},
    Command{"set", set_switch},
    Command{"complete-unmaps", complete_unmaps},
    Command{"limit", set_limit},
    Command{"stop", stop},
};

}  // namespace

std::string serve_control(Broker& broker, const std::string& request) {
  const json parsed = json::parse(request, nullptr, false);
  if (!parsed.is_object()) return failure("not a JSON object").dump();
  try {
    const auto name = parsed.at("command").get<std::string>();
    for (const Command& command : kCommands) {
      if (command.name == name) return command.serve(broker, parsed).dump();
    }
    return failure("there is no command '" + name + "'").dump();
  } catch (const json::exception& error) {
    return failure(error.what()).dump();
  }
}

}  // namespace vmsg::mock
