// SPDX-License-Identifier: GPL-2.0
/* The queues of a device: set up by messages, notified by event channels or by the ring. */
#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <xen/events.h>

#include "vmsg.h"

/* ---- notifications ----------------------------------------------------------------------- */

static bool notify(struct virtqueue *vq)
{
	struct vmsg_queue *queue = vq->priv;

	if (queue->is_polled && !vmsg_polled_kick(queue))
		return false;
	if (queue->irq)
		notify_remote_via_irq(queue->irq);
	else
		vmsg_bus_kick(queue);
	return true;
}

static irqreturn_t queue_interrupt(int irq, void *data)
{
	struct vmsg_queue *queue = data;
	unsigned long progress;
	bool is_used = vring_interrupt(irq, queue->vq) == IRQ_HANDLED;

	/* Often the driver has seen the buffers by itself before: no reason to slow down. */
	progress = atomic_long_read(&queue->device->progress);
	is_used |= progress != queue->progress;
	queue->progress = progress;
	xen_irq_lateeoi(irq, is_used ? 0 : XEN_EOI_FLAG_SPURIOUS);
	return IRQ_HANDLED;
}

void vmsg_queue_used(struct vmsg_device *device, u32 index)
{
	struct vmsg_queue *queue;

	spin_lock(&device->queues_lock);
	queue = index < device->queue_count ? device->queues[index] : NULL;
	if (queue)
		vring_interrupt(0, queue->vq);
	spin_unlock(&device->queues_lock);
}

/* Binds an event channel of the queue's own; without one the ring carries its notifications. */
static void bind_channel(struct vmsg_queue *queue, unsigned int index)
{
	struct vmsg_device *device = queue->device;
	struct vmsg_bus *bus = device->bus;
	evtchn_port_t port;
	int irq, err;

	if (!bus->has_queue_channels || xenbus_alloc_evtchn(bus->xdev, &port))
		return;
	snprintf(queue->irq_name, sizeof(queue->irq_name), "%s-%s", dev_name(&device->vdev.dev),
		 queue->vq->name);
	irq = bind_evtchn_to_irqhandler_lateeoi(port, queue_interrupt, 0, queue->irq_name, queue);
	if (irq < 0) {
		xenbus_free_evtchn(bus->xdev, port);
		return;
	}
	mutex_lock(&device->call_mutex);
	vmsg_put_header(device->request, VIRTIO_MSG_TYPE_BUS, VMSG_XEN_QUEUE_EVENT_CHANNEL, 0, 12);
	vmsg_put16(device->request, 0, device->number);
	vmsg_put16(device->request, 2, 0);
	vmsg_put32(device->request, 4, index);
	vmsg_put32(device->request, 8, port);
	err = vmsg_bus_call(bus, device->request, device->response, 8);
	if (!err && (vmsg_get16(device->response, 0) != device->number ||
		     vmsg_get32(device->response, 4) != index))
		err = -EPROTO;
	if (!err && vmsg_get16(device->response, 2) != VMSG_XEN_QEC_OK)
		err = -EBUSY;
	mutex_unlock(&device->call_mutex);
	/* Without an answer nobody knows which way notifications go. */
	if (err == -EPROTO || err == -ETIMEDOUT)
		vmsg_device_break(device, "queue %u: no answer about its event channel", index);
	if (err)
		unbind_from_irqhandler(irq, queue);
	else
		queue->irq = irq;
}

void vmsg_synchronize_cbs(struct virtio_device *vdev)
{
	struct vmsg_device *device = to_vmsg_device(vdev);
	struct virtqueue *vq;
	unsigned long flags;

	virtio_device_for_each_vq(vdev, vq) {
		struct vmsg_queue *queue = vq->priv;

		if (queue && queue->irq)
			synchronize_irq(queue->irq);
	}
	/* The ring's interrupt and its thread use queues with this held. */
	spin_lock_irqsave(&device->queues_lock, flags);
	spin_unlock_irqrestore(&device->queues_lock, flags);
}

