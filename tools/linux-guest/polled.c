// SPDX-License-Identifier: GPL-2.0
/*
 * Queues whose buffers their driver waits for without a pause: the commands of virtio_net and
 * virtio_console, and what virtio_console writes. Nothing else runs on that CPU meanwhile, so on a
 * machine with one CPU no thread would ever learn that the backend has gone, and it would wait for
 * ever. Such a queue takes nothing that nobody will answer, and a timer looks after those that
 * wait: in a hard interrupt, since virtio_net waits with the soft ones off.
 */
#include <linux/hrtimer.h>
#include <xen/interface/event_channel.h>
#include <asm/xen/hypercall.h>

#include "vmsg.h"

#define VMSG_LOOKS_PER_SECOND 10
#define VMSG_LOOK_AFTER ns_to_ktime(NSEC_PER_SEC / VMSG_LOOKS_PER_SECOND)

/* The backend's end of an event channel goes with the backend, however that ends. */
static bool is_peer_gone(struct vmsg_bus *bus)
{
	struct evtchn_status status = {
		.dom = DOMID_SELF,
		.port = bus->port,
	};

	return !HYPERVISOR_event_channel_op(EVTCHNOP_status, &status) &&
	       status.status == EVTCHNSTAT_unbound;
}

static bool is_unanswered(struct vmsg_device *device)
{
	return test_bit(VMSG_GONE, &device->flags) || test_bit(VMSG_BROKEN, &device->flags) ||
	       !READ_ONCE(device->bus->is_up) || is_peer_gone(device->bus);
}

/* Whether somebody waits for it still. */
static bool look_after(struct vmsg_queue *queue)
{
	struct virtqueue *vq = queue->vq;

	if (virtqueue_is_broken(vq) || READ_ONCE(vq->num_free) == virtqueue_get_vring_size(vq))
		return false;
	if (!is_unanswered(queue->device)) {
		/* Looks and not time: a machine that was stopped has not waited. */
		if (queue->looks++ < max(vmsg_request_timeout, 1U) * VMSG_LOOKS_PER_SECOND)
			return true;
		/* Not from here: a console that is told of it may be one of these queues. */
		set_bit(VMSG_LATE, &queue->device->flags);
		queue_work(queue->device->bus->wq, &queue->device->fault_work);
	}
	__virtqueue_break(vq);
	return false;
}

static enum hrtimer_restart look_after_all(struct hrtimer *timer)
{
	struct vmsg_bus *bus = container_of(timer, struct vmsg_bus, polled_timer);
	struct vmsg_queue *queue;
	bool is_any = false;
	unsigned long flags;

	spin_lock_irqsave(&bus->polled_lock, flags);
	list_for_each_entry(queue, &bus->polled, polled)
		is_any |= look_after(queue);
	bus->is_polling = is_any;
	spin_unlock_irqrestore(&bus->polled_lock, flags);
	if (!is_any)
		return HRTIMER_NORESTART;
	hrtimer_forward_now(timer, VMSG_LOOK_AFTER);
	return HRTIMER_RESTART;
}

void vmsg_polled_init(struct vmsg_bus *bus)
{
	spin_lock_init(&bus->polled_lock);
	INIT_LIST_HEAD(&bus->polled);
	vmsg_hrtimer_setup(&bus->polled_timer, look_after_all);
}

void vmsg_polled_exit(struct vmsg_bus *bus)
{
	hrtimer_cancel(&bus->polled_timer);
}

void vmsg_polled_add(struct vmsg_queue *queue, bool has_callback)
{
	struct vmsg_device *device = queue->device;
	struct vmsg_bus *bus = device->bus;
	unsigned long flags;

	queue->is_polled = vmsg_is_console_output(queue->vq) ||
			   (device->vdev.id.device == VIRTIO_ID_NET && !has_callback);
	/* One with a callback is not always waited for, and then with interrupts off. */
	if (!queue->is_polled || has_callback)
		return;
	spin_lock_irqsave(&bus->polled_lock, flags);
	list_add(&queue->polled, &bus->polled);
	spin_unlock_irqrestore(&bus->polled_lock, flags);
}

void vmsg_polled_remove(struct vmsg_queue *queue)
{
	struct vmsg_bus *bus = queue->device->bus;
	unsigned long flags;

	spin_lock_irqsave(&bus->polled_lock, flags);
	list_del_init(&queue->polled);
	spin_unlock_irqrestore(&bus->polled_lock, flags);
}

bool vmsg_polled_kick(struct vmsg_queue *queue)
{
	struct vmsg_bus *bus = queue->device->bus;
	unsigned long flags;

	if (is_unanswered(queue->device))
		return false;
	spin_lock_irqsave(&bus->polled_lock, flags);
	queue->looks = 0;
	if (!list_empty(&queue->polled) && !bus->is_polling) {
		bus->is_polling = true;
		hrtimer_start(&bus->polled_timer, VMSG_LOOK_AFTER, HRTIMER_MODE_REL);
	}
	spin_unlock_irqrestore(&bus->polled_lock, flags);
	return true;
}
