// SPDX-License-Identifier: GPL-2.0
/*
 * Giving up on a device: one that is gone, that does not answer, or that does what cannot be. No
 * buffer is given to it any more, and what waits for its buffers is let go.
 */
#include <linux/blk-mq.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>

#include "vmsg.h"

void vmsg_device_break(struct vmsg_device *device, const char *format, ...)
{
	struct va_format vaf;
	va_list args;

	if (test_and_set_bit(VMSG_BROKEN, &device->flags))
		return;
	va_start(args, format);
	vaf.fmt = format;
	vaf.va = &args;
	if (!test_bit(VMSG_GONE, &device->flags))
		dev_err(&device->dev, "%pV: the device is given up\n", &vaf);
	va_end(args);
	queue_work(device->bus->wq, &device->fault_work);
}

void vmsg_fault(struct work_struct *work)
{
	struct vmsg_device *device = container_of(work, struct vmsg_device, fault_work);

	set_bit(VMSG_BROKEN, &device->flags);
	mutex_lock(&device->queues_mutex);
	if (device->queues)
		virtio_break_device(&device->vdev);
	mutex_unlock(&device->queues_mutex);
}
