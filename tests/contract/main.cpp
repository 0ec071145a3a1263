// contract-tests: what the code of this project relies on from Xen's three C libraries, one test a
// rule. The same binary runs on Xen and on the mock; see CONTRACT.md for what it found on each.
#include <gtest/gtest.h>

#include <cstdio>
#include <exception>

#include "tests/contract/world.hpp"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  try {
    if (!vmsg::contract::World::set_up(argc, argv)) return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "contract-tests: %s\n", error.what());
    return 2;
  }
  const int result = RUN_ALL_TESTS();
  vmsg::contract::World::instance().give_up_peers();
  return result;
}
