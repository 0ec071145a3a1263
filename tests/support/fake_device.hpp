// A virtio device of no real type, with one of everything that the message layer can meet: queues
// that exist, do not exist, or depend on a feature; configuration bytes that can be written never,
// after FEATURES_OK, always, with side effects, or only to some values; a shared memory region.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "transport/device.hpp"

namespace vmsg::test {

class FakeDevice final : public Device {
 public:
  // Features of the type.
  static constexpr unsigned kBase = 2;
  static constexpr unsigned kNeedsBase = 6;  // depends on kBase
  static constexpr unsigned kPlain = 9;
  static constexpr unsigned kMoreQueues = 12;  // queue 3 exists with it

  // Configuration bytes; all others are read-only.
  static constexpr std::uint32_t kConfigSize = 60;
  static constexpr std::uint32_t kWritable = 32;  // 4 bytes; a first byte of kBadValue is refused
  static constexpr std::uint32_t kAlwaysWritable = 36;  // 4 bytes
  static constexpr std::uint32_t kSelect = 40;          // 1 byte; changes kUnion
  static constexpr std::uint32_t kUnion = 44;           // 4 bytes
  static constexpr std::byte kBadValue{0xff};

  static constexpr std::uint32_t kRegion = 1;

  FakeDevice() {
    identity_.device_id = 2;
    identity_.vendor_id = 0x4d534756;
    for (std::uint8_t i = 0; i < 16; ++i) {
      identity_.uuid[i] = static_cast<std::uint8_t>(i * 0x11);
    }
    identity_.config_size = kConfigSize;
    identity_.max_virtqueues = 4;
    config.resize(kConfigSize);
    config[2] = std::byte{0x10};
  }

  [[nodiscard]] const DeviceIdentity& identity() const override { return identity_; }
  DeviceIdentity& mutable_identity() { return identity_; }

  [[nodiscard]] FeatureSet device_features() const override { return features; }

  [[nodiscard]] bool accepts(const FeatureSet& selection) const override {
    return !selection.has(kNeedsBase) || selection.has(kBase);
  }
  void features_negotiated(const FeatureSet& selection) override {
    ++negotiations;
    negotiated = selection;
  }

  [[nodiscard]] std::uint32_t max_queue_size(std::uint32_t index) const override {
    const auto found = queue_sizes.find(index);
    return found == queue_sizes.end() ? 0 : found->second;
  }
  [[nodiscard]] bool has_queue(std::uint32_t index, const FeatureSet& selection) const override {
    return index != 3 || selection.has(kMoreQueues);
  }

  void read_config(std::uint32_t offset, std::span<std::byte> out) const override {
    ++config_reads;
    std::copy_n(config.begin() + offset, out.size(), out.begin());
  }

  [[nodiscard]] ConfigWrite write_config(std::uint32_t offset,
                                         std::span<const std::byte> bytes) override {
    ++config_writes;
    const std::uint64_t end = offset + bytes.size();
    if (offset >= kWritable && end <= kSelect) {
      if (offset == kWritable && bytes[0] == kBadValue) return ConfigWrite::kRefused;
      std::ranges::copy(bytes, config.begin() + offset);
      return ConfigWrite::kApplied;
    }
    if (offset == kSelect && end == kSelect + 1) {
      config[kSelect] = bytes[0];
      std::fill_n(config.begin() + kUnion, 4, bytes[0]);
      return ConfigWrite::kAppliedWithSideEffects;
    }
    return ConfigWrite::kRefused;
  }

  [[nodiscard]] bool is_always_writable(std::uint32_t offset, std::uint32_t length) const override {
    return offset >= kAlwaysWritable && std::uint64_t{offset} + length <= kSelect;
  }

  [[nodiscard]] std::optional<SharedMemoryRegion> find_shared_memory(
      std::uint32_t shmid) const override {
    if (shmid != kRegion) return std::nullopt;
    return SharedMemoryRegion{.length = 0x200000, .address = 0x180000000};
  }

  void reset() override {
    ++resets;
    if (reset_clears_config) std::ranges::fill(config, std::byte{0});
  }

  FeatureSet features{kBase, kNeedsBase, kPlain, kMoreQueues};
  std::map<std::uint32_t, std::uint32_t> queue_sizes{{0, 256}, {1, 128}, {3, 64}};
  std::vector<std::byte> config;
  bool reset_clears_config = false;

  FeatureSet negotiated;
  int negotiations = 0;
  int resets = 0;
  int config_writes = 0;
  mutable int config_reads = 0;

 private:
  DeviceIdentity identity_;
};

}  // namespace vmsg::test
