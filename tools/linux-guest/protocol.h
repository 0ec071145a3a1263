/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The protocol: its numbers, which the backend shares (virtio_msg_xen.h), and access to the fields
 * of a frame in private memory.
 */
#ifndef VMSG_PROTOCOL_H
#define VMSG_PROTOCOL_H

#include <linux/types.h>

#include "compat.h"
#include "virtio_msg_xen.h"

/* Where the payload's field at @offset is. */
static inline void *vmsg_field(void *frame, unsigned int offset)
{
	return frame + VIRTIO_MSG_HDR_SIZE + offset;
}

static inline u16 vmsg_get16(const void *frame, unsigned int offset)
{
	return get_unaligned_le16(frame + VIRTIO_MSG_HDR_SIZE + offset);
}

static inline u32 vmsg_get32(const void *frame, unsigned int offset)
{
	return get_unaligned_le32(frame + VIRTIO_MSG_HDR_SIZE + offset);
}

static inline u64 vmsg_get64(const void *frame, unsigned int offset)
{
	return get_unaligned_le64(frame + VIRTIO_MSG_HDR_SIZE + offset);
}

static inline void vmsg_put16(void *frame, unsigned int offset, u16 value)
{
	put_unaligned_le16(value, vmsg_field(frame, offset));
}

static inline void vmsg_put32(void *frame, unsigned int offset, u32 value)
{
	put_unaligned_le32(value, vmsg_field(frame, offset));
}

static inline void vmsg_put64(void *frame, unsigned int offset, u64 value)
{
	put_unaligned_le64(value, vmsg_field(frame, offset));
}

static inline u8 vmsg_frame_type(const void *frame)
{
	return ((const u8 *)frame)[VIRTIO_MSG_HDR_TYPE] & VIRTIO_MSG_TYPE_MASK;
}

static inline u8 vmsg_frame_id(const void *frame)
{
	return ((const u8 *)frame)[VIRTIO_MSG_HDR_ID];
}

static inline u16 vmsg_frame_device(const void *frame)
{
	return get_unaligned_le16(frame + VIRTIO_MSG_HDR_DEV_NUM);
}

static inline u16 vmsg_frame_token(const void *frame)
{
	return get_unaligned_le16(frame + VIRTIO_MSG_HDR_TOKEN);
}

static inline u16 vmsg_frame_size(const void *frame)
{
	return get_unaligned_le16(frame + VIRTIO_MSG_HDR_MSG_SIZE);
}

/* Writes a header with token 0; @payload is the number of bytes that follow it. */
static inline void vmsg_put_header(void *frame, u8 type, u8 id, u16 device, u16 payload)
{
	u8 *bytes = frame;

	bytes[VIRTIO_MSG_HDR_TYPE] = type;
	bytes[VIRTIO_MSG_HDR_ID] = id;
	put_unaligned_le16(device, bytes + VIRTIO_MSG_HDR_DEV_NUM);
	put_unaligned_le16(0, bytes + VIRTIO_MSG_HDR_TOKEN);
	put_unaligned_le16(VIRTIO_MSG_HDR_SIZE + payload, bytes + VIRTIO_MSG_HDR_MSG_SIZE);
}

#endif
