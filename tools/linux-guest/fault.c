// SPDX-License-Identifier: GPL-2.0
/*
 * Giving up on a device: one that is gone, that does not answer, or that does what cannot be. No
 * buffer is given to it any more, and what waits for its buffers is let go.
 */
#include <linux/blk-mq.h>
#include <linux/rcupdate.h>
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

/* ---- block devices ------------------------------------------------------------------------- */

/*
 * A block device is not removed before its requests have ended, and those of a device that is gone
 * never would: the driver waits for ever. So they are taken back from the queues and ended in the
 * driver's own way, as if the device had used them with an error. What a buffer of virtio_blk
 * stands for is the private part of a blk-mq request, in every kernel; the status byte is written
 * by the DMA operations when the buffer is unmapped.
 */
static int is_disk(struct device *dev, VMSG_MATCH_DATA *unused)
{
	return dev->type && dev->type->name && !strcmp(dev->type->name, "disk");
}

static struct device *find_disk(struct vmsg_device *device)
{
	struct device_driver *driver = READ_ONCE(device->vdev.dev.driver);

	if (device->vdev.id.device != VIRTIO_ID_BLOCK || !driver ||
	    strcmp(driver->name, "virtio_blk"))
		return NULL;
	return device_find_child(&device->vdev.dev, NULL, is_disk);
}

static void end_block_requests(struct vmsg_device *device)
{
	struct virtio_device *vdev = &device->vdev; /* the macro below wants a plain name */
	struct device *disk = find_disk(device);
	struct request_queue *requests;
	struct virtqueue *vq;
	void *buffer;

	if (!disk)
		return;
	requests = dev_to_disk(disk)->queue;
	/* Nobody else uses the queues now: none is being added, no interrupt takes one out. */
	blk_mq_quiesce_queue(requests);
	vmsg_synchronize_cbs(vdev);
	set_bit(VMSG_RESCUING, &device->flags);
	virtio_device_for_each_vq(vdev, vq) {
		while ((buffer = virtqueue_detach_unused_buf(vq)))
			blk_mq_complete_request(blk_mq_rq_from_pdu(buffer));
	}
	clear_bit(VMSG_RESCUING, &device->flags);
	blk_mq_unquiesce_queue(requests);
	put_device(disk);
}

/* ---- consoles ------------------------------------------------------------------------------ */

/*
 * virtio_console waits for what it writes, and when its queue breaks meanwhile it frees the buffer
 * and leaves it in the queue. Its removal, which begins with that, then frees what it finds in its
 * queues once more. So they are emptied between the two, at the reset. What a program has written
 * to a port without waiting is lost memory then, a buffer or two.
 */
void vmsg_empty_console(struct vmsg_device *device)
{
	struct virtio_device *vdev = &device->vdev; /* the macro below wants a plain name */
	struct virtqueue *vq;

	if (vdev->id.device != VIRTIO_ID_CONSOLE)
		return;
	virtio_device_for_each_vq(vdev, vq) {
		if (!vmsg_is_console_output(vq) || !virtqueue_is_broken(vq))
			continue;
		/* Whoever has the queue in hand has a spinlock, and lets go of both now. */
		synchronize_rcu();
		while (virtqueue_detach_unused_buf(vq))
			;
	}
}

/* A disk that is open, mounted for instance, is; others can be set up anew. */
bool vmsg_device_is_in_use(struct vmsg_device *device)
{
	struct device *disk = find_disk(device);
	bool is_in_use = false;

	if (disk) {
		is_in_use = disk_openers(dev_to_disk(disk)) > 0;
		put_device(disk);
	}
	return is_in_use;
}

void vmsg_fault(struct work_struct *work)
{
	struct vmsg_device *device = container_of(work, struct vmsg_device, fault_work);

	if (test_bit(VMSG_LATE, &device->flags))
		vmsg_device_break(device, "a command got no answer in time");
	set_bit(VMSG_BROKEN, &device->flags);
	mutex_lock(&device->queues_mutex);
	if (device->queues) {
		virtio_break_device(&device->vdev);
		end_block_requests(device);
	}
	mutex_unlock(&device->queues_mutex);
}
