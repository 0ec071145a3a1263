/* SPDX-License-Identifier: GPL-2.0 */
/* What differs between the kernels that this module is built for: 6.1 and later. */
#ifndef VMSG_COMPAT_H
#define VMSG_COMPAT_H

#include <linux/dma-mapping.h>
#include <linux/hrtimer.h>
#include <linux/version.h>
#include <linux/virtio_config.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

/* DMA operations take physical addresses, which may be those of a device. */
#define VMSG_HAS_MAP_PHYS (LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0))
#ifdef DMA_ATTR_MMIO
#define VMSG_ATTR_MMIO DMA_ATTR_MMIO
#else
#define VMSG_ATTR_MMIO 0
#endif

/* The data of a match function for device_find_child(). */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
#define VMSG_MATCH_DATA const void
#else
#define VMSG_MATCH_DATA void
#endif

/* A timer of high resolution, whose function is called in a hard interrupt. */
static inline void vmsg_hrtimer_setup(struct hrtimer *timer,
				      enum hrtimer_restart (*function)(struct hrtimer *))
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(timer, function, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
#else
	hrtimer_init(timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	timer->function = function;
#endif
}

/* VIRTIO_F_NOTIFICATION_DATA, which has a name since 6.4. */
#define VMSG_F_NOTIFICATION_DATA 38

/* How a driver says which queues it wants. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
#define VMSG_FIND_VQS(name)                                                             \
	int name(struct virtio_device *vdev, unsigned int count, struct virtqueue *vqs[], \
		 struct virtqueue_info infos[], struct irq_affinity *affinity)
#define VMSG_VQ_NAME(i) (infos[i].name)
#define VMSG_VQ_CALLBACK(i) (infos[i].callback)
#define VMSG_VQ_CTX(i) (infos[i].ctx)
#else
#define VMSG_FIND_VQS(name)                                                             \
	int name(struct virtio_device *vdev, unsigned int count, struct virtqueue *vqs[], \
		 vq_callback_t *callbacks[], const char *const names[], const bool *ctx, \
		 struct irq_affinity *affinity)
#define VMSG_VQ_NAME(i) (names[i])
#define VMSG_VQ_CALLBACK(i) (callbacks[i])
#define VMSG_VQ_CTX(i) (ctx && ctx[i])
#endif

#endif
