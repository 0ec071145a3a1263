// What the store tests share: a corner of the store that is empty at the start of a test and gone
// afterwards.
#pragma once

#include <string>

#include "tests/contract/abi/store.hpp"
#include "tests/contract/world.hpp"

namespace vmsg::contract {

// Rules for a privileged client. Needs no guest: runs also where xenstored runs without Xen.
class StoreContract : public ContractTest {
 protected:
  void SetUp() override {
    static_cast<void>(store.remove(kBase));
    ASSERT_EQ(store.mkdir(kBase), 0);
  }
  void TearDown() override {
    static_cast<void>(store.remove(kBase));
    ContractTest::TearDown();
  }

  [[nodiscard]] static std::string at(const std::string& relative) {
    return std::string(kBase) + '/' + relative;
  }
  [[nodiscard]] std::string value_of(const std::string& relative) {
    return store.read(at(relative)).value_or("(none)");
  }
  // Sets a watch and consumes the event it starts with.
  void watch_quietly(Store& by, const std::string& path, const std::string& token) {
    ASSERT_EQ(by.watch(path, token), 0);
    ASSERT_EQ(by.next_event(), (WatchEvent{path, token}));
  }

  static constexpr const char* kBase = "/tool/contract";

  Store store;
};

// Rules for an unprivileged one, tried by the guest in its own home.
class StoreGuestContract : public StoreContract {
 protected:
  void SetUp() override {
    if (world().guest() == nullptr) GTEST_SKIP() << "no guest here";
    StoreContract::SetUp();
    static_cast<void>(store.remove(home() + "/data/try"));
  }
  void TearDown() override {
    if (world().guest() != nullptr) static_cast<void>(store.remove(home() + "/data/try"));
    StoreContract::TearDown();
  }

  [[nodiscard]] static std::string home() {
    return "/local/domain/" + std::to_string(guest().domain());
  }
  [[nodiscard]] static std::string guests(char right) {
    return right + std::to_string(guest().domain());
  }
  [[nodiscard]] static std::string hex(const std::string& text);
};

}  // namespace vmsg::contract
