#include "tools/vmsg/commands.hpp"

#include <fmt/format.h>

#include <cstdio>

#include "tools/vmsg/control_client.hpp"
#include "tools/vmsg/created_guests.hpp"
#include "tools/vmsg/named_devices.hpp"

namespace vmsg::tool {

int complain(int status, std::string_view what) {
  fmt::print(stderr, "vmsg: {}\n", what);
  return status;
}

void complain(const std::vector<Problem>& problems) {
  for (const Problem& problem : problems) fmt::print(stderr, "vmsg: {}\n", to_text(problem));
}

int with_toolstack(const std::function<int(Toolstack&)>& work) {
  auto toolstack = Toolstack::open();
  if (!toolstack) return complain(kExitFailed, toolstack.error());
  return work(**toolstack);
}

int with_guest(const std::string& guest,
               const std::function<int(Toolstack&, xen::DomainId)>& work) {
  return with_toolstack([&](Toolstack& toolstack) {
    const auto found = toolstack.find_domain(guest);
    return found ? work(toolstack, *found) : complain(kExitFailed, found.error());
  });
}

void add_guest(CLI::App& command, std::string& guest) {
  command.add_option("GUEST", guest, "Name or id of the guest")->required();
}

void add_device(CLI::App& command, std::uint16_t& device) {
  command.add_option("DEV", device, "Number of the device, as list shows it")->required();
}

void add_timeout(CLI::App& command, unsigned& seconds) {
  command.add_option("--timeout", seconds, "Seconds to wait for the other side")
      ->check(CLI::Range(1U, 3600U))
      ->capture_default_str();
}

void add_socket(CLI::App& command, std::string& socket) {
  socket = kDefaultControlSocket;
  command.add_option("--socket", socket, "Control socket of vmsgd")
      ->envname("VMSGD_SOCKET")
      ->capture_default_str();
}

void add_named_devices(CLI::App& command, std::string& file) {
  file = kDefaultNamedDevicesFile;
  command.add_option("--devices", file, "Devices by name, for type=vmsg-NAME in virtio lists")
      ->capture_default_str();
}

void add_run_folder(CLI::App& command, std::string& folder) {
  folder = kDefaultRunFolder;
  command.add_option("--run-folder", folder, "Where create and watch tell each other what they do")
      ->envname("VMSG_RUN_FOLDER")
      ->capture_default_str();
}

}  // namespace vmsg::tool
