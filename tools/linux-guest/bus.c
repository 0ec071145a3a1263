// SPDX-License-Identifier: GPL-2.0
/* One connection to the backend: the ring, its event channel, and what ends it. */
#include <linux/interrupt.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <xen/events.h>

#include "vmsg.h"

/* The frame of EVENT_AVAIL. */
#define VMSG_KICK_SIZE (VIRTIO_MSG_HDR_SIZE + 8)

static irqreturn_t ring_interrupt(int irq, void *data)
{
	struct vmsg_bus *bus = data;
	bool is_more;
	bool is_any = vmsg_bus_take(bus, &is_more);

	/* A backend that never stops is served by a thread, and no faster than that can. */
	if (is_more)
		queue_work(bus->wq, &bus->take_work);
	else
		xen_irq_lateeoi(irq, is_any ? 0 : XEN_EOI_FLAG_SPURIOUS);
	return IRQ_HANDLED;
}

static void take_more(struct work_struct *work)
{
	struct vmsg_bus *bus = container_of(work, struct vmsg_bus, take_work);
	bool is_more;

	vmsg_bus_take(bus, &is_more);
	if (is_more)
		queue_work(bus->wq, &bus->take_work);
	else
		xen_irq_lateeoi(bus->irq, 0);
}

struct vmsg_bus *vmsg_bus_create(struct xenbus_device *xdev)
{
	struct vmsg_bus *bus = kzalloc(sizeof(*bus), GFP_KERNEL);

	if (!bus)
		return NULL;
	bus->xdev = xdev;
	kref_init(&bus->kref);
	spin_lock_init(&bus->in_lock);
	spin_lock_init(&bus->out_lock);
	spin_lock_init(&bus->requests_lock);
	spin_lock_init(&bus->devices_lock);
	mutex_init(&bus->call_mutex);
	init_waitqueue_head(&bus->room);
	INIT_LIST_HEAD(&bus->kicks);
	INIT_LIST_HEAD(&bus->requests);
	vmsg_polled_init(bus);
	INIT_WORK(&bus->take_work, take_more);
	INIT_WORK(&bus->scan_work, vmsg_scan);
	xa_init(&bus->devices);
	bus->present = kvcalloc(BITS_TO_LONGS(U16_MAX + 1), sizeof(long), GFP_KERNEL);
	bus->wq = alloc_workqueue("%s", WQ_UNBOUND | WQ_MEM_RECLAIM, 0, dev_name(&xdev->dev));
	if (!bus->present || !bus->wq) {
		vmsg_bus_put(bus);
		return NULL;
	}
	return bus;
}

static void bus_release(struct kref *kref)
{
	struct vmsg_bus *bus = container_of(kref, struct vmsg_bus, kref);

	vmsg_polled_exit(bus);
	if (bus->wq)
		destroy_workqueue(bus->wq);
	kvfree(bus->present);
	xa_destroy(&bus->devices);
	kfree(bus);
}

void vmsg_bus_put(struct vmsg_bus *bus)
{
	kref_put(&bus->kref, bus_release);
}

int vmsg_bus_open(struct vmsg_bus *bus, unsigned int order, u32 max_message, evtchn_port_t *port)
{
	int err;

	err = vmsg_ring_create(&bus->ring, bus->xdev, order);
	if (err)
		return err;
	bus->ring.max_message = max_message;
	err = -ENOMEM;
	bus->in_frame = kmalloc(max_message, GFP_KERNEL);
	bus->request = kmalloc(max_message, GFP_KERNEL);
	bus->response = kmalloc(max_message, GFP_KERNEL);
	if (!bus->in_frame || !bus->request || !bus->response)
		goto fail;
	if (vmsg_bounce != VMSG_BOUNCE_NONE) {
		err = vmsg_pool_create(&bus->pool, bus->xdev->otherend_id,
				       max(vmsg_pool_pages, 1U));
		if (err)
			goto fail;
	}
	err = xenbus_alloc_evtchn(bus->xdev, port);
	if (err)
		goto fail;
	err = bind_evtchn_to_irqhandler_lateeoi(*port, ring_interrupt, 0, dev_name(&bus->xdev->dev),
						bus);
	if (err < 0) {
		xenbus_free_evtchn(bus->xdev, *port);
		goto fail;
	}
	bus->irq = err;
	bus->port = *port;
	atomic_set(&bus->failed, 0);
	bus->is_pool_shared = false;
	return 0;

fail:
	vmsg_bus_close(bus);
	return err;
}

