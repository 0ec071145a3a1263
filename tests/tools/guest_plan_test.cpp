#include "tools/vmsg/guest_plan.hpp"

#include <gmock/gmock.h>

#include "tools/vmsg/planned_nodes.hpp"

namespace vmsg::tool {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

DomainConfig config_with(std::vector<std::string> virtio_msg,
                         std::vector<std::string> virtio = {}) {
  return {.file = "g.cfg",
          .name = "g",
          .virtio_msg = std::move(virtio_msg),
          .virtio = std::move(virtio)};
}

std::vector<std::string> problems_of(const DomainConfig& config, const NamedDevices& named = {}) {
  const auto plan = plan_guest(config, named);
  std::vector<std::string> all;
  if (plan) return all;
  for (const Problem& problem : plan.error()) all.push_back(to_text(problem));
  return all;
}

std::string named_problem(std::string_view text) {
  const auto named = parse_named_devices(text, "d.toml");
  return named ? "no problem" : to_text(named.error().front());
}

TEST(GuestPlan, EntriesBecomeDevicesInOrder) {
  const NamedDevices named{{"entropy", {.type = "rng", .parameters = {{"rate", "5"}}}}};

  const auto plan = plan_guest(
      config_with({"type=rng"}, {"type=virtio,device22", "type=vmsg-entropy,backend=storage"}),
      named);

  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->devices.size(), 2U);
  EXPECT_EQ(plan->devices[0].spec, (DeviceSpec{.type = "rng", .parameters = {}}));
  EXPECT_EQ(plan->devices[1].spec,
            (DeviceSpec{.type = "rng", .backend = "storage", .parameters = {{"rate", "5"}}}));
}

TEST(GuestPlan, EveryProblemIsTold) {
  EXPECT_THAT(problems_of(config_with({"type=rng", "type=rgn", "rate=1"})),
              ElementsAre(AllOf(HasSubstr("g.cfg: virtio_msg entry 2 ('type=rgn'): "),
                                HasSubstr("no device type 'rgn'"), HasSubstr("hint: 'rng'")),
                          HasSubstr("g.cfg: virtio_msg entry 3 ('rate=1'): ")));
}

TEST(GuestPlan, AGuestNeedsAName) {
  DomainConfig config = config_with({});
  config.name.clear();

  EXPECT_THAT(problems_of(config), ElementsAre(HasSubstr("g.cfg: the guest has no name")));
}

TEST(GuestPlan, ANamedDeviceHasToBeDescribed) {
  EXPECT_THAT(problems_of(config_with({}, {"type=vmsg-disk"})),
              ElementsAre(AllOf(HasSubstr("no device 'disk' is described"),
                                HasSubstr("hint: describe it as [disk]"))));
}

std::vector<std::string> conflicts_of(const std::string& first, const std::string& second) {
  std::vector<std::string> all;
  for (const Problem& problem : find_conflicts(
           {{"entry 1", *parse_device_spec(first)}, {"entry 2", *parse_device_spec(second)}})) {
    all.push_back(to_text(problem));
  }
  return all;
}

TEST(GuestPlan, TwoInterfacesCannotHaveOneAddress) {
  const std::string entry = "type=net,bridge=xenbr0,mac=00:16:3e:00:00:01";

  EXPECT_THAT(
      conflicts_of(entry, entry),
      ElementsAre(AllOf(HasSubstr("entry 2: mac: another device has"), HasSubstr("entry 1"))));
}

TEST(GuestPlan, TwoDisksDoNotWriteToOneTarget) {
  const std::string disk = "type=blk,target=/x";

  EXPECT_THAT(conflicts_of(disk, disk),
              ElementsAre(AllOf(HasSubstr("entry 2: target: another"), HasSubstr("access=ro"))));
  EXPECT_THAT(conflicts_of(disk, disk + ",access=ro"), IsEmpty());
  EXPECT_THAT(conflicts_of(disk + ",shared=on", disk + ",shared=on"), IsEmpty());
  EXPECT_THAT(conflicts_of(disk, disk + ",backend=storage"), IsEmpty());  // another domain's /x
}

TEST(NamedDevices, ATableIsADevice) {
  const auto named =
      parse_named_devices("[a]\ntype = \"rng\"\nrate = 1000\n[b]\ntype='rng'\n", "d.toml");

  ASSERT_TRUE(named);
  EXPECT_EQ(named->at("a"), (DeviceSpec{.type = "rng", .parameters = {{"rate", "1000"}}}));
  EXPECT_EQ(named->size(), 2U);
}

TEST(NamedDevices, ProblemsNameFileLineAndKey) {
  EXPECT_THAT(named_problem("[a]\ntype = \"rng\"\nrate = \"fast\"\n"),
              HasSubstr("d.toml:3: [a]: rate='fast': a number"));
  EXPECT_THAT(named_problem("[a]\ntype = \"rng\"\nrate = [1]\n"),
              HasSubstr("d.toml:3: [a]: rate: "));
  EXPECT_THAT(named_problem("[a]\ntype = \"rng\"\ncolour = 1\n"),
              HasSubstr("no parameter 'colour'"));
  EXPECT_THAT(named_problem("[a]\nrate = 1\n"), HasSubstr("d.toml:1: [a]: type: "));
  EXPECT_THAT(named_problem("[a]\ntype = \"rng\n"), HasSubstr("d.toml:2: "));
  EXPECT_THAT(named_problem("type = \"rng\"\n"), HasSubstr("'type' is outside of a device"));
}

TEST(NamedDevices, AFileThatIsNotThereHasNone) {
  EXPECT_THAT(*read_named_devices("/nonexistent/devices.toml"), IsEmpty());
}

TEST(PlannedNodes, NamesStandForIdsThatAreNotKnownYet) {
  const auto plan =
      plan_guest(config_with({"type=rng,rate=32768", "type=rng,backend=storage"}), {});
  ASSERT_TRUE(plan);

  const auto lines = planned_nodes(*plan, [](std::string_view name) {
    return name == "0" ? std::optional<xen::DomainId>(0) : std::nullopt;
  });

  EXPECT_THAT(lines, testing::IsSupersetOf(
                         {"bus to 0", "  /local/domain/0/backend/virtio-msg/<g>/0/state = \"1\"",
                          "  /local/domain/0/backend/virtio-msg/<g>/0/frontend-id = \"<g>\"",
                          "  /local/domain/0/virtio-msg/<g>/0/0/rate = \"32768\"",
                          "  /local/domain/0/virtio-msg/<g>/0/0/type = \"rng\"",
                          "  /local/domain/<storage>/virtio-msg/<g>/1/1/type = \"rng\"",
                          "  /local/domain/<g>/device/virtio-msg/1/backend-id = \"<storage>\""}));
}

}  // namespace
}  // namespace vmsg::tool
