#include "tools/vmsg-guest/command_net_options.hpp"

#include <memory>
#include <string>

namespace vmsg::guest {
namespace {

using Run = int (*)(const CommandOptions&, const NetCommandOptions&);

void add_common_options(CLI::App& command, CommandOptions& options, NetCommandOptions& net) {
  command.add_option("--device", options.number,
                     "Number of the device; else the first network device");
  command.add_flag("--packed", options.device.packed, "Use packed queues");
  command.add_flag("!--no-event-idx", options.device.event_idx, "Do without the event index");
  command.add_flag("--in-order", options.device.in_order, "Have buffers used in order");
  command.add_flag("!--in-band", options.device.queue_channels,
                   "Notify by messages instead of event channels for the queues");
  command.add_flag("--shared-regions", options.link.shared_regions,
                   "Let the device side keep the buffers mapped");
  command.add_option("--address", net.address, "Our own IPv4 address")->required();
  command.add_option("--descriptors", net.descriptors, "Divide buffers into up to so many")
      ->check(CLI::Range(1U, 64U))
      ->capture_default_str();
  command.add_option("--buffer-size", net.buffer_size, "Bytes of a receive buffer")
      ->check(CLI::Range(64U, 4096U))
      ->capture_default_str();
  command.add_flag("--offloads", net.offloads,
                   "Leave checksums to the device, and take frames without");
  command.add_option("--seed", net.seed, "Of everything that is drawn")->capture_default_str();
}

}  // namespace

void add_net_commands(CLI::App& app, CommandOptions& options, std::function<int()>& run) {
  const auto net = std::make_shared<NetCommandOptions>();
  auto* group = app.add_subcommand("net", "Be somebody on a network");
  group->require_subcommand(1);
  const auto add = [&](const std::string& name, const std::string& what, Run function) {
    auto* command = group->add_subcommand(name, what);
    add_common_options(*command, options, *net);
    command->final_callback([&options, &run, net, function] {
      run = [&options, net, function] { return function(options, *net); };
    });
    return command;
  };
  auto* ping = add("ping", "Ask another host for answers (ARP and ICMP)", run_net_ping);
  auto* verify =
      add("verify",
          "Exchange packets with another one of these, and check that all of them arrive "
          "as they were",
          run_net_verify);
  auto* bench =
      add("bench", "Exchange packets with another one of these, and say how fast that was",
          run_net_bench);
  static_cast<void>(add("answer", "Answer others (ARP and ICMP)", run_net_answer));
  for (CLI::App* command : {ping, verify, bench}) {
    command->add_option("--peer", net->peer, "The other's address")->required();
    command->add_option("--count", net->count, "How many packets")->capture_default_str();
  }
  for (CLI::App* command : {ping, bench}) {
    command->add_option("--size", net->size, "Bytes of data")
        ->check(CLI::Range(0U, 65000U))
        ->capture_default_str();
  }
}

}  // namespace vmsg::guest
