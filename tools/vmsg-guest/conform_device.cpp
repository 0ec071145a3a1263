// Rules about a device as a whole: identity, features, configuration, status.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "tools/vmsg-guest/conform_checks.hpp"

namespace vmsg::guest {
namespace {

void info_is_constant(RawDriver& driver, Findings& findings) {
  driver.reset();
  const auto first = info(driver);
  driver.to_features_ok();
  findings.expect(info(driver) == first, "it differs after FEATURES_OK");
  driver.reset();
  findings.expect(info(driver) == first, "it differs after a reset");
}
void there_is_a_type(RawDriver& driver, Findings& findings) {
  findings.expect(info(driver).device_id != 0, "device_id is 0");
}
void blocks_cover_the_offer(RawDriver& driver, Findings& findings) {
  const std::uint32_t blocks = info(driver).num_feature_blocks;
  const auto words = driver.features(blocks, 8);
  findings.expect(std::ranges::all_of(words, [](std::uint32_t word) { return word == 0; }),
                  fmt::format("bits are offered beyond block {}", blocks));
}
void few_blocks(RawDriver& driver, Findings& findings) {
  findings.expect(info(driver).num_feature_blocks <= 4,
                  fmt::format("there are {}", info(driver).num_feature_blocks));
}
void queue_counts(RawDriver& driver, Findings& findings) {
  const auto about = info(driver);
  findings.expect(about.max_virtqueues <= VIRTIO_MSG_MAX_VQUEUES, "more than 65536 queues");
  findings.expect(about.admin_vq_count != 0 || about.admin_vq_start == 0,
                  "a start of admin queues, and none of them");
  findings.expect(
      std::uint64_t{about.admin_vq_start} + about.admin_vq_count <= about.max_virtqueues,
      "admin queues beyond the last queue");
}
void the_offer_stays(RawDriver& driver, Findings& findings) {
  driver.reset();
  const auto before = driver.features(0, 4);
  driver.to_features_ok();
  findings.expect(driver.features(0, 4) == before, "it differs once features are negotiated");
}
void feature_echo(RawDriver& driver, Findings& findings) {
  for (const std::uint32_t count : {1U, 2U, 4U, 7U}) {
    findings.equal<std::size_t>(count, driver.features(1, count).size(), "words");
    findings.equal<std::size_t>(16 + std::size_t{count} * 4, driver.answer().size(), "bytes");
    findings.equal<unsigned>(1, word_of(driver.answer(), 8), "block_index");
  }
}
void blocks_do_not_wrap(RawDriver& driver, Findings& findings) {
  for (const std::uint32_t block : {5U, 0x08000000U, 0xffffffffU}) {
    const auto words = driver.features(block, 2);
    findings.expect(words == std::vector<std::uint32_t>(2),
                    fmt::format("block {:#x} is not zero", block));
  }
}
void no_blocks(RawDriver& driver, Findings& findings) {
  findings.equal<std::size_t>(0, driver.features(0, 0).size(), "words");
  findings.equal<std::size_t>(16, driver.answer().size(), "bytes");
}
void too_many_blocks(RawDriver& driver, Findings& findings) {
  for (const std::uint32_t count :
       {max_feature_words(driver.max_message_size()) + 1, 0xffffffffU}) {
    findings.equal<std::size_t>(0, driver.features(0, count).size(), "words");
    findings.equal<std::size_t>(16, driver.answer().size(), "bytes");
  }
}
void needed_bits(RawDriver& driver, Findings& findings) {
  const auto words = driver.features(0, 2);
  findings.expect(words.size() == 2 && (words[1] & 1U) != 0, "VERSION_1 is not offered");
}
void unwanted_bits(RawDriver& driver, Findings& findings) {
  const auto words = driver.features(0, 2);
  findings.expect(words.size() == 2 && (words[1] & (1U << 5)) == 0, "SR_IOV is offered");
  findings.expect(words.size() == 2 && (words[1] & (1U << 7)) == 0, "NOTIF_CONFIG_DATA is offered");
}
void no_admin_bit(RawDriver& driver, Findings& findings) {
  const auto words = driver.features(1, 1);
  const bool has_bit = !words.empty() && (words[0] & (1U << 9)) != 0;
  findings.expect(!has_bit || info(driver).admin_vq_count != 0, "ADMIN_VQ without admin queues");
}
bool takes_features(RawDriver& driver) {
  return (driver.set_status(kAtFeaturesOk) & kStatusFeaturesOk) != 0;
}
constexpr std::array<std::uint32_t, 2> kBasic{0, 3};  // VERSION_1 and ACCESS_PLATFORM
void the_last_selection_wins(RawDriver& driver, Findings& findings) {
  driver.to_driver();
  const std::array<std::uint32_t, 1> all{0xffffffff};
  driver.select(0, all);
  driver.select(0, kBasic);
  findings.expect(takes_features(driver), "a selection that was corrected is refused");
}
void early_selection(RawDriver& driver, Findings& findings) {
  driver.reset();
  driver.select(0, kBasic);
  driver.set_status(kStatusAcknowledge);
  driver.set_status(kAtDriver);
  findings.expect(!takes_features(driver), "a selection made before DRIVER counts");
}
void reset_clears_selection(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  driver.to_driver();
  findings.expect(!takes_features(driver), "the selection of before counts");
}
void bad_selections(RawDriver& driver, Findings& findings) {
  const auto offered = driver.features(0, 2);
  const auto refused = [&](std::array<std::uint32_t, 2> words, const char* what) {
    driver.to_driver();
    driver.select(0, words);
    findings.expect(!takes_features(driver), what);
    driver.select(0, kBasic);
    findings.expect(takes_features(driver),
                    fmt::format("{}, and then its correction is not", what));
  };
  refused({0, 2}, "no VERSION_1: accepted");
  refused({0, 1}, "no ACCESS_PLATFORM: accepted");
  if (offered.size() == 2 && offered[0] != 0xffffffff) {
    refused({~offered[0] & (offered[0] + 1), 3}, "a bit that is not offered: accepted");
  }
}
void words_past_the_last(RawDriver& driver, Findings& findings) {
  driver.to_driver();
  const std::array<std::uint32_t, 1> one{1};
  driver.select(1000, one);
  driver.select(0, kBasic);
  findings.expect(!takes_features(driver), "a bit past the last block does not matter");
  driver.to_features_ok();
}
void selection_is_frozen(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const std::array<std::uint32_t, 2> none{0, 0};
  driver.select(0, none);
  findings.equal(kLive, driver.set_status(kLive), "status after DRIVER_OK");
  driver.reset();
}
void accepted_again(RawDriver& driver, Findings& findings) {
  for (int i = 0; i < 3; ++i) {
    driver.to_driver();
    driver.select(0, kBasic);
    findings.expect(takes_features(driver), "it is refused the next time");
  }
}

void any_range_inside(RawDriver& driver, Findings& findings) {
  const std::uint32_t size = info(driver).config_size;
  const std::uint32_t most = std::min(size, max_config_chunk(driver.max_message_size()));
  const auto whole = config(driver, 0, most);
  const Bytes bytes(whole.data.begin(), whole.data.end());
  findings.equal<std::size_t>(most, bytes.size(), "bytes of the whole");
  for (std::uint32_t at = 0; at < std::min(most, 64U); ++at) {
    const auto one = config(driver, at, 1);
    findings.expect(one.data.size() == 1 && one.offset == at, fmt::format("byte {}", at));
  }
}
void reads_outside(RawDriver& driver, Findings& findings) {
  const std::uint32_t size = info(driver).config_size;
  for (const auto& [offset, length] : {std::pair{size, 1U},
                                       {0U, size + 1},
                                       {0xffffffffU, 1U},
                                       {0xffffffffU, 0xffffffffU},
                                       {1U, 0xffffffffU}}) {
    const auto answer = config(driver, offset, length);
    findings.expect(answer.data.empty(), fmt::format("{} bytes at {:#x} are read", length, offset));
    findings.equal<std::size_t>(20, driver.answer().size(), "size of the answer");
    findings.equal(offset, answer.offset, "offset");
  }
}
void zero_length_reads(RawDriver& driver, Findings& findings) {
  const std::uint32_t generation = config(driver, 0, 0).generation;
  for (const std::uint32_t offset : {1U, 0x7fffffffU, 0xffffffffU}) {
    findings.equal(generation, config(driver, offset, 0).generation, "generation");
  }
}
void reset_keeps_generation(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const std::uint32_t before = config(driver, 0, 0).generation;
  driver.reset();
  findings.expect(config(driver, 0, 0).generation - before < 0x80000000, "it went back");
}
void zero_length_writes(RawDriver& driver, Findings& findings) {
  driver.reset();
  static_cast<void>(written(driver, 0, {}));
  findings.equal<std::size_t>(20, driver.answer().size(), "size of the answer");
}
void writes_outside(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const std::array<std::byte, 4> data{};
  const std::uint32_t size = info(driver).config_size;
  for (const std::uint32_t offset : {size, size + 1, 0xfffffffeU, 0xffffffffU}) {
    findings.equal(0U, written(driver, offset, data), fmt::format("length at {:#x}", offset));
    findings.equal<std::size_t>(20, driver.answer().size(), "size of the answer");
    findings.equal<unsigned>(offset & 0xffffU, word_of(driver.answer(), 12), "offset");
  }
}

void write_and_read_agree(RawDriver& driver, Findings& findings) {
  driver.reset();
  for (const std::uint32_t status : {1U, 3U, 0xbU, 0x83U}) {
    const std::uint32_t answer = driver.set_status(status);
    findings.equal(answer, driver.status(), fmt::format("read after a write of {:#x}", status));
  }
  driver.reset();
}
void reserved_bits(RawDriver& driver, Findings& findings) {
  driver.reset();
  findings.equal(kStatusAcknowledge, driver.set_status(0xffffff31), "status");
  driver.reset();
}
void ladder(RawDriver& driver, Findings& findings) {
  driver.reset();
  findings.equal(0U, driver.set_status(kStatusDriver), "DRIVER alone");
  findings.equal(kStatusAcknowledge, driver.set_status(kStatusAcknowledge | kStatusFeaturesOk),
                 "FEATURES_OK without DRIVER");
  driver.to_driver();
  findings.equal(kAtDriver, driver.set_status(kAtDriver | kStatusDriverOk),
                 "DRIVER_OK without FEATURES_OK");
}
void clearing(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  findings.equal(kAtFeaturesOk, driver.set_status(kStatusAcknowledge), "status");
}
void only_zero_resets(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  findings.equal(kAtFeaturesOk, driver.set_status(0x100), "a write of 0x100");
  driver.reset();
  findings.equal(0U, driver.status(), "after a write of 0");
}
void needs_reset_is_the_devices(RawDriver& driver, Findings& findings) {
  driver.to_driver();
  findings.equal(kAtDriver, driver.set_status(kAtDriver | kStatusNeedsReset), "status");
}
void failed_stays(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  findings.equal(kAtFeaturesOk | kStatusFailed, driver.set_status(kAtFeaturesOk | kStatusFailed),
                 "FAILED");
  findings.equal(kAtFeaturesOk | kStatusFailed, driver.set_status(kLive), "DRIVER_OK after it");
  driver.reset();
}
void reset_gives_all_back(RawDriver& driver, Findings& findings) {
  driver.to_features_ok();
  const Ring ring = make_ring(driver, 0, small_size(driver));
  set_queue(driver, ring.request);
  findings.expect(is_enabled(driver, 0), "the queue was not enabled");
  driver.set_status(kLive);
  driver.reset();
  findings.expect(!is_enabled(driver, 0), "the queue is enabled");
  findings.equal<std::uint64_t>(0, driver.queue(0).descriptor_addr, "its address");
}
void reset_at_zero(RawDriver& driver, Findings& findings) {
  driver.reset();
  findings.equal(0U, driver.set_status(0), "status");
}

constexpr std::array kRules{
    ConformRule{"DEV-23", "device information over a reset", info_is_constant},
    ConformRule{"DEV-24", "the device type", there_is_a_type},
    ConformRule{"DEV-25", "feature bits beyond the last block", blocks_cover_the_offer},
    ConformRule{"DEV-26", "the number of feature blocks", few_blocks},
    ConformRule{"DEV-27", "the numbers of queues", queue_counts},
    ConformRule{"DEV-29", "the offer before and after negotiation", the_offer_stays},
    ConformRule{"DEV-30", "1, 2, 4 and 7 feature words", feature_echo},
    ConformRule{"DEV-31", "feature blocks far out", blocks_do_not_wrap},
    ConformRule{"DEV-32", "no feature words", no_blocks},
    ConformRule{"DEV-33", "more feature words than fit", too_many_blocks},
    ConformRule{"DEV-34", "VERSION_1", needed_bits},
    ConformRule{"DEV-35", "SR_IOV and NOTIF_CONFIG_DATA", unwanted_bits},
    ConformRule{"DEV-37", "ADMIN_VQ", no_admin_bit},
    ConformRule{"DEV-38", "two selections of the same block", the_last_selection_wins},
    ConformRule{"DEV-40", "a selection before DRIVER", early_selection},
    ConformRule{"DEV-41", "FEATURES_OK after a reset, with no new selection",
                reset_clears_selection},
    ConformRule{"DEV-42", "bad selections and their corrections", bad_selections},
    ConformRule{"DEV-43", "a bit in block 1000", words_past_the_last},
    ConformRule{"DEV-44", "a selection after FEATURES_OK", selection_is_frozen},
    ConformRule{"DEV-45", "the same selection three times", accepted_again},
    ConformRule{"DEV-47", "every byte of the configuration, and all of it", any_range_inside},
    ConformRule{"DEV-48", "reads outside of the configuration", reads_outside},
    ConformRule{"DEV-49", "reads of no length", zero_length_reads},
    ConformRule{"DEV-51", "the generation over a reset", reset_keeps_generation},
    ConformRule{"DEV-58", "writes outside of the configuration", writes_outside},
    ConformRule{"DEV-60", "a write of no length", zero_length_writes},
    ConformRule{"DEV-63", "status written and read", write_and_read_agree},
    ConformRule{"DEV-64", "reserved status bits", reserved_bits},
    ConformRule{"DEV-65", "steps that leave one out", ladder},
    ConformRule{"DEV-66", "status bits taken away", clearing},
    ConformRule{"DEV-67", "status 0x100, and 0", only_zero_resets},
    ConformRule{"DEV-68", "DEVICE_NEEDS_RESET from the driver", needs_reset_is_the_devices},
    ConformRule{"DEV-69", "FAILED, and DRIVER_OK after it", failed_stays},
    ConformRule{"DEV-71", "a reset of a live device", reset_gives_all_back},
    ConformRule{"DEV-77", "a reset at status 0", reset_at_zero},
};

}  // namespace

std::span<const ConformRule> device_rules() { return kRules; }

}  // namespace vmsg::guest
