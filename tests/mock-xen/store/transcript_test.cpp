// The transcripts, played to the engine; and, as the program xenstored-transcripts, to Debian's
// xenstored (see transcripts-on-xenstored). With STORE_TRANSCRIPT_PRINT=1 it prints what the store
// said.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "tests/mock-xen/store/transcript.hpp"
#ifdef VMSG_STORE_IS_XENSTORED
#include "tests/mock-xen/store/xenstored_under_test.hpp"
#else
#include "tests/mock-xen/store/engine_under_test.hpp"
#endif

namespace vmsg::mock::store {
namespace {

const char* environment(const char* name) {
  return std::getenv(name);  // NOLINT(concurrency-mt-unsafe): one thread
}

class StoreTranscript : public testing::TestWithParam<Transcript> {};

TEST_P(StoreTranscript, IsWhatTheStoreSays) {
#ifdef VMSG_STORE_IS_XENSTORED
  const char* xenstored = environment("STORE_LAB_XENSTORED");
  const char* libraries = environment("STORE_LAB_LIBRARIES");
  if (xenstored == nullptr || libraries == nullptr) {
    GTEST_SKIP() << "STORE_LAB_XENSTORED and STORE_LAB_LIBRARIES do not name a xenstored";
  }
  XenstoredUnderTest store(
      {.xenstored = xenstored, .libraries = libraries, .shim = VMSG_STORE_SHIM});
#else
  EngineUnderTest store;
#endif
  const std::string said = play(GetParam(), store);

  if (environment("STORE_TRANSCRIPT_PRINT") != nullptr) {
    std::cout << "== " << GetParam().name << "\n" << said << "\n";
    return;
  }
  EXPECT_EQ(said, expected_text(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Store, StoreTranscript,
                         testing::ValuesIn(load_transcripts(VMSG_STORE_TRANSCRIPTS)),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace vmsg::mock::store
