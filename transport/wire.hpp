// The layouts of virtio-msg (transport revision 1) and of its Xen bus, byte for byte, with the
// field names of the specification. Nothing here checks or decides anything: message.hpp turns
// checked copies of these into typed values and back.
//
// Variable parts (feature words, configuration bytes, the device bitmap) follow their struct.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "transport/endian.hpp"
#include "transport/virtio_msg_xen.h"

namespace vmsg::wire {

struct Header {
  std::uint8_t type = 0;
  std::uint8_t msg_id = 0;
  Le16 dev_num;
  Le16 token;
  Le16 msg_size;
};

// ---- transport messages ------------------------------------------------------------------------

struct GetDeviceInfoResponse {
  Le32 device_id;
  Le32 vendor_id;
  std::array<std::uint8_t, 16> device_uuid{};
  Le32 num_feature_blocks;
  Le32 config_size;
  Le32 max_virtqueues;
  Le32 admin_vq_start;
  Le32 admin_vq_count;
};

/// GET_DEVICE_FEATURES request; its response and the SET_DRIVER_FEATURES request, then the words.
struct FeatureBlocks {
  Le32 block_index;
  Le32 num_blocks;
};

struct GetConfigRequest {
  Le32 offset;
  Le32 length;
};

/// GET_CONFIG response; SET_CONFIG request and response. Then the data.
struct ConfigRange {
  Le32 generation;
  Le32 offset;
  Le32 length;
};

struct DeviceStatus {
  Le32 status;
};

/// GET_VQUEUE and RESET_VQUEUE requests.
struct VqueueIndex {
  Le32 index;
};

struct GetVqueueResponse {
  Le32 index;
  Le32 max_size;
  Le32 cur_size;
  Le32 flags;
  Le64 descriptor_addr;
  Le64 driver_addr;
  Le64 device_addr;
};

struct SetVqueueRequest {
  Le32 index;
  Le32 flags;
  Le32 size;
  Le32 reserved;
  Le64 descriptor_addr;
  Le64 driver_addr;
  Le64 device_addr;
};

struct GetShmRequest {
  Le32 shmid;
};

struct GetShmResponse {
  Le32 shmid;
  Le32 reserved;
  Le64 length;
  Le64 address;
};

struct EventConfig {
  Le32 device_status;
  Le32 generation;
  Le32 offset;
  Le32 length;
};

struct EventAvail {
  Le32 vq_index;
  Le32 next_offset;
};

struct EventUsed {
  Le32 vq_index;
};

// ---- standard bus messages ---------------------------------------------------------------------

struct GetDevicesRequest {
  Le16 offset;
  Le16 count;
};

/// Then ceil(count / 8) bytes of bitmap. The order of the fields is that of revision 1 as Linux has
/// it; earlier drafts had `count` before `next_offset`.
struct GetDevicesResponse {
  Le16 offset;
  Le16 next_offset;
  Le16 count;
};

struct Ping {
  Le32 data;
};

struct EventDevice {
  Le16 dev_num;
  Le16 state;
};

// ---- bus messages of the Xen binding -----------------------------------------------------------

struct QueueEventChannelRequest {
  Le16 dev_num;
  Le16 reserved;
  Le32 vq_index;
  Le32 port;
};

struct QueueEventChannelResponse {
  Le16 dev_num;
  Le16 status;
  Le32 vq_index;
};

struct ShareRegionRequest {
  Le32 region;
  Le32 pages;
  Le64 address;
};

struct UnshareRegionRequest {
  Le32 region;
};

/// SHARE_REGION and UNSHARE_REGION responses.
struct RegionResponse {
  Le32 region;
  Le32 status;
};

struct EjectedRequest {
  Le16 dev_num;
  Le16 status;
};

struct EjectedResponse {
  Le16 dev_num;
  Le16 reserved;
};

struct Eject {
  Le16 dev_num;
  Le16 seconds;
};

static_assert(sizeof(Header) == VIRTIO_MSG_HDR_SIZE);
static_assert(offsetof(Header, type) == VIRTIO_MSG_HDR_TYPE);
static_assert(offsetof(Header, msg_id) == VIRTIO_MSG_HDR_ID);
static_assert(offsetof(Header, dev_num) == VIRTIO_MSG_HDR_DEV_NUM);
static_assert(offsetof(Header, token) == VIRTIO_MSG_HDR_TOKEN);
static_assert(offsetof(Header, msg_size) == VIRTIO_MSG_HDR_MSG_SIZE);
static_assert(sizeof(GetDeviceInfoResponse) == 44);
static_assert(sizeof(Header) + sizeof(GetDeviceInfoResponse) == VIRTIO_MSG_MIN_MAX_SIZE);
static_assert(offsetof(GetDeviceInfoResponse, device_uuid) == 8);
static_assert(offsetof(GetDeviceInfoResponse, num_feature_blocks) == 24);
static_assert(offsetof(GetDeviceInfoResponse, admin_vq_count) == 40);
static_assert(sizeof(FeatureBlocks) == 8);
static_assert(sizeof(GetConfigRequest) == 8);
static_assert(sizeof(ConfigRange) == 12);
static_assert(sizeof(DeviceStatus) == 4);
static_assert(sizeof(VqueueIndex) == 4);
static_assert(sizeof(GetVqueueResponse) == 40);
static_assert(offsetof(GetVqueueResponse, flags) == 12);
static_assert(offsetof(GetVqueueResponse, descriptor_addr) == 16);
static_assert(sizeof(SetVqueueRequest) == 40);
static_assert(offsetof(SetVqueueRequest, flags) == 4);
static_assert(offsetof(SetVqueueRequest, size) == 8);
static_assert(offsetof(SetVqueueRequest, descriptor_addr) == 16);
static_assert(sizeof(GetShmRequest) == 4);
static_assert(sizeof(GetShmResponse) == 24);
static_assert(offsetof(GetShmResponse, length) == 8);
static_assert(sizeof(EventConfig) == 16);
static_assert(sizeof(EventAvail) == 8);
static_assert(sizeof(EventUsed) == 4);
static_assert(sizeof(GetDevicesRequest) == 4);
static_assert(sizeof(GetDevicesResponse) == 6);
static_assert(offsetof(GetDevicesResponse, next_offset) == 2);
static_assert(sizeof(Ping) == 4);
static_assert(sizeof(EventDevice) == 4);
static_assert(sizeof(QueueEventChannelRequest) == 12);
static_assert(sizeof(QueueEventChannelResponse) == 8);
static_assert(sizeof(ShareRegionRequest) == 16);
static_assert(sizeof(UnshareRegionRequest) == 4);
static_assert(sizeof(RegionResponse) == 8);
static_assert(sizeof(EjectedRequest) == 4);
static_assert(sizeof(EjectedResponse) == 4);
static_assert(sizeof(Eject) == 4);

}  // namespace vmsg::wire
