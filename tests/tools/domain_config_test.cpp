#include "tools/vmsg/domain_config.hpp"

#include <gmock/gmock.h>

#include "tests/support/temporary_directory.hpp"
#include "tools/vmsg/guest_configs.hpp"

namespace vmsg::tool {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string problems_of(std::string_view text) {
  const auto config = parse_domain_config(text, "guest.cfg");
  if (config) return "no problem";
  std::string all;
  for (const Problem& problem : config.error()) all += to_text(problem) + "\n";
  return all;
}

TEST(DomainConfig, NameAndListsAreRead) {
  const auto config = parse_domain_config(
      "name = \"guest1\"\nmemory = 512\n"
      "virtio_msg = [ 'type=rng',\n  'type=blk,target=/x', ]\nvirtio_msg += [ 'type=net' ]\n"
      "virtio = [ 'type=vmsg-a' ]\n",
      "guest.cfg");

  ASSERT_TRUE(config);
  EXPECT_EQ(config->name, "guest1");
  EXPECT_THAT(config->virtio_msg, ElementsAre("type=rng", "type=blk,target=/x", "type=net"));
  EXPECT_THAT(config->virtio, ElementsAre("type=vmsg-a"));
}

TEST(DomainConfig, AFileWithoutDevicesIsRight) {
  const auto config = parse_domain_config("name = 'g'\n", "guest.cfg");

  ASSERT_TRUE(config);
  EXPECT_THAT(config->virtio_msg, IsEmpty());
}

TEST(DomainConfig, SyntaxErrorsNameTheLine) {
  EXPECT_THAT(problems_of("name = 'g'\nvirtio_msg = [ 'a'\n'b' ]\n"),
              AllOf(HasSubstr("guest.cfg:3: "), HasSubstr("syntax error"), HasSubstr("xl.cfg(5)")));
  EXPECT_THAT(problems_of("name = \"g\n"), HasSubstr("guest.cfg:1: "));
}

TEST(DomainConfig, OneStringIsNoList) {
  EXPECT_THAT(problems_of("name = 'g'\nvirtio_msg = 'type=rng'\n"),
              AllOf(HasSubstr("guest.cfg:2: "), HasSubstr("should be a list"),
                    HasSubstr("hint: virtio_msg = [ 'type=...'")));
}

TEST(DomainConfig, AListIsNoEntry) {
  EXPECT_THAT(problems_of("name = 'g'\nvirtio_msg = [ 'type=rng', [ 'type=rng' ] ]\n"),
              HasSubstr("guest.cfg: virtio_msg entry 2: a list stands where text is expected"));
}

TEST(DomainConfig, AListIsNoName) {
  EXPECT_THAT(problems_of("name = [ 'g' ]\n"), HasSubstr("guest.cfg:1: "));
}

TEST(DomainConfig, ControlCharactersOfAFileAreNotPrinted) {
  EXPECT_THAT(problems_of("\x1b[31m\n"), testing::Not(HasSubstr("\x1b")));
}

TEST(DomainConfig, FilesThatAreNone) {
  const test::TemporaryDirectory folder;
  EXPECT_EQ(read_domain_config(folder.path() + "/none").error().front().what,
            "No such file or directory");
  EXPECT_EQ(read_domain_config(folder.path()).error().front().what, "not a regular file");
  const std::string large = folder.file("large", std::string((1 << 20) + 1, '#'));
  EXPECT_THAT(read_domain_config(large).error().front().what, HasSubstr("larger than"));
}

TEST(DomainConfig, SettingsOfTheCommandLineComeLast) {
  const test::TemporaryDirectory folder;
  const std::string file = folder.file("g.cfg", "name = 'g'");
  const std::vector<std::string> settings{"name='other'"};

  EXPECT_EQ(read_domain_config(file, settings)->name, "other");
}

TEST(GuestConfigs, TheFileWithTheNameIsFound) {
  const test::TemporaryDirectory folder;
  folder.file("a/xl.conf", "autoballoon=\"off\"\n");
  folder.file("a/one.cfg", "name='one'\nvirtio_msg=['type=rng']\n");
  folder.file("a/broken", "name='two\n");
  folder.file("b/two.cfg", "name='two'\n");
  folder.file("b/two.cfg~", "name='two'\nvirtio_msg=['type=old']\n");
  std::filesystem::create_symlink(folder.path() + "/a/one.cfg", folder.path() + "/b/one");
  const GuestConfigs configs({folder.path() + "/a", folder.path() + "/b", "/nonexistent"});
  std::vector<Problem> problems;

  const auto one = configs.find("one", problems);
  ASSERT_TRUE(one);
  EXPECT_EQ(one->config.file, folder.path() + "/a/one.cfg");
  EXPECT_THAT(one->others, IsEmpty());  // the link is the same file
  EXPECT_EQ(configs.find("two", problems)->config.file, folder.path() + "/b/two.cfg");
  EXPECT_FALSE(configs.find("three", problems));
  EXPECT_THAT(problems, IsEmpty());
}

TEST(GuestConfigs, TheFirstOfTwoFilesIsTaken) {
  const test::TemporaryDirectory folder;
  folder.file("a/z.cfg", "name='one'\n");
  folder.file("b/a.cfg", "name='one'\n");
  std::vector<Problem> problems;

  const auto one = GuestConfigs({folder.path() + "/a", folder.path() + "/b"}).find("one", problems);

  ASSERT_TRUE(one);
  EXPECT_EQ(one->config.file, folder.path() + "/a/z.cfg");
  EXPECT_THAT(one->others, ElementsAre(folder.path() + "/b/a.cfg"));
}

TEST(GuestConfigs, ABrokenFileCalledLikeTheGuestIsReported) {
  const test::TemporaryDirectory folder;
  folder.file("one.cfg", "name='one'\nvirtio_msg=['type=rng'\n");
  std::vector<Problem> problems;

  EXPECT_FALSE(GuestConfigs({folder.path()}).find("one", problems));
  ASSERT_FALSE(problems.empty());
  EXPECT_THAT(problems.front().where, HasSubstr("one.cfg:"));
}

}  // namespace
}  // namespace vmsg::tool
