// SPDX-License-Identifier: GPL-2.0
/*
 * The xenbus frontend: finds the bus, shakes hands, follows the backend's states. Whatever takes
 * time is done by state_work, so that xenbus never waits for a device.
 *
 *   backend                     we
 *   InitWait (2)                share the ring, answer, Initialised (3)
 *   Connected (4)               Connected (4), look for devices
 *   Closing (5), or it failed   use nothing any more, Closing (5)
 *   Closed (6), or gone         give the devices up, take the ring back, Closed (6), then
 *                               Initialising (1) while online
 */
#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/slab.h>

#include "vmsg.h"

/* How long the backend may take to let go of everything, in steps of 20 ms. */
#define VMSG_CLOSE_STEPS 250

/* ---- the handshake ----------------------------------------------------------------------- */

/* Whether the node is a list of decimal numbers, comma separated, with this one in it. */
static bool offers(struct xenbus_device *xdev, const char *node, unsigned int wanted)
{
	char *text = xenbus_read(XBT_NIL, xdev->otherend, node, NULL);
	bool is_found = false;
	char *rest, *word;
	unsigned int number;

	if (IS_ERR(text))
		return false;
	rest = text;
	while ((word = strsep(&rest, ",")))
		is_found |= !kstrtouint(word, 10, &number) && number == wanted;
	kfree(text);
	return is_found;
}

/*
 * The state goes with them. Since 7.1 xenbus looks at every change below our directory, and takes
 * a device for replaced by another one if it reads state 1 there while it knows of a later one. It
 * reads before it compares, so a state that follows right behind other writes of ours can seem to
 * have been reset: the device is removed, and never found again. Of what comes at once it cannot
 * see a half.
 */
static int write_answers(struct vmsg_bus *bus, evtchn_port_t port)
{
	const char *dir = bus->xdev->nodename;
	struct xenbus_transaction xbt;
	int err;

	do {
		err = xenbus_transaction_start(&xbt);
		if (err)
			return err;
		err = xenbus_printf(xbt, dir, "version", "%u", VMSG_XEN_BINDING_VERSION);
		if (!err)
			err = xenbus_printf(xbt, dir, "ring-ref", "%u", bus->ring.page_ref);
		if (!err)
			err = xenbus_printf(xbt, dir, "event-channel", "%u", port);
		if (!err)
			err = xenbus_printf(xbt, dir, "max-message-size", "%u",
					    bus->ring.max_message);
		if (!err)
			err = xenbus_printf(xbt, dir, "transport-features", "0");
		if (!err)
			err = xenbus_printf(xbt, dir, "request-queue-event-channels", "%u",
					    bus->has_queue_channels);
		if (!err)
			err = xenbus_printf(xbt, dir, "request-shared-regions", "%u",
					    bus->has_regions);
		if (!err)
			err = xenbus_printf(xbt, dir, "state", "%d", XenbusStateInitialised);
		if (err) {
			xenbus_transaction_end(xbt, 1);
			return err;
		}
		err = xenbus_transaction_end(xbt, 0);
	} while (err == -EAGAIN);
	return err;
}

static int offer_ring(struct vmsg_bus *bus)
{
	struct xenbus_device *xdev = bus->xdev;
	unsigned int order, size;
	evtchn_port_t port;
	int err;

	if (!offers(xdev, "versions", VMSG_XEN_BINDING_VERSION) ||
	    !offers(xdev, "revisions", VIRTIO_MSG_REVISION_1)) {
		dev_err(&xdev->dev, "the backend speaks no version that this driver knows\n");
		return -EPROTO;
	}
	order = xenbus_read_unsigned(xdev->otherend, "max-ring-page-order", 0);
	order = min3(order, vmsg_ring_page_order, (unsigned int)XENBUS_MAX_RING_GRANT_ORDER);
	size = xenbus_read_unsigned(xdev->otherend, "max-message-size", 0);
	/* At most a quarter of a direction. */
	size = min(size, (VMSG_XEN_PAGE_SIZE << order) / 8);
	if (size < VIRTIO_MSG_RECOMMENDED_MAX_SIZE) {
		dev_err(&xdev->dev, "messages of %u bytes are too small: %u is the least\n", size,
			VIRTIO_MSG_RECOMMENDED_MAX_SIZE);
		return -EPROTO;
	}
	bus->has_queue_channels =
		vmsg_queue_channels &&
		xenbus_read_unsigned(xdev->otherend, "feature-queue-event-channels", 0) == 1;
	bus->has_regions = vmsg_share_pool && vmsg_bounce != VMSG_BOUNCE_NONE &&
			   xenbus_read_unsigned(xdev->otherend, "feature-shared-regions", 0) == 1;

	err = vmsg_bus_open(bus, order, size, &port);
	if (err)
		return err;
	err = write_answers(bus, port);
	if (err)
		vmsg_bus_close(bus);
	return err;
}

