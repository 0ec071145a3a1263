// The model that `vmsg-guest blk verify` trusts: what it takes for right, and what it finds wrong.
#include "tools/vmsg-guest/disk_model.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/temporary_directory.hpp"

namespace vmsg::guest {
namespace {

class DiskModelTest : public ::testing::Test {
 protected:
  static constexpr std::uint32_t kCount = 2;

  using Bytes = std::vector<std::byte>;

  VersionedRange begin(Change change = Change::kWrite) { return model_.begin(change, 4, kCount); }
  VersionedRange write() {
    const VersionedRange range = begin();
    model_.done(Change::kWrite, range);
    return range;
  }
  void flush() { model_.flush_done(model_.begin_flush()); }
  Bytes bytes_of(const VersionedRange& range) {
    Bytes bytes(std::size_t{kCount} * kModelSector);
    model_.fill(range, bytes);
    return bytes;
  }
  static Bytes zeros() { return Bytes(std::size_t{kCount} * kModelSector); }
  bool accepts(const Bytes& bytes) { return !model_.check(4, bytes).has_value(); }

  DiskModel model_{16, 1};
};

TEST_F(DiskModelTest, WhatWasNeverWrittenMayBeAnything) {
  EXPECT_TRUE(accepts(zeros()));
  EXPECT_TRUE(accepts(Bytes(std::size_t{kCount} * kModelSector, std::byte{9})));
}

TEST_F(DiskModelTest, OnlyTheLastWriteIsRight) {
  const auto old = write();
  const auto last = write();

  EXPECT_TRUE(accepts(bytes_of(last)));
  EXPECT_FALSE(accepts(bytes_of(old)));
  EXPECT_FALSE(accepts(zeros()));
}

TEST_F(DiskModelTest, OneWrongBitIsFound) {
  Bytes bytes = bytes_of(write());
  bytes[kModelSector + 300] ^= std::byte{1};

  const auto wrong = model_.check(4, bytes);

  ASSERT_TRUE(wrong.has_value());
  EXPECT_NE(wrong->find("sector 5"), std::string::npos) << *wrong;
}

TEST_F(DiskModelTest, BytesOfAnotherSectorAreWrong) {
  Bytes bytes = bytes_of(write());
  std::swap_ranges(bytes.begin(), bytes.begin() + kModelSector, bytes.begin() + kModelSector);

  EXPECT_FALSE(accepts(bytes));
}

TEST_F(DiskModelTest, ZerosAreRightAfterAWriteOfZerosOnly) {
  const auto before = write();
  model_.done(Change::kZero, begin(Change::kZero));

  EXPECT_TRUE(accepts(zeros()));
  EXPECT_FALSE(accepts(bytes_of(before)));
  write();
  EXPECT_FALSE(accepts(zeros()));
}

TEST_F(DiskModelTest, AnUnansweredWriteMayHaveHappenedOrNot) {
  const auto before = write();
  const auto unanswered = begin();
  model_.unknown(Change::kWrite, unanswered);

  EXPECT_TRUE(accepts(bytes_of(unanswered)));
  // It was read, so now it is known.
  EXPECT_FALSE(accepts(bytes_of(before)));
}

TEST_F(DiskModelTest, AfterALossWhatWasFlushedIsThere) {
  const auto old = write();
  const auto flushed = write();
  flush();
  const auto later = write();
  model_.power_cut();

  EXPECT_FALSE(accepts(bytes_of(old)));
  EXPECT_FALSE(accepts(zeros()));
  EXPECT_TRUE(accepts(bytes_of(flushed)));
  EXPECT_FALSE(accepts(bytes_of(later)));  // was read: it is the flushed one
}

TEST_F(DiskModelTest, AfterALossALaterWriteMayBeThere) {
  write();
  flush();
  const auto later = write();
  model_.power_cut();

  EXPECT_TRUE(accepts(bytes_of(later)));
}

TEST_F(DiskModelTest, AFlushCoversOnlyWhatWasDoneBeforeIt) {
  const auto before = write();
  const auto covered = model_.begin_flush();
  write();
  model_.flush_done(covered);
  model_.power_cut();

  EXPECT_TRUE(accepts(bytes_of(before)));
}

TEST_F(DiskModelTest, AFailedFlushCoversNothing) {
  const auto old = write();
  flush();
  write();
  model_.flush_failed(model_.begin_flush());
  model_.power_cut();

  EXPECT_TRUE(accepts(bytes_of(old)));
}

TEST_F(DiskModelTest, ASavedModelKnowsTheSame) {
  const test::TemporaryDirectory folder;
  const std::string path = folder.path() + "/state";
  const auto last = write();

  ASSERT_TRUE(model_.save(path));
  auto loaded = DiskModel::load(path);

  ASSERT_TRUE(loaded.has_value());
  EXPECT_FALSE(loaded->check(4, bytes_of(last)).has_value());
  EXPECT_TRUE(loaded->check(4, zeros()).has_value());
  EXPECT_FALSE(DiskModel::load(folder.path() + "/none").has_value());
}

}  // namespace
}  // namespace vmsg::guest
