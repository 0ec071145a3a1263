// Messages of every kind, size and order on a ring that is right.
#include <algorithm>

#include "tests/hostile/adversary.hpp"
#include "tests/hostile/raw_queue.hpp"
#include "transport/ring.hpp"

namespace vmsg::hostile {
namespace {

constexpr std::uint32_t kLive =
    kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk | kStatusDriverOk;

std::vector<std::byte> noise(Attacker& attacker, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = std::byte(attacker.random()() & 0xff);
  return bytes;
}

/// Sends when there is room, and takes what comes back.
void push(Attacker& attacker, std::uint8_t type, std::uint8_t id, std::uint16_t device,
          std::span<const std::byte> payload, std::uint16_t msg_size = 0) {
  expect(attacker.wait_until([&] {
    attacker.drain();
    return attacker.has_room();
  }),
         "the device side takes nothing");
  attacker.send(type, id, device, attacker.next_token(), payload, msg_size);
}

/// EJECTED tells that the driver has done with a device, which is no attack but ends the game.
bool is_farewell(std::uint8_t type, std::uint8_t id) {
  return (type & VIRTIO_MSG_TYPE_BUS) != 0 && id == VMSG_XEN_EJECTED;
}

void every_identifier(Attacker& attacker) {
  for (std::uint32_t type = 0; type < 256; type += type < 4 ? 1 : 63) {
    for (std::uint32_t id = 0; id < 256; ++id) {
      const auto t = static_cast<std::uint8_t>(type);
      const auto i = static_cast<std::uint8_t>(id);
      if (is_farewell(t, i)) continue;
      push(attacker, t, i, attacker.options().device, noise(attacker, attacker.random()() % 64));
    }
  }
}

void every_short_payload(Attacker& attacker) {
  for (std::uint8_t id = 0; id < 0x44; ++id) {
    for (std::size_t size = 0; size < 48; size += 1 + size / 8) {
      push(attacker, 0, id, attacker.options().device, noise(attacker, size));
    }
  }
  for (std::uint8_t id = 0x80; id < 0x84; ++id) {
    for (std::size_t size = 0; size < 4; ++size) {
      push(attacker, VIRTIO_MSG_TYPE_BUS, id, 0, noise(attacker, size));
    }
  }
}

void absent_devices(Attacker& attacker) {
  for (std::uint32_t number = 1; number < 65536; number = number * 2 + 1) {
    push(attacker, 0, VIRTIO_MSG_GET_DEVICE_INFO, static_cast<std::uint16_t>(40000 ^ number), {});
  }
}

void random_frames(Attacker& attacker) {
  attacker.for_a_while([&] {
    const auto type = static_cast<std::uint8_t>(attacker.random()());
    const auto id = static_cast<std::uint8_t>(attacker.random()());
    if (is_farewell(type, id)) return;
    push(attacker, type, id, static_cast<std::uint16_t>(attacker.random()() % 3),
         noise(attacker, attacker.random()() % 256));
  });
}

/// Every request in every status, in an order that nobody intended.
void any_order(Attacker& attacker) {
  constexpr std::array<std::uint8_t, 12> kIds{VIRTIO_MSG_GET_DEVICE_INFO,
                                              VIRTIO_MSG_GET_DEVICE_FEATURES,
                                              VIRTIO_MSG_SET_DRIVER_FEATURES,
                                              VIRTIO_MSG_GET_CONFIG,
                                              VIRTIO_MSG_SET_CONFIG,
                                              VIRTIO_MSG_GET_DEVICE_STATUS,
                                              VIRTIO_MSG_SET_DEVICE_STATUS,
                                              VIRTIO_MSG_GET_VQUEUE,
                                              VIRTIO_MSG_SET_VQUEUE,
                                              VIRTIO_MSG_RESET_VQUEUE,
                                              VIRTIO_MSG_GET_SHM,
                                              VIRTIO_MSG_EVENT_AVAIL};
  constexpr std::array<std::uint32_t, 7> kLadder{0,          1, 3, 11, kLive, kLive | kStatusFailed,
                                                 0xffff'ffff};
  attacker.for_a_while([&] {
    std::array<std::byte, 40> payload{};
    if (attacker.random()() % 3 == 0) {
      const Le32 status(kLadder[attacker.random()() % kLadder.size()]);
      std::ranges::copy(std::as_bytes(std::span(&status, 1)), payload.begin());
      push(attacker, 0, VIRTIO_MSG_SET_DEVICE_STATUS, attacker.options().device,
           std::span(payload).first(4));
      return;
    }
    for (std::byte& byte : payload) byte = std::byte(attacker.random()() % 4 == 0 ? 1 : 0);
    push(attacker, 0, kIds[attacker.random()() % kIds.size()], attacker.options().device, payload);
  });
}

void every_status(Attacker& attacker) {
  for (std::uint32_t status = 0; status < 256; ++status) attacker.set_status(status);
  for (std::uint32_t bit = 8; bit < 32; ++bit) attacker.set_status(std::uint32_t{1} << bit);
}

void config_out_of_range(Attacker& attacker) {
  for (const std::uint32_t offset : {0U, 1U, 0xffffU, 0x7fff'ffffU, 0xffff'fffcU, 0xffff'ffffU}) {
    for (const std::uint32_t length : {1U, 4U, 240U, 0xffffU, 0xffff'ffffU}) {
      const auto got =
          attacker.ask<GetConfigResponse>(GetConfigRequest{.offset = offset, .length = length});
      expect(got && got->data.empty(), "configuration from beyond its end");
      const auto bytes = noise(attacker, std::min(length, 200U));
      const auto set = attacker.ask<SetConfigResponse>(
          SetConfigRequest{.generation = 0, .offset = offset, .data = bytes});
      expect(set.has_value(), "SET_CONFIG is not answered");
    }
  }
}

void features_out_of_range(Attacker& attacker) {
  for (const std::uint32_t block : {0U, 1U, 31U, 0x7fff'ffffU, 0xffff'ffffU}) {
    for (const std::uint32_t count : {0U, 1U, 62U, 63U, 0xffff'ffffU}) {
      const auto answer = attacker.ask<GetDeviceFeaturesResponse>(
          GetDeviceFeaturesRequest{.block_index = block, .num_blocks = count});
      expect(answer.has_value(), "GET_DEVICE_FEATURES is not answered");
    }
  }
  attacker.reset();
  attacker.set_status(3);
  const std::array<Le32, 62> all = [] {
    std::array<Le32, 62> words{};
    words.fill(Le32(0xffff'ffff));
    return words;
  }();
  for (const std::uint32_t block : {0U, 0xffff'ffffU}) {
    expect(attacker
               .ask<SetDriverFeaturesResponse>(SetDriverFeaturesRequest{
                   .block_index = block, .words = FeatureWords(std::span<const Le32>(all))})
               .has_value(),
           "SET_DRIVER_FEATURES is not answered");
  }
  expect((attacker.set_status(11) & kStatusFeaturesOk) == 0, "features that nobody offered");
}

void devices_windows(Attacker& attacker) {
  for (const std::uint32_t offset : {0U, 1U, 7U, 65535U, 65528U, 40000U}) {
    for (const std::uint32_t count : {0U, 1U, 8U, 65535U}) {
      const auto answer = attacker.ask<GetDevicesResponse>(
          0, GetDevicesRequest{.offset = static_cast<std::uint16_t>(offset),
                               .count = static_cast<std::uint16_t>(count)});
      expect(answer && answer->offset == offset, "GET_DEVICES is not answered");
    }
  }
}

void absurd_indices(Attacker& attacker) {
  for (const std::uint32_t index : {1U, 2U, 255U, 65535U, 65536U, 0x8000'0000U, 0xffff'ffffU}) {
    const auto record = attacker.ask<GetVqueueResponse>(GetVqueueRequest{.index = index});
    expect(record && record->max_size == 0, "a queue that is not there");
    static_cast<void>(attacker.ask<ResetVqueueResponse>(ResetVqueueRequest{.index = index}));
    static_cast<void>(
        attacker.ask<SetVqueueResponse>(SetVqueueRequest{.index = index, .flags = 1, .size = 16}));
    attacker.tell(EventAvail{.vq_index = index, .next_offset = 0xffff'ffff});
    static_cast<void>(attacker.ask<GetShmResponse>(GetShmRequest{.shmid = index}));
    const auto answer = attacker.ask<QueueEventChannelResponse>(QueueEventChannelRequest{
        .dev_num = attacker.options().device, .vq_index = index, .port = index});
    expect(answer && answer->status == VMSG_XEN_QEC_NO_SUCH_QUEUE, "a queue that is not there");
  }
}

void flood(Attacker& attacker) {
  const std::array<std::byte, 4> payload{};
  attacker.for_a_while(
      [&] { push(attacker, VIRTIO_MSG_TYPE_BUS, VIRTIO_MSG_BUS_PING, 0, payload); });
}

void flood_malformed(Attacker& attacker) {
  attacker.for_a_while([&] { push(attacker, 0, 0x7f, 9999, {}); });
}

void flood_resets(Attacker& attacker) {
  attacker.for_a_while([&] {
    attacker.bring_up({RingFeature::kEventIdx});
    attacker.reset();
  });
}

void flood_kicks(Attacker& attacker) {
  attacker.bring_up({});
  RawQueue queue(attacker, QueueFormat::kSplit);
  queue.go_live(false);
  attacker.for_a_while([&] {
    attacker.drain();
    if (attacker.has_room()) queue.kick();
  });
  attacker.reset();
}

void unasked_eject(Attacker& attacker) {
  const auto refused = attacker.ask<EjectedResponse>(
      0, EjectedRequest{.dev_num = attacker.options().device, .status = VMSG_XEN_EJECTED_BUSY});
  expect(refused.has_value(), "EJECTED is not answered");
  const auto absent = attacker.ask<EjectedResponse>(
      0, EjectedRequest{.dev_num = 54321, .status = VMSG_XEN_EJECTED_DONE});
  expect(absent.has_value(), "EJECTED is not answered");
  for (std::uint32_t i = 0; i < 100; ++i) {
    const auto answer = attacker.ask<EjectedResponse>(
        0, EjectedRequest{.dev_num = attacker.options().device,
                          .status = static_cast<std::uint16_t>(1 + i)});
    expect(answer.has_value(), "EJECTED is not answered");
  }
}

/// On a bus that has no shared regions these are unknown messages: no answer, nothing mapped.
/// Where it has them, every range that cannot be is refused.
void region_games(Attacker& attacker) {
  const auto mine = attacker.share(1, Access::kReadWrite);
  const std::uint64_t right = mine.address()->raw();
  for (const std::uint64_t address :
       {std::uint64_t{0}, right & ~(std::uint64_t{1} << 63), right | std::uint64_t{1} << 50,
        std::uint64_t{1} << 63 | 0xfff'ffff'f000U, right}) {
    for (const std::uint32_t pages : {0U, 2U, 65537U, 0xffff'ffffU}) {
      std::array<std::byte, 16> payload{};
      const Le32 count(pages);
      const Le64 where(address);
      std::ranges::copy(std::as_bytes(std::span(&count, 1)), payload.begin() + 4);
      std::ranges::copy(std::as_bytes(std::span(&where, 1)), payload.begin() + 8);
      push(attacker, VIRTIO_MSG_TYPE_BUS, VMSG_XEN_SHARE_REGION, 0, payload);
      push(attacker, VIRTIO_MSG_TYPE_BUS, VMSG_XEN_UNSHARE_REGION, 0, std::span(payload).first(4));
      push(attacker, VIRTIO_MSG_TYPE_BUS, VMSG_XEN_UNSHARE_REGION, 0, std::span(payload).first(4));
    }
  }
}

const std::vector<Adversary>& all() {
  const auto served = [](std::string_view name, std::string_view about,
                         std::function<void(Attacker&)> attack) {
    return Adversary{name, about, Stage::kConnected, {Fate::kServed}, std::move(attack)};
  };
  static const std::vector<Adversary> adversaries{
      // rules: HOSTILE-2
      served("every-identifier", "every type and identifier with noise in it", every_identifier),
      served("short-payloads", "every message with too few bytes", every_short_payload),
      served("absent-devices", "messages for devices that are not there", absent_devices),
      served("random-frames", "random frames of random sizes", random_frames),
      served("requests-in-any-order", "every request in every status", any_order),
      served("every-status", "every value of the device status", every_status),
      served("config-out-of-range", "configuration from and to beyond its end",
             config_out_of_range),
      served("features-out-of-range", "feature blocks beyond the last", features_out_of_range),
      served("device-windows", "GET_DEVICES at and over the end", devices_windows),
      served("queue-indices-absurd", "queues, memory and channels that are not there",
             absurd_indices),
      served("requests-without-end", "PING as fast as it is answered", flood),
      // rules: HOSTILE-4
      served("nonsense-without-end", "malformed messages without pause", flood_malformed),
      served("resets-without-end", "up to FEATURES_OK and back", flood_resets),
      served("kicks-without-end", "EVENT_AVAIL of an empty queue without pause", flood_kicks),
      served("ejected-unasked", "EJECTED for what nobody asked to let go", unasked_eject),
      served("region-games", "shared regions that cannot be", region_games),
  };
  return adversaries;
}

}  // namespace

std::span<const Adversary> message_adversaries() { return all(); }

}  // namespace vmsg::hostile
