// A world of domains for one test: see mock_xen.hpp.
#include "tests/mock-xen/mock_xen.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>

#include "tests/mock-xen/broker.hpp"
#include "tests/mock-xen/control_client.hpp"

namespace vmsg::mock {
namespace {

using nlohmann::json;

/// The test asked for nonsense: no test should go on from there.
[[noreturn]] void give_up(const std::string& why) {
  const std::string line = "MockXen: " + why + "\n";
  [[maybe_unused]] const int written = std::fputs(line.c_str(), stderr);
  std::abort();
}

std::string make_socket_name() {
  static std::atomic<unsigned> count{0};
  return "@xen-mock-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
}

const char* limit_name(Limit limit) {
  switch (limit) {
    case Limit::kPorts:
      return "ports";
    case Limit::kGrantEntries:
      return "grant-entries";
    case Limit::kSharedPages:
      return "shared-pages";
    case Limit::kMaptrack:
      return "maptrack";
  }
  return "";
}

}  // namespace

struct MockXen::Impl {
  std::unique_ptr<Broker> broker;
  std::thread thread;
  std::unique_ptr<ControlClient> control;

  json call(const json& request) const {
    auto answer = control->call(request);
    if (!answer) give_up(answer.error());
    return std::move(*answer);
  }
};

MockXen::MockXen() : socket_(make_socket_name()), impl_(std::make_unique<Impl>()) {
  std::string error;
  impl_->broker = Broker::create(socket_, error);
  if (!impl_->broker) give_up(error);
  impl_->thread = std::thread([broker = impl_->broker.get()] { broker->run(); });
  auto control = ControlClient::connect(socket_);
  if (!control) give_up(control.error());
  impl_->control = std::make_unique<ControlClient>(std::move(*control));
}

MockXen::~MockXen() {
  impl_->broker->stop();
  impl_->thread.join();
}

void MockXen::create_domain(std::uint32_t domid, bool driver_domain) {
  impl_->call({{"command", "create"}, {"domid", domid}, {"driver_domain", driver_domain}});
}

void MockXen::destroy_domain(std::uint32_t domid) {
  impl_->call({{"command", "destroy"}, {"domid", domid}});
}

bool MockXen::is_dying(std::uint32_t domid) const {
  const json answer = impl_->call({{"command", "list"}});
  const json& domains = answer.at("domains");
  return std::any_of(domains.begin(), domains.end(), [domid](const json& domain) {
    return domain.at("domid").get<std::uint32_t>() == domid && domain.at("dying").get<bool>();
  });
}

ScopedEndpoint MockXen::as_domain(std::uint32_t domid) const {
  return ScopedEndpoint({.socket = socket_, .domid = domid});
}

std::vector<std::string> MockXen::environment(std::uint32_t domid) const {
  return {"XEN_MOCK=" + socket_, "XEN_MOCK_DOMID=" + std::to_string(domid)};
}

DomainStats MockXen::stats(std::uint32_t domid) const {
  const json answer = impl_->call({{"command", "stats"}, {"domid", domid}});
  const json& of = answer.at("domains").at(std::to_string(domid));
  const auto get = [&of](const char* name) { return of.at(name).get<std::uint64_t>(); };
  return {
      .notifies = get("notifies"),
      .events = get("events"),
      .unmasks = get("unmasks"),
      .binds = get("binds"),
      .unbinds = get("unbinds"),
      .map_calls = get("map_calls"),
      .mapped_pages = get("mapped_pages"),
      .unmap_calls = get("unmap_calls"),
      .unmapped_pages = get("unmapped_pages"),
      .copy_calls = get("copy_calls"),
      .copy_segments = get("copy_segments"),
      .copy_bytes = get("copy_bytes"),
      .copy_failures = get("copy_failures"),
      .share_calls = get("share_calls"),
      .shared_pages = get("shared_pages"),
      .unshare_calls = get("unshare_calls"),
      .store_ops = get("store_ops"),
      .store_errors = get("store_errors"),
      .watches_fired = get("watches_fired"),
      .failures_injected = get("failures_injected"),
      .store_nodes = get("store_nodes"),
      .store_watches = get("store_watches"),
      .store_transactions = get("store_transactions"),
      .store_connections = get("store_connections"),
  };
}

std::vector<std::string> MockXen::what_is_left() const {
  return impl_->call({{"command", "leaks"}}).at("held").get<std::vector<std::string>>();
}

std::vector<std::string> MockXen::what_is_left(std::uint32_t domid) const {
  const json answer = impl_->call({{"command", "leaks"}, {"domid", domid}});
  return answer.at("held").get<std::vector<std::string>>();
}

void MockXen::fail_nth(Call call, std::uint32_t nth, int error, std::uint32_t domid) {
  impl_->call({{"command", "fail"},
               {"call", call_name(call)},
               {"nth", nth},
               {"errno", error},
               {"domid", domid}});
}

std::size_t MockXen::clear_failures() {
  const std::size_t armed = impl_->call({{"command", "fail-list"}}).at("armed").size();
  impl_->call({{"command", "fail-clear"}});
  return armed;
}

void MockXen::set_deferred_unmap(bool on) {
  impl_->call({{"command", "set"}, {"switch", "deferred-unmap"}, {"on", on}});
}

std::size_t MockXen::complete_deferred_unmaps() {
  return impl_->call({{"command", "complete-unmaps"}}).at("completed").get<std::size_t>();
}

void MockXen::set_newest_reference_first(bool on) {
  impl_->call({{"command", "set"}, {"switch", "newest-reference-first"}, {"on", on}});
}

void MockXen::set_scattered_references(bool on) {
  impl_->call({{"command", "set"}, {"switch", "scattered-references"}, {"on", on}});
}

void MockXen::set_limit(std::uint32_t domid, Limit limit, std::uint32_t value) {
  impl_->call(
      {{"command", "limit"}, {"limit", limit_name(limit)}, {"value", value}, {"domid", domid}});
}

std::uint32_t for_each_failure(MockXen& xen, std::uint32_t domid, int error,
                               const std::function<void()>& scenario,
                               const LeftoversHandler& on_leftovers) {
  for (std::uint32_t nth = 1;; ++nth) {
    xen.fail_nth(Call::kAny, nth, error, domid);
    scenario();
    const bool ran_through = xen.clear_failures() != 0;
    const std::vector<std::string> left = xen.what_is_left();
    if (!left.empty() && on_leftovers) {
      on_leftovers(nth, left);
    } else if (!left.empty()) {
      std::string text = "after failure " + std::to_string(nth) + " there is left:";
      for (const std::string& line : left) text += "\n  " + line;
      give_up(text);
    }
    if (ran_through) return nth - 1;
  }
}

}  // namespace vmsg::mock
