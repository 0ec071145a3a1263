// vmsg-guest conform: whether the device side keeps the rules that a driver can see.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/vmsg-guest/commands.hpp"
#include "tools/vmsg-guest/conform_rules.hpp"

namespace vmsg::guest {
namespace {

struct Verdict {
  ConformRule rule;
  std::vector<std::string> found;
};

Verdict judge(RawDriver& driver, const ConformRule& rule) {
  Findings findings;
  rule.check(driver, findings);
  Verdict verdict{.rule = rule, .found = findings.list()};
  // What follows a request without an answer says nothing.
  if (const Failure trouble = driver.take_trouble(); !trouble.empty()) verdict.found = {trouble};
  return verdict;
}

void print_table(std::uint16_t number, const std::vector<Verdict>& verdicts, std::size_t broken) {
  fmt::print("{:<8} {:<7} {}\n", "RULE", "RESULT", "TRIED");
  for (const Verdict& verdict : verdicts) {
    fmt::print("{:<8} {:<7} {}\n", verdict.rule.rule, verdict.found.empty() ? "kept" : "BROKEN",
               verdict.rule.tried);
    for (const std::string& text : verdict.found) fmt::print("{:<16} {}\n", "", text);
  }
  fmt::print("device {}: {} rules tried, {} broken\n", number, verdicts.size(), broken);
}

void print_json(std::uint16_t number, const std::vector<Verdict>& verdicts, std::size_t broken) {
  nlohmann::json rules = nlohmann::json::array();
  for (const Verdict& verdict : verdicts) {
    rules.push_back({{"rule", verdict.rule.rule},
                     {"tried", verdict.rule.tried},
                     {"result", verdict.found.empty() ? "kept" : "broken"},
                     {"found", verdict.found}});
  }
  const nlohmann::json all{{"device", number}, {"broken", broken}, {"rules", rules}};
  fmt::print("{}\n", all.dump(2));
}

}  // namespace

int run_conform(const CommandOptions& options, bool as_json) {
  GuestLoop loop;
  auto link = GuestLink::connect(loop, options.link);
  if (!link) return complain(link.error());
  const std::set<std::uint16_t>& numbers = (*link)->devices();
  if (numbers.empty()) return complain("the bus has no device");
  const std::uint16_t number = options.number.value_or(*numbers.begin());
  if (!numbers.contains(number)) return complain(fmt::format("there is no device {}", number));

  std::vector<Verdict> verdicts;
  std::size_t broken = 0;
  {
    RawDriver driver(**link, number);
    for (const ConformRule& rule : conform_rules()) {
      if (!(*link)->failure().empty()) break;
      verdicts.push_back(judge(driver, rule));
      if (!verdicts.back().found.empty()) ++broken;
    }
    driver.reset();
  }
  if (as_json) {
    print_json(number, verdicts, broken);
  } else {
    print_table(number, verdicts, broken);
  }
  if (!(*link)->failure().empty()) return complain((*link)->failure());
  (*link)->close();
  return broken == 0 ? 0 : kExitFailed;
}

}  // namespace vmsg::guest
