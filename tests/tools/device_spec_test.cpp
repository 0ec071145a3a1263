#include "tools/vmsg/device_spec.hpp"

#include <gmock/gmock.h>

namespace vmsg::tool {
namespace {

using testing::HasSubstr;

std::string error_of(std::string_view text) {
  const auto spec = read_device_spec(text);
  return spec ? "no error" : to_text(spec.error());
}

TEST(DeviceSpec, AllPartsAreRead) {
  const auto spec =
      parse_device_spec(" type=blk, target = /dev/vg0/guest1 ,backend=storage,access=ro,");

  ASSERT_TRUE(spec);
  EXPECT_EQ(*spec, (DeviceSpec{.type = "blk",
                               .backend = "storage",
                               .parameters = {{"target", "/dev/vg0/guest1"}, {"access", "ro"}}}));
}

TEST(DeviceSpec, BackendIsDomain0ByDefault) {
  EXPECT_EQ(parse_device_spec("type=rng")->backend, "0");
}

TEST(DeviceSpec, AValueMayHaveAnEqualsSign) {
  EXPECT_EQ(parse_device_spec("type=blk,target=/x=y")->parameters.at("target"), "/x=y");
}

TEST(DeviceSpec, EveryPartNeedsAKeyAndAValue) {
  EXPECT_THAT(error_of("rng"), HasSubstr("'rng': key=value is expected"));
  EXPECT_THAT(error_of("type=rng,rate="), HasSubstr("rate: the value is missing"));
  EXPECT_THAT(error_of("type=rng,=5"), HasSubstr("a key has letters"));
  EXPECT_THAT(error_of("type=rng,a/b=5"), HasSubstr("'a/b': a key has letters"));
}

TEST(DeviceSpec, TheTypeMayNotBeMissing) {
  EXPECT_THAT(error_of(""), HasSubstr("type=... is missing"));
  EXPECT_THAT(error_of("rate=5"), HasSubstr("type=... is missing"));
}

TEST(DeviceSpec, NothingMayBeGivenTwice) {
  EXPECT_THAT(error_of("type=rng,rate=1,rate=2"), HasSubstr("'rate' is given twice"));
  EXPECT_THAT(error_of("type=rng,type=blk"), HasSubstr("'type' is given twice"));
  EXPECT_THAT(error_of("type=rng,backend=a,backend=b"), HasSubstr("'backend' is given twice"));
}

TEST(DeviceSpec, NodesOfTheDaemonAreNoParameters) {
  EXPECT_THAT(error_of("type=rng,status=attached"), HasSubstr("'status' is no parameter"));
  EXPECT_THAT(error_of("type=rng,detach=1"), HasSubstr("'detach' is no parameter"));
  EXPECT_THAT(error_of("type=rng,published=x"), HasSubstr("'published' is no parameter"));
}

TEST(DeviceSpec, WhatXenstoreCannotHoldIsRefused) {
  EXPECT_THAT(error_of("type=rng,rate=" + std::string(1025, '1')), HasSubstr("1024 are allowed"));
  EXPECT_THAT(error_of("type=rng,rate=1\n"), HasSubstr("only printable"));
  std::string many = "type=rng";
  for (int i = 0; i < 65; ++i) many += ",k" + std::to_string(i) + "=1";
  EXPECT_THAT(error_of(many), HasSubstr("at most 64 parameters"));
}

TEST(DeviceSpec, ATypeThatThereIsNot) {
  EXPECT_THAT(error_of("type=fridge"), HasSubstr("no device type 'fridge'; there are:"));
  EXPECT_THAT(error_of("type=" + std::string(33, 'x')), HasSubstr("is no name of a type"));
}

TEST(DeviceSpec, AParameterThatThereIsNot) {
  const auto spec = read_device_spec("type=rng,rat=5");

  ASSERT_FALSE(spec);
  EXPECT_EQ(spec.error().key, "rat");
  EXPECT_THAT(spec.error().what, HasSubstr("no parameter 'rat'"));
  EXPECT_EQ(spec.error().hint, "'rate' was probably meant");
}

TEST(DeviceSpec, NoHintWhereNothingIsNear) {
  EXPECT_EQ(read_device_spec("type=rng,colour=5").error().hint, "");
}

TEST(DeviceSpec, AValueThatCannotBe) {
  const auto spec = read_device_spec("type=rng,rate=fast");

  ASSERT_FALSE(spec);
  EXPECT_EQ(spec.error().key, "rate");
  EXPECT_THAT(spec.error().what, HasSubstr("rate='fast'"));
}

}  // namespace
}  // namespace vmsg::tool
