// A TAP interface of the host's kernel, with vnet headers: one descriptor a queue. It goes with its
// descriptors, unless it was there before.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "devices/file_descriptor.hpp"
#include "devices/net/frame_io.hpp"
#include "transport/result.hpp"

namespace vmsg::net {

class TapInterface {
 public:
  /// Without a carrier, and without offloads.
  static Result<TapInterface, std::string> open(const std::string& name, std::uint32_t queues);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] int queue(std::uint32_t index) const { return queues_[index].get(); }
  /// Whether the kernel can leave UDP segments together.
  [[nodiscard]] bool knows_uso() const { return knows_uso_; }

  /// Waits for the kernel's network configuration lock.
  void apply(const HostSettings& settings);

 private:
  TapInterface() = default;

  std::string name_;
  std::vector<FileDescriptor> queues_;
  std::vector<bool> is_attached_;
  bool knows_uso_ = false;
};

}  // namespace vmsg::net
