// Names in xenstore are well-formed by construction.
#include "xenbus-glue/store_path.hpp"

#include <gtest/gtest.h>

#include "xenbus-glue/bus_nodes.hpp"

namespace vmsg::xen {
namespace {

TEST(Path, TakesAbsoluteRelativeAndSpecialNames) {
  for (const char* text :
       {"/", "/local/domain/0", "backend/virtio-msg", "domid", "@releaseDomain", "/a_b-c/D@1"}) {
    EXPECT_TRUE(Path::parse(text).has_value()) << text;
  }
}

TEST(Path, RefusesNamesThatXenstoreWouldNotTake) {
  for (const char* text :
       {"", "//", "/a//b", "/a/", "a/", "/a b", "/a.b", "/../x", "/a\n", "/a*"}) {
    EXPECT_FALSE(Path::parse(text).has_value()) << text;
  }
}

TEST(Path, KeepsToXenstoresLengths) {
  // Components of 2 bytes: "/a/a/a..."
  const auto of_size = [](std::size_t size) {
    std::string text;
    while (text.size() < size) text += "/a";
    return text;
  };
  EXPECT_TRUE(Path::parse(of_size(3072)).has_value());
  EXPECT_FALSE(Path::parse(of_size(3074)).has_value());
  EXPECT_TRUE(Path::parse(of_size(2048).substr(1)).has_value());
  EXPECT_FALSE(Path::parse(of_size(2050).substr(1)).has_value());
}

TEST(Path, GrowsByNamesAndNumbers) {
  EXPECT_EQ((Path::domain(7) / "device" / "virtio-msg" / 3U / "state").text(),
            "/local/domain/7/device/virtio-msg/3/state");
  EXPECT_EQ((*Path::parse("/") / "local").text(), "/local");
}

TEST(Path, TakesAForeignComponentOnlyWhenItIsOne) {
  EXPECT_EQ(Path::domain(1).child("data")->text(), "/local/domain/1/data");
  for (const std::string_view component : {"", "a/b", "..", "a b", "/"}) {
    EXPECT_FALSE(Path::domain(1).child(component).has_value()) << component;
  }
  EXPECT_FALSE(Path::domain(1).child(std::string(257, 'a')).has_value());
}

TEST(Path, DoesNotGrowPastTheLongestPath) {
  auto path = Path::domain(1);
  const std::string component(200, 'a');
  int steps = 0;
  for (auto next = path.child(component); next; next = path.child(component)) {
    path = *next;
    ++steps;
  }
  EXPECT_EQ(steps, 15);
}

TEST(Path, TellsWhatLiesBelow) {
  const Path home = Path::domain(1);

  EXPECT_EQ(home.below("/local/domain/1/data/x"), "data/x");
  EXPECT_EQ(home.below("/local/domain/1"), "");
  EXPECT_FALSE(home.below("/local/domain/10/data").has_value());
  EXPECT_FALSE(home.below("/local").has_value());
}

TEST(BusId, HasThePathsOfTheDocument) {
  const BusId bus{.device_domain = 0, .driver_domain = 3, .bus = 1};

  EXPECT_EQ(bus.device_directory().text(), "/local/domain/0/backend/virtio-msg/3/1");
  EXPECT_EQ(bus.driver_directory().text(), "/local/domain/3/device/virtio-msg/1");
  EXPECT_EQ(bus.devices_directory().text(), "/local/domain/0/virtio-msg/3/1");
}

TEST(BusId, IsFoundInAbsoluteAndRelativePaths) {
  const BusId expected{5, 3, 1};

  EXPECT_EQ(bus_of_path(5, "/local/domain/5/backend/virtio-msg/3/1/state"), expected);
  EXPECT_EQ(bus_of_path(5, "backend/virtio-msg/3/1"), expected);
}

TEST(BusId, IsNotFoundInPathsThatAreNoBus) {
  for (const std::string_view path :
       {"backend/virtio-msg", "backend/virtio-msg/3", "backend/vbd/3/1", "",
        "backend/virtio-msg/03/1", "backend/virtio-msg/3/x", "backend/virtio-msg/32752/1",
        "backend/virtio-msg//1", "/local/domain/6/backend/virtio-msg/3/1"}) {
    EXPECT_FALSE(bus_of_path(5, path).has_value()) << path;
  }
}

TEST(BusId, ThePathOfAGuestsBusesNamesTheGuest) {
  for (const std::string_view path :
       {"backend/virtio-msg/3", "backend/virtio-msg/3/1/state", "backend/virtio-msg/3/x",
        "/local/domain/5/backend/virtio-msg/3"}) {
    EXPECT_EQ(driver_domain_of_path(5, path), DomainId{3}) << path;
  }
  for (const std::string_view path :
       {"backend/virtio-msg", "backend/virtio-msg/", "backend/virtio-msg/03",
        "backend/virtio-msg/x/1", "backend/virtio-msg/32752", "backend/vbd/3", "",
        "/local/domain/6/backend/virtio-msg/3"}) {
    EXPECT_FALSE(driver_domain_of_path(5, path).has_value()) << path;
  }
}

}  // namespace
}  // namespace vmsg::xen
