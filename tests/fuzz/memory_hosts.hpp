// What stands behind the daemon's devices when all of it has to happen in one thread and in memory:
// disks, networks, streams of bytes, numbers for entropy.
//
// memory_hosts.cpp defines DeviceMaker and console::open_stream() in place of the daemon's own:
// parameters are read as always, devices are the real ones, and what they open is listed here for
// whoever plays the host.
#pragma once

#include <cstddef>
#include <vector>

#include "tests/devices/fake_net_host.hpp"
#include "tests/support/memory_disk.hpp"

namespace vmsg::fuzz {

/// The host's end of a console's port.
class MemoryStream;

struct MemoryHosts {
  static MemoryHosts& all();

  // Of the devices that exist, in the order in which they were made.
  std::vector<test::MemoryDisk*> disks;
  std::vector<net::FakeNetHost*> networks;
  std::vector<MemoryStream*> streams;

  bool is_out_of_entropy = false;
  bool refuses_next = false;  // the next device cannot be opened

  /// The host ends all that it was slow with.
  void end_all();
  static void say(MemoryStream& stream, std::size_t bytes);
  static void hear(MemoryStream& stream);
  static void hang_up(MemoryStream& stream);
};

}  // namespace vmsg::fuzz
