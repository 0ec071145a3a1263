/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The numbers of virtio-msg (transport revision 1) and of its Xen bus (binding version 1), for
 * every program that speaks them: this project's device side and the Linux guest driver include
 * this same file. Constants only; docs/virtio-msg-xen.md explains them.
 */
#ifndef VIRTIO_MSG_XEN_H
#define VIRTIO_MSG_XEN_H

/* ---- frame header: all fields little-endian ------------------------------------------------ */
#define VIRTIO_MSG_HDR_TYPE 0     /* u8 */
#define VIRTIO_MSG_HDR_ID 1       /* u8 */
#define VIRTIO_MSG_HDR_DEV_NUM 2  /* le16 */
#define VIRTIO_MSG_HDR_TOKEN 4    /* le16 */
#define VIRTIO_MSG_HDR_MSG_SIZE 6 /* le16, header included */
#define VIRTIO_MSG_HDR_SIZE 8

#define VIRTIO_MSG_TYPE_RESPONSE 0x01
#define VIRTIO_MSG_TYPE_BUS 0x02
#define VIRTIO_MSG_TYPE_MASK 0x03 /* the other bits are reserved */
#define VIRTIO_MSG_ID_EVENT 0x40
#define VIRTIO_MSG_ID_IMPLEMENTATION 0x80

#define VIRTIO_MSG_REVISION_1 1
#define VIRTIO_MSG_MIN_MAX_SIZE 52
#define VIRTIO_MSG_MAX_MAX_SIZE 65535
#define VIRTIO_MSG_RECOMMENDED_MAX_SIZE 264

#define VIRTIO_MSG_F_STRICT_CONFIG_GENERATION 0 /* transport feature bit */

/* ---- transport messages -------------------------------------------------------------------- */
#define VIRTIO_MSG_GET_DEVICE_INFO 0x02
#define VIRTIO_MSG_GET_DEVICE_FEATURES 0x03
#define VIRTIO_MSG_SET_DRIVER_FEATURES 0x04
#define VIRTIO_MSG_GET_CONFIG 0x05
#define VIRTIO_MSG_SET_CONFIG 0x06
#define VIRTIO_MSG_GET_DEVICE_STATUS 0x07
#define VIRTIO_MSG_SET_DEVICE_STATUS 0x08
#define VIRTIO_MSG_GET_VQUEUE 0x09
#define VIRTIO_MSG_SET_VQUEUE 0x0a
#define VIRTIO_MSG_RESET_VQUEUE 0x0b
#define VIRTIO_MSG_GET_SHM 0x0c
#define VIRTIO_MSG_EVENT_CONFIG 0x40
#define VIRTIO_MSG_EVENT_AVAIL 0x41
#define VIRTIO_MSG_EVENT_USED 0x42

#define VIRTIO_MSG_VQUEUE_ENABLED 0x1 /* GET_VQUEUE flags */
#define VIRTIO_MSG_VQUEUE_ENABLE 0x1  /* SET_VQUEUE flags */
#define VIRTIO_MSG_MAX_VQUEUES 65536
#define VIRTIO_MSG_MAX_QUEUE_SIZE 32768

/* ---- standard bus messages (dev_num of the header is 0) ------------------------------------ */
#define VIRTIO_MSG_BUS_GET_DEVICES 0x02
#define VIRTIO_MSG_BUS_PING 0x03
#define VIRTIO_MSG_BUS_EVENT_DEVICE 0x40

#define VIRTIO_MSG_DEVICE_ADDED 1
#define VIRTIO_MSG_DEVICE_REMOVED 2

/* ---- bus messages of the Xen binding ------------------------------------------------------- */
#define VMSG_XEN_QUEUE_EVENT_CHANNEL 0x80
#define VMSG_XEN_SHARE_REGION 0x81
#define VMSG_XEN_UNSHARE_REGION 0x82
#define VMSG_XEN_EJECTED 0x83
#define VMSG_XEN_EJECT 0xc0

#define VMSG_XEN_QEC_OK 0
#define VMSG_XEN_QEC_NO_SUCH_QUEUE 1
#define VMSG_XEN_QEC_NOT_BOUND 2
#define VMSG_XEN_QEC_NOT_NOW 3

#define VMSG_XEN_REGION_OK 0
#define VMSG_XEN_REGION_BAD_RANGE 1
#define VMSG_XEN_REGION_NOT_MAPPED 2
#define VMSG_XEN_REGION_LIMIT 3
#define VMSG_XEN_REGION_UNKNOWN 4

#define VMSG_XEN_EJECTED_DONE 0
#define VMSG_XEN_EJECTED_BUSY 1

/* ---- the interface page and the ring ------------------------------------------------------- */
#define VMSG_XEN_PAGE_SIZE 4096
#define VMSG_XEN_BINDING_VERSION 1

/* le32 each; written by the driver side */
#define VMSG_XEN_IF_OUT_PROD 0x000
#define VMSG_XEN_IF_IN_CONS 0x004
#define VMSG_XEN_IF_IN_PROD_EVENT 0x008
#define VMSG_XEN_IF_OUT_CONS_EVENT 0x00c
/* le32 each; written by the device side */
#define VMSG_XEN_IF_IN_PROD 0x040
#define VMSG_XEN_IF_OUT_CONS 0x044
#define VMSG_XEN_IF_OUT_PROD_EVENT 0x048
#define VMSG_XEN_IF_IN_CONS_EVENT 0x04c
/* le32 each; written by the driver side before Initialised, then constant */
#define VMSG_XEN_IF_MAGIC 0x080
#define VMSG_XEN_IF_RING_PAGE_ORDER 0x084
#define VMSG_XEN_IF_RING_REFS 0x100

#define VMSG_XEN_MAGIC 0x58534d56U /* the bytes V M S X */
#define VMSG_XEN_MAX_RING_PAGE_ORDER 9
#define VMSG_XEN_MSG_ALIGN 8

/* ---- addresses ----------------------------------------------------------------------------- */
#define VMSG_XEN_ADDR_GRANT_BIT 63
#define VMSG_XEN_ADDR_REF_SHIFT 12

#endif /* VIRTIO_MSG_XEN_H */
