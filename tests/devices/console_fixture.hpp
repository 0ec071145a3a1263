// A console with its receive and transmit queue served, for tests of either side of it.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "tests/devices/console_bench.hpp"
#include "tests/support/temporary_directory.hpp"

namespace vmsg::console::test {

inline constexpr std::uint32_t kReceive = 0;
inline constexpr std::uint32_t kTransmit = 1;

class ConsoleFixture : public ::testing::Test {
 protected:
  ConsoleBench& start(const DeviceParameters& parameters = {}) {
    bench_.emplace(parameters);
    bench_->negotiate();
    bench_->serve(kReceive);
    bench_->serve(kTransmit);
    return *bench_;
  }
  ConsoleBench& start_multiport(DeviceParameters parameters) {
    parameters["ports"] = "2";
    bench_.emplace(parameters);
    bench_->negotiate();
    for (std::uint32_t index = 0; index < 6; ++index) bench_->serve(index);
    for (int i = 0; i < 8; ++i) bench_->offer(wire::kControlReceiveQueue, 128);
    return *bench_;
  }
  FileDescriptor attach(const std::string& fact = "tty") {
    FileDescriptor terminal = open_terminal(bench_->fact(fact));
    bench_->advance(kSecond);
    bench_->settle();
    return terminal;
  }
  /// Publishes `text` in pieces and turns until `count` of them came back.
  bool send_all(const std::string& text, std::size_t piece, std::size_t count) {
    std::size_t at = 0;
    std::size_t back = 0;
    return bench_->run_until([&] {
      back += bench_->driver(kTransmit).poll_all().size();
      if (at < text.size() && bench_->driver(kTransmit).queue().free_descriptors() > 0) {
        bench_->send(kTransmit, text.substr(at, piece));
        at += piece;
      }
      return back >= count;
    });
  }

  vmsg::test::TemporaryDirectory folder_;
  std::optional<ConsoleBench> bench_;
};

}  // namespace vmsg::console::test