int vmsg_set_vq_affinity(struct virtqueue *vq, const struct cpumask *mask)
{
	struct vmsg_queue *queue = vq->priv;

	return queue->irq ? irq_set_affinity_and_hint(queue->irq, mask) : -EINVAL;
}

/* ---- setting up -------------------------------------------------------------------------- */

struct queue_record {
	u32 max_size;
	u32 size;
	u32 flags;
	u64 desc;
	u64 driver;
	u64 device;
};

static int get_queue(struct vmsg_device *device, u32 index, struct queue_record *record)
{
	const void *response = device->response;
	int err;

	mutex_lock(&device->call_mutex);
	vmsg_put32(device->request, 0, index);
	err = vmsg_device_call(device, VIRTIO_MSG_GET_VQUEUE, 4, 40);
	if (!err) {
		record->max_size = vmsg_get32(response, 4);
		record->size = vmsg_get32(response, 8);
		record->flags = vmsg_get32(response, 12);
		record->desc = vmsg_get64(response, 16);
		record->driver = vmsg_get64(response, 24);
		record->device = vmsg_get64(response, 32);
		if (vmsg_get32(response, 0) != index ||
		    record->flags & ~(u32)VIRTIO_MSG_VQUEUE_ENABLED ||
		    record->size > record->max_size ||
		    (!record->size && (record->flags || record->desc || record->driver ||
				       record->device))) {
			vmsg_device_break(device, "queue %u: contradicts itself", index);
			err = -EPROTO;
		}
	}
	mutex_unlock(&device->call_mutex);
	return err;
}

static int set_queue(struct vmsg_device *device, struct virtqueue *vq, u32 max_size)
{
	u64 desc = virtqueue_get_desc_addr(vq);
	u64 driver = virtqueue_get_avail_addr(vq);
	u64 used = virtqueue_get_used_addr(vq);
	u32 size = virtqueue_get_vring_size(vq);
	struct queue_record record;
	int err;

	mutex_lock(&device->call_mutex);
	vmsg_put32(device->request, 0, vq->index);
	vmsg_put32(device->request, 4, VIRTIO_MSG_VQUEUE_ENABLE);
	vmsg_put32(device->request, 8, size);
	vmsg_put32(device->request, 12, 0);
	vmsg_put64(device->request, 16, desc);
	vmsg_put64(device->request, 24, driver);
	vmsg_put64(device->request, 32, used);
	err = vmsg_device_call(device, VIRTIO_MSG_SET_VQUEUE, 40, 0);
	mutex_unlock(&device->call_mutex);
	if (err)
		return err;
	/* Whether it was accepted is seen by looking. */
	err = get_queue(device, vq->index, &record);
	if (err)
		return err;
	if (record.max_size != max_size || record.size != size ||
	    record.flags != VIRTIO_MSG_VQUEUE_ENABLED || record.desc != desc ||
	    record.driver != driver || record.device != used) {
		vmsg_device_break(device, "queue %u of %u entries was not accepted",
				  vq->index, size);
		return -EIO;
	}
	return 0;
}

