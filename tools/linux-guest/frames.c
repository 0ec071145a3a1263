// SPDX-License-Identifier: GPL-2.0
/* What arrives: frames are copied out of the ring, checked, and given to whom they concern. */
#include <xen/events.h>

#include "vmsg.h"

static void config_event(struct vmsg_device *device, const void *frame, u16 size)
{
	u32 offset, length;

	if (size < VIRTIO_MSG_HDR_SIZE + 16)
		return;
	offset = vmsg_get32(frame, 8);
	length = vmsg_get32(frame, 12);
	/* A range with its bytes, or a range or nothing without them. */
	if (size != VIRTIO_MSG_HDR_SIZE + 16 && size != VIRTIO_MSG_HDR_SIZE + 16 + (u64)length)
		return;
	if ((u64)offset + length > device->config_size)
		return;
	/* A hint: what has changed is asked for. */
	queue_work(device->bus->wq, &device->config_work);
}

static void used_event(struct vmsg_device *device, const void *frame, u16 size)
{
	if (size == VIRTIO_MSG_HDR_SIZE + 4)
		vmsg_queue_used(device, vmsg_get32(frame, 0));
}

static void device_event(struct vmsg_bus *bus, const void *frame, u16 size)
{
	struct vmsg_device *device;

	spin_lock(&bus->devices_lock);
	device = xa_load(&bus->devices, vmsg_frame_device(frame));
	if (device && test_bit(VMSG_LIVE, &device->flags) &&
	    !test_bit(VMSG_BROKEN, &device->flags)) {
		switch (vmsg_frame_id(frame)) {
		case VIRTIO_MSG_EVENT_CONFIG:
			config_event(device, frame, size);
			break;
		case VIRTIO_MSG_EVENT_USED:
			used_event(device, frame, size);
			break;
		}
	}
	spin_unlock(&bus->devices_lock);
}

/* A device has come or gone: scan_work finds out. One that is gone is not waited for. */
static void presence_event(struct vmsg_bus *bus, const void *frame)
{
	u16 number = vmsg_get16(frame, 0);
	u16 state = vmsg_get16(frame, 2);
	struct vmsg_device *device;

	if (state != VIRTIO_MSG_DEVICE_ADDED && state != VIRTIO_MSG_DEVICE_REMOVED)
		return;
	spin_lock(&bus->devices_lock);
	device = xa_load(&bus->devices, number);
	if (device && state == VIRTIO_MSG_DEVICE_REMOVED) {
		set_bit(VMSG_GONE, &device->flags);
		queue_work(bus->wq, &device->fault_work);
	}
	spin_unlock(&bus->devices_lock);
	if (state == VIRTIO_MSG_DEVICE_REMOVED)
		vmsg_bus_fail_requests_of(bus, number);
	queue_work(bus->wq, &bus->scan_work);
}

static void eject_event(struct vmsg_bus *bus, const void *frame)
{
	struct vmsg_device *device;

	spin_lock(&bus->devices_lock);
	device = xa_load(&bus->devices, vmsg_get16(frame, 0));
	if (device)
		set_bit(VMSG_EJECT, &device->flags);
	spin_unlock(&bus->devices_lock);
	if (device)
		queue_work(bus->wq, &bus->scan_work);
}

/* PING is the one request that a backend may send: the answer is the same with the other type. */
static void bus_request(struct vmsg_bus *bus, u8 *frame, u16 size)
{
	if (vmsg_frame_id(frame) != VIRTIO_MSG_BUS_PING || size < VIRTIO_MSG_HDR_SIZE + 4)
		return;
	frame[VIRTIO_MSG_HDR_TYPE] = VIRTIO_MSG_TYPE_BUS | VIRTIO_MSG_TYPE_RESPONSE;
	put_unaligned_le16(VIRTIO_MSG_HDR_SIZE + 4, frame + VIRTIO_MSG_HDR_MSG_SIZE);
	/* Without room it goes unanswered: pings that are not taken out are nothing to wait for. */
	vmsg_bus_send(bus, frame);
}

/* What cannot be understood, or comes from the wrong side, is dropped. */
static void dispatch(struct vmsg_bus *bus, u8 *frame, u16 size)
{
	u8 type = vmsg_frame_type(frame);
	u8 id = vmsg_frame_id(frame);

	if (type & VIRTIO_MSG_TYPE_BUS && vmsg_frame_device(frame) != 0)
		return;
	if (type & VIRTIO_MSG_TYPE_RESPONSE) {
		if (!(id & VIRTIO_MSG_ID_EVENT))
			vmsg_bus_complete(bus, frame);
	} else if (!(type & VIRTIO_MSG_TYPE_BUS)) {
		device_event(bus, frame, size);
	} else if (id == VIRTIO_MSG_BUS_EVENT_DEVICE) {
		if (size >= VIRTIO_MSG_HDR_SIZE + 4)
			presence_event(bus, frame);
	} else if (id == VMSG_XEN_EJECT) {
		if (size >= VIRTIO_MSG_HDR_SIZE + 4)
			eject_event(bus, frame);
	} else {
		bus_request(bus, frame, size);
	}
}

bool vmsg_bus_take(struct vmsg_bus *bus, bool *is_more)
{
	unsigned long flags;
	u32 start;
	bool is_any = false;
	int size = 0;

	*is_more = false;
	spin_lock_irqsave(&bus->in_lock, flags);
	if (!bus->is_up || atomic_read(&bus->failed))
		goto out;
	start = bus->ring.in_cons;
	do {
		size = 1; /* when the loop below has had enough */
		while (bus->ring.in_cons - start < bus->ring.size) {
			size = vmsg_ring_pop(&bus->ring, bus->in_frame);
			if (size <= 0)
				break;
			is_any = true;
			dispatch(bus, bus->in_frame, size);
		}
		if (vmsg_ring_release(&bus->ring))
			notify_remote_via_irq(bus->irq);
		*is_more = size > 0;
	} while (!size && vmsg_ring_arm(&bus->ring));
out:
	spin_unlock_irqrestore(&bus->in_lock, flags);
	if (size < 0)
		vmsg_bus_fail(bus, "broke the in direction of the ring");
	/* The event may have told of room. */
	return vmsg_bus_flush(bus) || is_any;
}
