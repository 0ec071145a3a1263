// A BusHost that keeps a record of ports and regions and answers as a test says.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "transport/bus_host.hpp"

namespace vmsg::test {

class FakeBusHost final : public BusHost {
 public:
  using QueueKey = std::pair<std::uint16_t, std::uint32_t>;
  struct Region {
    GrantAddress address;
    std::uint32_t pages;
    friend bool operator==(const Region&, const Region&) = default;
  };

  [[nodiscard]] PortAnswer bind_queue_port(std::uint16_t device, std::uint32_t queue,
                                           std::uint32_t port) override {
    ports.erase({device, queue});
    if (port_answer == PortAnswer::kBound) ports[{device, queue}] = port;
    return port_answer;
  }
  void unbind_queue_port(std::uint16_t device, std::uint32_t queue) override {
    ports.erase({device, queue});
    ++unbinds;
  }

  [[nodiscard]] RegionAnswer share_region(std::uint32_t region, GrantAddress address,
                                          std::uint32_t pages) override {
    EXPECT_FALSE(regions.contains(region)) << "shared twice";
    ++shares;
    if (region_answer == RegionAnswer::kShared || region_answer == RegionAnswer::kPending) {
      regions.insert({region, Region{.address = address, .pages = pages}});
    }
    return region_answer;
  }
  [[nodiscard]] Release unshare_region(std::uint32_t region) override {
    EXPECT_TRUE(regions.contains(region));
    if (unshare_answer == Release::kDone) regions.erase(region);
    return unshare_answer;
  }

  void ejected(std::uint16_t device, bool is_done) override {
    ejections.emplace_back(device, is_done);
    if (on_ejected) on_ejected(device, is_done);
  }

  PortAnswer port_answer = PortAnswer::kBound;
  RegionAnswer region_answer = RegionAnswer::kShared;
  Release unshare_answer = Release::kDone;
  std::function<void(std::uint16_t, bool)> on_ejected;

  std::map<QueueKey, std::uint32_t> ports;
  std::map<std::uint32_t, Region> regions;
  std::vector<std::pair<std::uint16_t, bool>> ejections;
  int unbinds = 0;
  int shares = 0;
};

}  // namespace vmsg::test