static void set_up(struct vmsg_bus *bus, bool is_up)
{
	unsigned long flags;

	spin_lock_irqsave(&bus->in_lock, flags);
	spin_lock(&bus->out_lock);
	spin_lock(&bus->requests_lock);
	bus->is_up = is_up;
	spin_unlock(&bus->requests_lock);
	spin_unlock(&bus->out_lock);
	spin_unlock_irqrestore(&bus->in_lock, flags);
}

void vmsg_bus_start(struct vmsg_bus *bus)
{
	bool is_more;

	set_up(bus, true);
	/* Arms the ring; an interrupt that came before found it down. */
	vmsg_bus_take(bus, &is_more);
	if (is_more)
		vmsg_bus_fail(bus, "sent more than a ring of frames unasked");
}

void vmsg_bus_stop(struct vmsg_bus *bus)
{
	set_up(bus, false);
	vmsg_bus_fail_requests(bus);
	wake_up_all(&bus->room);
}

void vmsg_bus_close(struct vmsg_bus *bus)
{
	if (bus->irq) {
		disable_irq(bus->irq);
		cancel_work_sync(&bus->take_work);
		unbind_from_irqhandler(bus->irq, bus);
		bus->irq = 0;
	}
	vmsg_pool_destroy(&bus->pool);
	vmsg_ring_destroy(&bus->ring);
	kfree(bus->in_frame);
	kfree(bus->request);
	kfree(bus->response);
	bus->in_frame = NULL;
	bus->request = NULL;
	bus->response = NULL;
}

void vmsg_bus_fail(struct vmsg_bus *bus, const char *why)
{
	if (atomic_xchg(&bus->failed, 1))
		return;
	dev_err(&bus->xdev->dev, "the backend %s: closing the bus\n", why);
	queue_work(bus->wq, &bus->state_work);
}

/* Sends what waits for room, out_lock held: 0, -ENOSPC or -EPROTO. */
static int push_kicks(struct vmsg_bus *bus)
{
	struct vmsg_queue *queue, *next;
	u8 frame[VMSG_KICK_SIZE];

	list_for_each_entry_safe(queue, next, &bus->kicks, kick) {
		int err;

		vmsg_put_header(frame, 0, VIRTIO_MSG_EVENT_AVAIL, queue->device->number, 8);
		vmsg_put32(frame, 0, queue->vq->index);
		vmsg_put32(frame, 4, 0);
		err = vmsg_ring_push(&bus->ring, frame, VMSG_KICK_SIZE);
		if (err)
			return err;
		list_del_init(&queue->kick);
	}
	return 0;
}

/* Hands over what was pushed, and drops out_lock. */
static int publish(struct vmsg_bus *bus, int err, unsigned long flags)
	__releases(&bus->out_lock)
{
	bool is_wanted = bus->is_up && vmsg_ring_publish(&bus->ring);

	if (is_wanted)
		notify_remote_via_irq(bus->irq);
	spin_unlock_irqrestore(&bus->out_lock, flags);
	if (err == -EPROTO) {
		vmsg_bus_fail(bus, "broke the index of the out direction");
		return -ENODEV;
	}
	return err;
}

int vmsg_bus_send(struct vmsg_bus *bus, const void *frame)
{
	unsigned long flags;
	int err = -ENODEV;

	spin_lock_irqsave(&bus->out_lock, flags);
	if (bus->is_up) {
		err = push_kicks(bus);
		if (!err)
			err = vmsg_ring_push(&bus->ring, frame, vmsg_frame_size(frame));
	}
	return publish(bus, err, flags);
}

void vmsg_bus_kick(struct vmsg_queue *queue)
{
	struct vmsg_bus *bus = queue->device->bus;
	unsigned long flags;
	int err = 0;

	spin_lock_irqsave(&bus->out_lock, flags);
	if (bus->is_up) {
		if (list_empty(&queue->kick))
			list_add_tail(&queue->kick, &bus->kicks);
		err = push_kicks(bus);
	}
	publish(bus, err, flags);
}

void vmsg_bus_forget_kick(struct vmsg_queue *queue)
{
	struct vmsg_bus *bus = queue->device->bus;
	unsigned long flags;

	spin_lock_irqsave(&bus->out_lock, flags);
	list_del_init(&queue->kick);
	spin_unlock_irqrestore(&bus->out_lock, flags);
}

bool vmsg_bus_flush(struct vmsg_bus *bus)
{
	unsigned long flags;
	bool has_waited;
	int err = 0;

	spin_lock_irqsave(&bus->out_lock, flags);
	has_waited = bus->is_up && !list_empty(&bus->kicks);
	if (has_waited)
		err = push_kicks(bus);
	publish(bus, err, flags);
	/* Whoever waits has tried under out_lock, so after the lock it is seen to wait. */
	if (waitqueue_active(&bus->room)) {
		has_waited = true;
		wake_up(&bus->room);
	}
	return has_waited;
}
