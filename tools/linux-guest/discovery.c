// SPDX-License-Identifier: GPL-2.0
/*
 * Which devices there are. The backend's list is asked for at the start and whenever it says that
 * something has changed; events are only the reason to ask.
 */
#include <linux/bitmap.h>

#include "vmsg.h"

/* More windows than the number space has: a backend that never comes to the end. */
#define VMSG_MAX_WINDOWS 8192

static int list_devices(struct vmsg_bus *bus)
{
	/* What fits into a response behind its header and three 16-bit fields. */
	unsigned int most = (bus->ring.max_message - VIRTIO_MSG_HDR_SIZE - 6) * 8;
	unsigned int offset = 0, windows;
	int err = 0;

	bitmap_zero(bus->present, U16_MAX + 1);
	mutex_lock(&bus->call_mutex);
	for (windows = 0; windows < VMSG_MAX_WINDOWS; windows++) {
		unsigned int asked = min(most, U16_MAX + 1 - offset);
		unsigned int next, count, i;
		const u8 *bits = vmsg_field(bus->response, 6);

		asked = min(asked, (unsigned int)U16_MAX & ~7U);
		vmsg_put_header(bus->request, VIRTIO_MSG_TYPE_BUS, VIRTIO_MSG_BUS_GET_DEVICES, 0,
				4);
		vmsg_put16(bus->request, 0, offset);
		vmsg_put16(bus->request, 2, asked);
		err = vmsg_bus_call(bus, bus->request, bus->response, 6);
		if (err)
			break;
		next = vmsg_get16(bus->response, 2);
		count = vmsg_get16(bus->response, 4);
		if (vmsg_get16(bus->response, 0) != offset || count > asked ||
		    vmsg_frame_size(bus->response) !=
			    VIRTIO_MSG_HDR_SIZE + 6 + DIV_ROUND_UP(count, 8) ||
		    (next && (next <= offset || next < offset + count))) {
			err = -EPROTO;
			break;
		}
		for (i = 0; i < count; i++)
			if (bits[i / 8] & BIT(i % 8))
				__set_bit(offset + i, bus->present);
		if (!next)
			break;
		offset = next;
	}
	mutex_unlock(&bus->call_mutex);
	return windows < VMSG_MAX_WINDOWS ? err : -EPROTO;
}

static void forget(struct vmsg_bus *bus, struct vmsg_device *device)
{
	unsigned long flags;

	/* After this the ring's interrupt does not find it any more. */
	spin_lock_irqsave(&bus->devices_lock, flags);
	xa_erase(&bus->devices, device->number);
	spin_unlock_irqrestore(&bus->devices_lock, flags);
	put_device(&device->dev);
}

static void remove_device(struct vmsg_bus *bus, struct vmsg_device *device)
{
	if (!test_bit(VMSG_EJECTED, &device->flags))
		vmsg_device_remove(device);
	forget(bus, device);
}

static void eject_answer(struct vmsg_bus *bus, u16 number, u16 status)
{
	mutex_lock(&bus->call_mutex);
	vmsg_put_header(bus->request, VIRTIO_MSG_TYPE_BUS, VMSG_XEN_EJECTED, 0, 4);
	vmsg_put16(bus->request, 0, number);
	vmsg_put16(bus->request, 2, status);
	if (vmsg_bus_call(bus, bus->request, bus->response, 4))
		dev_warn(&bus->xdev->dev, "no answer to the ejection of device %u\n", number);
	mutex_unlock(&bus->call_mutex);
}

static void eject_device(struct vmsg_bus *bus, struct vmsg_device *device)
{
	if (test_bit(VMSG_EJECTED, &device->flags) ||
	    !test_and_clear_bit(VMSG_EJECT, &device->flags))
		return;
	if (vmsg_device_is_in_use(device)) {
		eject_answer(bus, device->number, VMSG_XEN_EJECTED_BUSY);
		return;
	}
	vmsg_device_remove(device);
	/* Remembered until the backend has removed it, so that it is not found anew. */
	set_bit(VMSG_EJECTED, &device->flags);
	eject_answer(bus, device->number, VMSG_XEN_EJECTED_DONE);
}

/* Whether it is to be tried again: the backend did not say what it is in time. */
static bool add_device(struct vmsg_bus *bus, u16 number)
{
	struct vmsg_device *device = vmsg_device_create(bus, number);

	/* It may have gone since, or be something that we cannot take: others are not concerned. */
	if (IS_ERR(device))
		return PTR_ERR(device) == -ETIMEDOUT;
	if (xa_err(xa_store(&bus->devices, number, device, GFP_KERNEL))) {
		put_device(&device->dev);
		return false;
	}
	if (vmsg_device_register(device))
		forget(bus, device);
	return false;
}

void vmsg_scan(struct work_struct *work)
{
	struct vmsg_bus *bus = container_of(work, struct vmsg_bus, scan_work);
	struct vmsg_device *device;
	unsigned long number;
	bool is_late;
	int err;

	xa_for_each(&bus->devices, number, device) {
		if (test_bit(VMSG_GONE, &device->flags))
			remove_device(bus, device);
		else
			eject_device(bus, device);
	}
	vmsg_share_pool_region(bus);
	err = list_devices(bus);
	is_late = err == -ETIMEDOUT;
	if (err == -EPROTO)
		vmsg_bus_fail(bus, "lists its devices in a way that cannot be");
	if (!err) {
		xa_for_each(&bus->devices, number, device) {
			if (test_bit(number, bus->present)) {
				vmsg_device_thaw(device);
				continue;
			}
			set_bit(VMSG_GONE, &device->flags);
			remove_device(bus, device);
		}
		for_each_set_bit(number, bus->present, U16_MAX + 1)
			if (READ_ONCE(bus->is_up) && !xa_load(&bus->devices, number))
				is_late |= add_device(bus, number);
	}
	/* A backend that is slow at the moment is asked again, once in a time limit. */
	if (is_late && READ_ONCE(bus->is_up)) {
		dev_warn(&bus->xdev->dev, "the backend does not say in time what devices there are\n");
		queue_work(bus->wq, &bus->scan_work);
	} else {
		WRITE_ONCE(bus->scanned, true);
	}
}

void vmsg_remove_all_devices(struct vmsg_bus *bus)
{
	bool is_up = READ_ONCE(bus->is_up);
	struct vmsg_device *device;
	unsigned long number;

	if (!is_up) {
		/* Whatever waits for one of them, scan_work among it, is let go first. */
		spin_lock_irq(&bus->devices_lock);
		xa_for_each(&bus->devices, number, device) {
			set_bit(VMSG_GONE, &device->flags);
			queue_work(bus->wq, &device->fault_work);
		}
		spin_unlock_irq(&bus->devices_lock);
	}
	cancel_work_sync(&bus->scan_work);
	xa_for_each(&bus->devices, number, device) {
		if (!is_up)
			set_bit(VMSG_GONE, &device->flags);
		remove_device(bus, device);
	}
}
