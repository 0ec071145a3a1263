#include "tools/vmsg-guest/command_blk_options.hpp"

#include <memory>

namespace vmsg::guest {
namespace {

void add_queue_options(CLI::App& command, CommandOptions& options) {
  command.add_option("--device", options.number, "Number of the device; else the first disk");
  command.add_flag("--packed", options.device.packed, "Use packed queues");
  command.add_flag("!--no-event-idx", options.device.event_idx, "Do without the event index");
  command.add_flag("!--no-indirect", options.device.indirect, "Do without indirect descriptors");
  command.add_flag("--in-order", options.device.in_order, "Have buffers used in order");
  command.add_flag("!--in-band", options.device.queue_channels,
                   "Notify by messages instead of event channels for the queues");
}

void add_copies(CLI::App& blk, CommandOptions& options, std::function<int()>& run) {
  const auto part = std::make_shared<DiskPart>();
  auto* read = blk.add_subcommand("read", "Copy from the disk");
  auto* write = blk.add_subcommand("write", "Copy to the disk, and flush");
  for (CLI::App* command : {read, write}) {
    add_queue_options(*command, options);
    command->add_option("--offset", part->offset, "Where on the disk, in bytes")
        ->transform(CLI::AsSizeValue(false))
        ->capture_default_str();
    command->add_option("--bytes", part->bytes, "How many bytes; else up to the end")
        ->transform(CLI::AsSizeValue(false));
    command->add_option("--file", options.output, "A file, or - for standard input or output")
        ->capture_default_str();
  }
  read->final_callback([&, part] { run = [&, part] { return run_blk_read(options, *part); }; });
  write->final_callback([&, part] { run = [&, part] { return run_blk_write(options, *part); }; });
}

void add_info(CLI::App& blk, CommandOptions& options, std::function<int()>& run) {
  const auto waits = std::make_shared<bool>(false);
  auto* info = blk.add_subcommand("info", "Show what the disk says about itself");
  add_queue_options(*info, options);
  info->add_flag("--wait", *waits, "Wait until the configuration changes, and show it again");
  info->final_callback([&, waits] { run = [&, waits] { return run_blk_info(options, *waits); }; });
}

void add_verify(CLI::App& blk, CommandOptions& options, std::function<int()>& run) {
  const auto choice = std::make_shared<VerifyOptions>();
  const auto seconds = std::make_shared<std::uint32_t>(10);
  auto* verify = blk.add_subcommand(
      "verify", "Destroy the contents with random operations, and compare with a model");
  verify->footer("Exit code 1: the disk is wrong. 3: the device went away, the state is saved.");
  add_queue_options(*verify, options);
  verify->add_option("--seconds", *seconds, "How long at most")->capture_default_str();
  verify->add_option("--bytes", choice->bytes, "How many bytes at most")
      ->transform(CLI::AsSizeValue(false));
  verify->add_option("--span", choice->span, "How much of the disk, from its beginning")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  verify->add_option("--max-io", choice->max_bytes, "The largest request")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  verify->add_option("--depth", choice->depth, "Requests on their way on each queue")
      ->check(CLI::Range(1U, 128U))
      ->capture_default_str();
  verify->add_option("--queues", choice->queues, "How many queues")->capture_default_str();
  verify->add_option("--queue-size", choice->queue_size, "Their size")->capture_default_str();
  verify->add_option("--seed", choice->seed, "Of the random numbers")->capture_default_str();
  verify->add_option("--reset-after", choice->reset_after, "Reset the device after so many bytes")
      ->transform(CLI::AsSizeValue(false));
  verify->add_flag("!--plain-layout", choice->random_layout,
                   "Cut requests as Linux does, not at random");
  verify->add_flag("--flush-may-fail", choice->flush_may_fail,
                   "A flush that fails is no reason to end");
  verify->add_option("--state", choice->state,
                     "A file that keeps what the disk must hold; if it is there, the disk is "
                     "compared with it first");
  verify->add_flag("--after-power-cut", choice->after_power_cut,
                   "What no flush has covered may be gone");
  verify->final_callback([&, choice, seconds] {
    choice->time = std::chrono::seconds(*seconds);
    run = [&, choice] { return run_blk_verify(options, *choice); };
  });
}

void add_bench(CLI::App& blk, CommandOptions& options, std::function<int()>& run) {
  const auto choice = std::make_shared<BenchOptions>();
  const auto seconds = std::make_shared<std::uint32_t>(5);
  auto* bench = blk.add_subcommand("bench", "Measure requests a second");
  add_queue_options(*bench, options);
  bench->add_option("--seconds", *seconds, "How long")->capture_default_str();
  bench->add_option("--io", choice->bytes, "Bytes of a request")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  bench->add_option("--depth", choice->depth, "Requests on their way on each queue")
      ->check(CLI::Range(1U, 1024U))
      ->capture_default_str();
  bench->add_option("--queues", choice->queues, "How many queues")->capture_default_str();
  bench->add_option("--queue-size", choice->queue_size, "Their size")->capture_default_str();
  bench->add_option("--write", choice->write_percent, "How many of a hundred are writes")
      ->check(CLI::Range(0U, 100U))
      ->capture_default_str();
  bench->add_flag("--busy", choice->is_busy, "Look all the time instead of sleeping");
  bench->final_callback([&, choice, seconds] {
    choice->time = std::chrono::seconds(*seconds);
    run = [&, choice] { return run_blk_bench(options, *choice); };
  });
}

}  // namespace

void add_blk_commands(CLI::App& app, CommandOptions& options, std::function<int()>& run) {
  auto* blk = app.add_subcommand("blk", "Use a disk");
  blk->require_subcommand(1);
  add_info(*blk, options, run);
  add_copies(*blk, options, run);
  add_verify(*blk, options, run);
  add_bench(*blk, options, run);
}

}  // namespace vmsg::guest