/* ---- states ------------------------------------------------------------------------------ */

/* Not xenbus_read_driver_state(): its arguments are not the same in all kernels. */
static enum xenbus_state backend_state(struct xenbus_device *xdev)
{
	return xenbus_read_unsigned(xdev->otherend, "state", XenbusStateUnknown);
}

static bool is_online(struct vmsg_bus *bus)
{
	return xenbus_read_unsigned(bus->xdev->otherend, "online", 0) == 1;
}

static void answer_offer(struct vmsg_bus *bus)
{
	int err = offer_ring(bus);

	if (err) {
		xenbus_dev_error(bus->xdev, err, "answering the backend's offer");
		xenbus_switch_state(bus->xdev, XenbusStateClosed);
		return;
	}
	bus->phase = VMSG_OFFERED;
	xenbus_switch_state(bus->xdev, XenbusStateInitialised);
}

static void connect(struct vmsg_bus *bus)
{
	bus->phase = VMSG_CONNECTED;
	vmsg_bus_start(bus);
	xenbus_switch_state(bus->xdev, XenbusStateConnected);
	queue_work(bus->wq, &bus->scan_work);
}

/* Nothing of ours uses the connection any more; the ring stays until the backend lets go of it. */
static void disconnect(struct vmsg_bus *bus)
{
	if (bus->phase != VMSG_CONNECTED)
		return;
	vmsg_bus_stop(bus);
	vmsg_remove_all_devices(bus);
	bus->phase = VMSG_OFFERED;
}

/* Whoever waits here is who would be told of the backend's states, so they are looked at. */
static void wait_until_closed(struct xenbus_device *xdev)
{
	int step;

	for (step = 0; step < VMSG_CLOSE_STEPS; step++) {
		enum xenbus_state backend = backend_state(xdev);

		if (backend == XenbusStateClosed || backend == XenbusStateUnknown ||
		    backend == XenbusStateInitialising || backend == XenbusStateInitWait)
			return;
		msleep(20);
	}
	dev_warn(&xdev->dev, "the backend does not close the bus: its pages are kept\n");
}

/*
 * The connection is over: nobody sends on it any more, then the backend lets go of everything, and
 * only then do the devices go, since what their drivers give back is anybody's memory at once.
 */
static void leave(struct vmsg_bus *bus)
{
	if (bus->phase == VMSG_CONNECTED)
		vmsg_bus_stop(bus);
	if (bus->xdev->state != XenbusStateClosing)
		xenbus_switch_state(bus->xdev, XenbusStateClosing);
	if (bus->phase != VMSG_IDLE)
		wait_until_closed(bus->xdev);
	disconnect(bus);
}

static void take_ring_back(struct vmsg_bus *bus)
{
	disconnect(bus);
	if (bus->phase == VMSG_OFFERED)
		vmsg_bus_close(bus);
	bus->phase = VMSG_IDLE;
}

static void start_anew(struct vmsg_bus *bus)
{
	xenbus_frontend_closed(bus->xdev);
	/* The machine may be going down: then this was the end. */
	if (is_online(bus) && system_state == SYSTEM_RUNNING)
		xenbus_switch_state(bus->xdev, XenbusStateInitialising);
}