static struct virtqueue *create_queue(struct vmsg_device *device, unsigned int index,
				      void (*callback)(struct virtqueue *vq), const char *name,
				      bool ctx)
{
	struct queue_record record;
	struct vmsg_queue *queue;
	struct virtqueue *vq;
	unsigned long flags;
	u32 size;
	int err;

	if (index >= device->queue_count)
		return ERR_PTR(-ENOENT);
	err = get_queue(device, index, &record);
	if (err)
		return ERR_PTR(err);
	if (!record.max_size)
		return ERR_PTR(-ENOENT);
	if (record.size || !is_power_of_2(record.max_size) ||
	    record.max_size > VIRTIO_MSG_MAX_QUEUE_SIZE) {
		vmsg_device_break(device, "queue %u: size %u of %u where an idle one belongs",
				  index, record.size, record.max_size);
		return ERR_PTR(-EPROTO);
	}
	queue = kzalloc(sizeof(*queue), GFP_KERNEL);
	if (!queue)
		return ERR_PTR(-ENOMEM);
	queue->device = device;
	INIT_LIST_HEAD(&queue->kick);
	INIT_LIST_HEAD(&queue->polled);
	size = min(record.max_size, rounddown_pow_of_two(max(vmsg_max_queue_size, 2U)));
	vq = vring_create_virtqueue(index, size, PAGE_SIZE, &device->vdev, true, true, ctx, notify,
				    callback, name);
	if (!vq) {
		kfree(queue);
		return ERR_PTR(-ENOMEM);
	}
	vq->num_max = record.max_size;
	vq->priv = queue;
	queue->vq = vq;
	vmsg_polled_add(queue, callback);
	spin_lock_irqsave(&device->queues_lock, flags);
	device->queues[index] = queue;
	spin_unlock_irqrestore(&device->queues_lock, flags);

	err = set_queue(device, vq, record.max_size);
	if (err)
		return ERR_PTR(err); /* vmsg_del_vqs() sees to it */
	bind_channel(queue, index);
	return vq;
}

static void delete_queue(struct vmsg_device *device, struct virtqueue *vq)
{
	struct vmsg_queue *queue = vq->priv;
	unsigned long flags;

	spin_lock_irqsave(&device->queues_lock, flags);
	device->queues[vq->index] = NULL;
	spin_unlock_irqrestore(&device->queues_lock, flags);
	if (queue->irq) {
		irq_set_affinity_hint(queue->irq, NULL);
		unbind_from_irqhandler(queue->irq, queue);
	}
	vmsg_bus_forget_kick(queue);
	vmsg_polled_remove(queue);
	/* Not every driver takes back what it has left in there: the grants end now. */
	while (virtqueue_detach_unused_buf(vq))
		;
	vring_del_virtqueue(vq);
	kfree(queue);
}

/* The device has been reset before. */
void vmsg_del_vqs(struct virtio_device *vdev)
{
	struct vmsg_device *device = to_vmsg_device(vdev);
	struct vmsg_queue **queues = device->queues;
	struct virtqueue *vq, *next;
	unsigned long flags;

	mutex_lock(&device->queues_mutex);
	list_for_each_entry_safe(vq, next, &vdev->vqs, list)
		delete_queue(device, vq);
	spin_lock_irqsave(&device->queues_lock, flags);
	device->queues = NULL;
	device->queue_count = 0;
	spin_unlock_irqrestore(&device->queues_lock, flags);
	mutex_unlock(&device->queues_mutex);
	kvfree(queues);
}

VMSG_FIND_VQS(vmsg_find_vqs)
{
	struct vmsg_device *device = to_vmsg_device(vdev);
	unsigned int i, index = 0;
	int err = 0;

	mutex_lock(&device->queues_mutex);
	device->queues = kvcalloc(max(device->max_queues, 1U), sizeof(*device->queues), GFP_KERNEL);
	device->queue_count = device->queues ? device->max_queues : 0;
	if (!device->queues)
		err = -ENOMEM;
	for (i = 0; i < count && !err; i++) {
		if (!VMSG_VQ_NAME(i)) {
			vqs[i] = NULL;
			continue;
		}
		vqs[i] = create_queue(device, index++, VMSG_VQ_CALLBACK(i), VMSG_VQ_NAME(i),
				      VMSG_VQ_CTX(i));
		err = PTR_ERR_OR_ZERO(vqs[i]);
	}
	mutex_unlock(&device->queues_mutex);
	if (!err)
		return 0;
	/* Queues that the device knows already are its own until it is reset. */
	virtio_reset_device(vdev);
	vmsg_del_vqs(vdev);
	return err;
}
