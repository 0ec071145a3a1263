#include "tools/vmsg/device_words.hpp"

#include <fmt/format.h>

#include <array>
#include <span>

#include "tools/vmsg/small_file.hpp"

namespace vmsg::tool {
namespace {

struct FeatureName {
  unsigned bit;
  std::string_view name;
};

// The specification's numbers. Headers of the kernel that have them are no C++.
constexpr FeatureName kRing[]{
    {28, "INDIRECT_DESC"},     {29, "EVENT_IDX"},  {32, "VERSION_1"},      {33, "ACCESS_PLATFORM"},
    {34, "RING_PACKED"},       {35, "IN_ORDER"},   {36, "ORDER_PLATFORM"}, {37, "SR_IOV"},
    {38, "NOTIFICATION_DATA"}, {40, "RING_RESET"},
};
constexpr FeatureName kBlk[]{
    {1, "SIZE_MAX"}, {2, "SEG_MAX"},  {4, "GEOMETRY"},      {5, "RO"},
    {6, "BLK_SIZE"}, {9, "FLUSH"},    {10, "TOPOLOGY"},     {11, "CONFIG_WCE"},
    {12, "MQ"},      {13, "DISCARD"}, {14, "WRITE_ZEROES"}, {16, "SECURE_ERASE"},
};
constexpr FeatureName kNet[]{
    {0, "CSUM"},
    {1, "GUEST_CSUM"},
    {2, "CTRL_GUEST_OFFLOADS"},
    {3, "MTU"},
    {5, "MAC"},
    {7, "GUEST_TSO4"},
    {8, "GUEST_TSO6"},
    {9, "GUEST_ECN"},
    {10, "GUEST_UFO"},
    {11, "HOST_TSO4"},
    {12, "HOST_TSO6"},
    {13, "HOST_ECN"},
    {14, "HOST_UFO"},
    {15, "MRG_RXBUF"},
    {16, "STATUS"},
    {17, "CTRL_VQ"},
    {18, "CTRL_RX"},
    {19, "CTRL_VLAN"},
    {21, "GUEST_ANNOUNCE"},
    {22, "MQ"},
    {23, "CTRL_MAC_ADDR"},
    {54, "GUEST_USO4"},
    {55, "GUEST_USO6"},
    {56, "HOST_USO"},
    {57, "HASH_REPORT"},
    {60, "RSS"},
    {63, "SPEED_DUPLEX"},
};
constexpr FeatureName kConsole[]{
    {0, "SIZE"},
    {1, "MULTIPORT"},
    {2, "EMERG_WRITE"},
};

std::span<const FeatureName> features_of(std::string_view type) {
  if (type == "blk") return kBlk;
  if (type == "net") return kNet;
  if (type == "console") return kConsole;
  return {};
}

std::string scaled(double value, double step, std::span<const std::string_view> units) {
  std::size_t unit = 0;
  while (value >= step && unit + 1 < units.size()) {
    value /= step;
    ++unit;
  }
  const int digits = unit == 0 || value >= 100 ? 0 : 1;
  return fmt::format("{:.{}f} {}", value, digits, units[unit]);
}

}  // namespace

std::string feature_words(std::string_view type, std::uint64_t features) {
  std::string words;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if ((features >> bit & 1) == 0) continue;
    std::string name = fmt::format("bit {}", bit);
    for (const auto names : {std::span<const FeatureName>(kRing), features_of(type)}) {
      for (const FeatureName& known : names) {
        if (known.bit == bit) name = known.name;
      }
    }
    words += fmt::format("{}{}", words.empty() ? "" : ", ", name);
  }
  return words;
}

std::string duration_words(double nanoseconds) {
  constexpr std::array<std::string_view, 4> kUnits{"ns", "us", "ms", "s"};
  return scaled(nanoseconds, 1000, kUnits);
}

std::string size_words(double bytes) {
  constexpr std::array<std::string_view, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  return scaled(bytes, 1024, kUnits);
}

std::string member_text(const nlohmann::json& object, std::string_view key) {
  if (!object.is_object()) return "-";
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return "-";
  if (found->is_string()) return printable(found->get<std::string>());
  if (found->is_boolean()) return found->get<bool>() ? "yes" : "no";
  return printable(found->dump());
}

double member_number(const nlohmann::json& object, std::string_view key) {
  if (!object.is_object()) return 0;
  const auto found = object.find(key);
  return found == object.end() || !found->is_number() ? 0 : found->get<double>();
}

nlohmann::json member(const nlohmann::json& object, std::string_view key) {
  if (!object.is_object()) return nlohmann::json::object();
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nlohmann::json::object() : *found;
}

}  // namespace vmsg::tool