static void follow_states(struct work_struct *work)
{
	struct vmsg_bus *bus = container_of(work, struct vmsg_bus, state_work);
	enum xenbus_state backend = backend_state(bus->xdev);

	if (atomic_read(&bus->failed) && bus->phase != VMSG_IDLE)
		leave(bus);
	switch (backend) {
	case XenbusStateInitialising:
	case XenbusStateInitWait:
		/* In the middle of a connection this is a backend that has forgotten ours. */
		if (bus->phase == VMSG_CONNECTED || bus->xdev->state == XenbusStateClosing) {
			take_ring_back(bus);
			start_anew(bus);
		} else if (bus->phase == VMSG_IDLE && backend == XenbusStateInitWait &&
			   bus->xdev->state == XenbusStateInitialising) {
			answer_offer(bus);
		}
		break;
	case XenbusStateConnected:
		if (bus->phase == VMSG_OFFERED && bus->xdev->state == XenbusStateInitialised)
			connect(bus);
		break;
	case XenbusStateClosing:
		if (bus->xdev->state != XenbusStateClosed)
			leave(bus);
		break;
	case XenbusStateClosed:
	case XenbusStateUnknown:
		if (bus->phase != VMSG_IDLE || bus->xdev->state == XenbusStateClosing) {
			take_ring_back(bus);
			start_anew(bus);
		}
		break;
	default:
		break;
	}
}

static void vmsg_otherend_changed(struct xenbus_device *xdev, enum xenbus_state state)
{
	struct vmsg_bus *bus = dev_get_drvdata(&xdev->dev);

	queue_work(bus->wq, &bus->state_work);
}

/* ---- coming and going -------------------------------------------------------------------- */

static int vmsg_probe(struct xenbus_device *xdev, const struct xenbus_device_id *id)
{
	struct vmsg_bus *bus = vmsg_bus_create(xdev);

	if (!bus)
		return -ENOMEM;
	INIT_WORK(&bus->state_work, follow_states);
	dev_set_drvdata(&xdev->dev, bus);
	/* Whatever an earlier driver left: this asks for a fresh handshake. */
	xenbus_switch_state(xdev, XenbusStateInitialising);
	queue_work(bus->wq, &bus->state_work);
	return 0;
}

static void vmsg_remove(struct xenbus_device *xdev)
{
	struct vmsg_bus *bus = dev_get_drvdata(&xdev->dev);

	cancel_work_sync(&bus->state_work);
	/* In order: the devices are reset while the backend still answers. */
	if (bus->phase == VMSG_CONNECTED && !atomic_read(&bus->failed) &&
	    backend_state(xdev) == XenbusStateConnected)
		vmsg_remove_all_devices(bus);
	if (bus->phase != VMSG_IDLE) {
		leave(bus);
		take_ring_back(bus);
	}
	xenbus_frontend_closed(xdev);
	dev_set_drvdata(&xdev->dev, NULL);
	vmsg_bus_put(bus);
}

/*
 * The machine is about to be saved or moved. The devices have been frozen; whatever comes of them
 * is done when it goes on.
 */
static int vmsg_suspend(struct xenbus_device *xdev)
{
	struct vmsg_bus *bus = dev_get_drvdata(&xdev->dev);

	flush_work(&bus->scan_work);
	return 0;
}

/* It goes on elsewhere: nothing that was granted is, and no event channel is bound any more. */
static int vmsg_resume(struct xenbus_device *xdev)
{
	struct vmsg_bus *bus = dev_get_drvdata(&xdev->dev);

	cancel_work_sync(&bus->state_work);
	vmsg_bus_stop(bus);
	cancel_work_sync(&bus->scan_work);
	if (bus->phase != VMSG_IDLE)
		vmsg_bus_close(bus);
	bus->phase = VMSG_IDLE;
	queue_work(bus->wq, &bus->state_work);
	return 0;
}

/* Loading the module waits for this, so that what comes next finds the devices. */
static int vmsg_is_ready(struct xenbus_device *xdev)
{
	struct vmsg_bus *bus = dev_get_drvdata(&xdev->dev);

	return !bus || READ_ONCE(bus->scanned);
}

static const struct xenbus_device_id vmsg_ids[] = {
	{ "virtio-msg" },
	{ "" },
};

static struct xenbus_driver vmsg_driver = {
	.ids = vmsg_ids,
	.probe = vmsg_probe,
	.remove = vmsg_remove,
	.otherend_changed = vmsg_otherend_changed,
	.suspend = vmsg_suspend,
	.resume = vmsg_resume,
	.is_ready = vmsg_is_ready,
	.not_essential = true,
};

int vmsg_frontend_register(void)
{
	return xenbus_register_frontend(&vmsg_driver);
}

void vmsg_frontend_unregister(void)
{
	xenbus_unregister_driver(&vmsg_driver);
}
