// What the tools remember of a guest's devices, through a store and back.
#include "tools/vmsg/guest_mark.hpp"

#include "tests/xenbus-glue/xen_world.hpp"

namespace vmsg::tool {
namespace {

class GuestMarkTest : public xen::XenWorld {
 protected:
  std::unique_ptr<xen::Store> store = in_domain(0, [] { return opened(xen::Store::open()); });
  const xen::Path node = *xen::Path::parse("/libxl/7/virtio-msg");
};

TEST_F(GuestMarkTest, AGuestWithoutOneHasNone) { EXPECT_EQ(*read_mark(*store, 7), std::nullopt); }

TEST_F(GuestMarkTest, IsReadAsItWasWritten) {
  const GuestMark mark{.config = "/etc/xen/web.cfg",
                       .backends = {{.domain = 0, .name = "Domain-0"},
                                    {.domain = std::nullopt, .name = "a storage domain"},
                                    {.domain = 50, .name = "50"}}};
  ASSERT_TRUE(write_mark(*store, 7, mark).has_value());

  EXPECT_EQ(*read_mark(*store, 7), mark);
  EXPECT_EQ(*read_mark(*store, 8), std::nullopt);
}

TEST_F(GuestMarkTest, EntriesOfTheVirtioListHaveNoConfiguration) {
  ASSERT_TRUE(write_mark(*store, 7, {}).has_value());

  EXPECT_EQ(*store->read(node), "-");
  EXPECT_EQ(*read_mark(*store, 7), GuestMark{});
}

TEST_F(GuestMarkTest, WhatWasNotedBeforeIsForgotten) {
  ASSERT_TRUE(write_mark(*store, 7,
                         {.config = "a",
                          .backends = {{.domain = 1, .name = "x"}, {.domain = 2, .name = "y"}}})
                  .has_value());
  const GuestMark later{.config = "a", .backends = {{.domain = 3, .name = "y"}}};
  ASSERT_TRUE(write_mark(*store, 7, later).has_value());

  EXPECT_EQ(*read_mark(*store, 7), later);
}

TEST_F(GuestMarkTest, WhatNoneOfOursHasWrittenIsNoBackend) {
  for (const auto* const text : {"", "5", "x y", "-5 y", "65536 y", " y"}) {
    ASSERT_TRUE(store->write(node, std::string("a\n") + text).has_value());
    EXPECT_EQ(read_mark(*store, 7).value()->backends, std::vector<GuestMark::Backend>{}) << text;
  }
}

}  // namespace
}  // namespace vmsg::tool
