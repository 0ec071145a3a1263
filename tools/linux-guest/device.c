// SPDX-License-Identifier: GPL-2.0
/* One virtio device: from its number on the bus to a device that virtio drivers bind to. */
#include <linux/slab.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include "vmsg.h"

static void device_release(struct device *dev)
{
	struct vmsg_device *device = container_of(dev, struct vmsg_device, dev);

	kfree(device->request);
	kfree(device->response);
	vmsg_bus_put(device->bus);
	kfree(device);
}

#ifdef CONFIG_PM_SLEEP
/* While the connection is as it was: the device is reset, its driver keeps what it has to do. */
static int vmsg_device_freeze(struct device *dev)
{
	struct vmsg_device *device = container_of(dev, struct vmsg_device, dev);
	int err = virtio_device_freeze(&device->vdev);

	if (!err)
		set_bit(VMSG_FROZEN, &device->flags);
	return err;
}

/* Nothing has happened after all. After a restore, discovery thaws the devices that it finds. */
static int vmsg_device_pm_thaw(struct device *dev)
{
	vmsg_device_thaw(container_of(dev, struct vmsg_device, dev));
	return 0;
}

static const struct dev_pm_ops vmsg_device_pm_ops = {
	.freeze = vmsg_device_freeze,
	.thaw = vmsg_device_pm_thaw,
};
#endif

void vmsg_device_thaw(struct vmsg_device *device)
{
#ifdef CONFIG_PM_SLEEP
	if (test_and_clear_bit(VMSG_FROZEN, &device->flags) &&
	    virtio_device_restore(&device->vdev))
		vmsg_device_break(device, "cannot be set up again");
#endif
}

static const struct device_type vmsg_device_type = {
	.name = "virtio-msg",
#ifdef CONFIG_PM_SLEEP
	.pm = &vmsg_device_pm_ops,
#endif
	.release = device_release,
};

static void vdev_release(struct device *dev)
{
	put_device(&to_vmsg_device(dev_to_virtio(dev))->dev);
}

/* GET_DEVICE_INFO: the one thing to ask before a reset. */
static int read_info(struct vmsg_device *device)
{
	u32 type, admin_start, admin_count;
	int err;

	mutex_lock(&device->call_mutex);
	err = vmsg_device_call(device, VIRTIO_MSG_GET_DEVICE_INFO, 0, 44);
	if (err)
		goto out;
	type = vmsg_get32(device->response, 0);
	device->vdev.id.device = type;
	device->vdev.id.vendor = vmsg_get32(device->response, 4);
	device->feature_blocks = vmsg_get32(device->response, 24);
	device->config_size = vmsg_get32(device->response, 28);
	device->max_queues = vmsg_get32(device->response, 32);
	admin_start = vmsg_get32(device->response, 36);
	admin_count = vmsg_get32(device->response, 40);
	if (!type || device->max_queues > VIRTIO_MSG_MAX_VQUEUES ||
	    (u64)admin_start + admin_count > device->max_queues) {
		dev_err(&device->bus->xdev->dev, "device %u: type %u with %u queues cannot be\n",
			device->number, type, device->max_queues);
		err = -EPROTO;
	}
out:
	mutex_unlock(&device->call_mutex);
	return err;
}

struct vmsg_device *vmsg_device_create(struct vmsg_bus *bus, u16 number)
{
	struct vmsg_device *device = kzalloc(sizeof(*device), GFP_KERNEL);
	int err = -ENOMEM;

	if (!device)
		return ERR_PTR(-ENOMEM);
	device->bus = bus;
	kref_get(&bus->kref);
	device->number = number;
	mutex_init(&device->call_mutex);
	mutex_init(&device->queues_mutex);
	spin_lock_init(&device->queues_lock);
	INIT_WORK(&device->config_work, vmsg_config_changed);
	INIT_WORK(&device->fault_work, vmsg_fault);
	device_initialize(&device->dev);
	device->dev.type = &vmsg_device_type;
	device->dev.parent = &bus->xdev->dev;
	device->request = kmalloc(bus->ring.max_message, GFP_KERNEL);
	device->response = kmalloc(bus->ring.max_message, GFP_KERNEL);
	if (!device->request || !device->response)
		goto fail;
	err = dev_set_name(&device->dev, "%s.%u", dev_name(&bus->xdev->dev), number);
	if (!err)
		err = read_info(device);
	if (!err)
		return device;
fail:
	put_device(&device->dev);
	return ERR_PTR(err);
}

int vmsg_device_register(struct vmsg_device *device)
{
	struct virtio_device *vdev = &device->vdev;
	int err;

	err = device_add(&device->dev);
	if (err)
		return err;
	vmsg_dma_setup(&device->dev);
	vdev->dev.parent = &device->dev;
	vdev->dev.release = vdev_release;
	vdev->config = &vmsg_config_ops;
	get_device(&device->dev); /* vdev_release() */
	err = register_virtio_device(vdev);
	if (err) {
		dev_err(&device->dev, "cannot register a virtio device: %d\n", err);
		put_device(&vdev->dev);
		device_del(&device->dev);
	}
	return err;
}

void vmsg_device_remove(struct vmsg_device *device)
{
	/* One that no longer answers must not keep its driver waiting. */
	if (test_bit(VMSG_GONE, &device->flags)) {
		queue_work(device->bus->wq, &device->fault_work);
		flush_work(&device->fault_work);
	}
	unregister_virtio_device(&device->vdev);
	cancel_work_sync(&device->config_work);
	cancel_work_sync(&device->fault_work);
	device_del(&device->dev);
}
