// SPDX-License-Identifier: GPL-2.0
/* The configuration operations that virtio drivers call: features, status, configuration space. */
#include <linux/delay.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "vmsg.h"

/* Reads of the configuration space that are broken off because it changes all the time. */
#define VMSG_CONFIG_RESTARTS 5
#define VMSG_RESET_POLL 10 /* ms */

/* Header and fixed fields of the messages that carry bytes or words. */
#define VMSG_GET_CONFIG_OVERHEAD (VIRTIO_MSG_HDR_SIZE + 12)
#define VMSG_FEATURES_OVERHEAD (VIRTIO_MSG_HDR_SIZE + 8)

static u32 max_chunk(struct vmsg_device *device)
{
	return device->bus->ring.max_message - VMSG_GET_CONFIG_OVERHEAD;
}

static int send_request(struct vmsg_device *device, u8 id, u16 payload, u16 min_response)
{
	if (test_bit(VMSG_GONE, &device->flags))
		return -ENODEV;
	vmsg_put_header(device->request, 0, id, device->number, payload);
	return vmsg_bus_call(device->bus, device->request, device->response, min_response);
}

int vmsg_device_call(struct vmsg_device *device, u8 id, u16 payload, u16 min_response)
{
	int err = -EIO;

	if (!test_bit(VMSG_BROKEN, &device->flags))
		err = send_request(device, id, payload, min_response);
	/* What became of a request without an answer is unknown: no more of this device. */
	if (err == -ETIMEDOUT)
		vmsg_device_break(device, "message %#x was not answered in time", id);
	if (err == -EPROTO)
		vmsg_device_break(device, "message %#x was answered wrongly", id);
	return err;
}

/* ---- status ------------------------------------------------------------------------------ */

static u8 vmsg_get_status(struct virtio_device *vdev)
{
	struct vmsg_device *device = to_vmsg_device(vdev);
	u8 status = 0;

	mutex_lock(&device->call_mutex);
	if (!vmsg_device_call(device, VIRTIO_MSG_GET_DEVICE_STATUS, 0, 4))
		status = vmsg_get32(device->response, 0);
	mutex_unlock(&device->call_mutex);
	return status;
}

static void vmsg_set_status(struct virtio_device *vdev, u8 status)
{
	struct vmsg_device *device = to_vmsg_device(vdev);
	u32 result = 0;
	int err;

	if (WARN_ON(!status))
		return;
	/* Events may come as soon as the device has seen it. */
	if (status & VIRTIO_CONFIG_S_DRIVER_OK)
		set_bit(VMSG_LIVE, &device->flags);
	mutex_lock(&device->call_mutex);
	vmsg_put32(device->request, 0, status);
	err = vmsg_device_call(device, VIRTIO_MSG_SET_DEVICE_STATUS, 4, 4);
	if (!err)
		result = vmsg_get32(device->response, 0);
	mutex_unlock(&device->call_mutex);
	/* Whether the features are accepted is asked for by virtio itself. */
	if (!err && status & VIRTIO_CONFIG_S_DRIVER_OK && !(result & VIRTIO_CONFIG_S_DRIVER_OK))
		vmsg_device_break(device, "did not start: status %#x", result);
}

/* One step of a reset: the status, or an error. Also of a device that is broken. */
static int reset_step(struct vmsg_device *device, u8 id)
{
	int err;

	mutex_lock(&device->call_mutex);
	vmsg_put32(device->request, 0, 0);
	err = send_request(device, id, id == VIRTIO_MSG_SET_DEVICE_STATUS ? 4 : 0, 4);
	if (!err)
		err = vmsg_get32(device->response, 0) & 0xff;
	mutex_unlock(&device->call_mutex);
	return err;
}

static void vmsg_reset(struct virtio_device *vdev)
{
	struct vmsg_device *device = to_vmsg_device(vdev);
	unsigned long end = jiffies + vmsg_reset_timeout * HZ;
	int status;

	clear_bit(VMSG_LIVE, &device->flags);
	status = reset_step(device, VIRTIO_MSG_SET_DEVICE_STATUS);
	while (status > 0 && time_before(jiffies, end)) {
		msleep(VMSG_RESET_POLL);
		status = reset_step(device, VIRTIO_MSG_GET_DEVICE_STATUS);
	}
	/* Memory that such a device still holds is not given to anybody else: see dma.c. */
	if (status && status != -ENODEV)
		vmsg_device_break(device, "cannot be reset: %d", status);
	vmsg_synchronize_cbs(vdev);
	vmsg_empty_console(device);
}

/* ---- features ---------------------------------------------------------------------------- */

static u64 vmsg_get_features(struct virtio_device *vdev)
{
	struct vmsg_device *device = to_vmsg_device(vdev);
	u64 features = 0;

	/* Two words: the smallest message has room for nine. What is beyond is nothing we know. */
	mutex_lock(&device->call_mutex);
	vmsg_put32(device->request, 0, 0);
	vmsg_put32(device->request, 4, 2);
	if (!vmsg_device_call(device, VIRTIO_MSG_GET_DEVICE_FEATURES, 8, 8)) {
		if (vmsg_get32(device->response, 0) || vmsg_get32(device->response, 4) != 2 ||
		    vmsg_frame_size(device->response) < VMSG_FEATURES_OVERHEAD + 8)
			vmsg_device_break(device, "does not say which features it has");
		else
			features = vmsg_get64(device->response, 8);
	}
	mutex_unlock(&device->call_mutex);
	return features;
}

static int vmsg_finalize_features(struct virtio_device *vdev)
{
	struct vmsg_device *device = to_vmsg_device(vdev);
	int err;

	/* Leaves out what only other transports know, NOTIFICATION_DATA and SR_IOV among it. */
	vring_transport_features(vdev);
	__virtio_clear_bit(vdev, VMSG_F_NOTIFICATION_DATA);
	if (!__virtio_test_bit(vdev, VIRTIO_F_VERSION_1) ||
	    !__virtio_test_bit(vdev, VIRTIO_F_ACCESS_PLATFORM)) {
		dev_err(&device->dev, "offers no VERSION_1 or no ACCESS_PLATFORM\n");
		return -EINVAL;
	}
	mutex_lock(&device->call_mutex);
	vmsg_put32(device->request, 0, 0);
	vmsg_put32(device->request, 4, 2);
	vmsg_put64(device->request, 8, vdev->features);
	err = vmsg_device_call(device, VIRTIO_MSG_SET_DRIVER_FEATURES, 16, 0);
	mutex_unlock(&device->call_mutex);
	return err;
}

/* ---- configuration space ----------------------------------------------------------------- */

/* Reads a range once, in pieces if need be: -EAGAIN when it has changed meanwhile. */
static int read_config(struct vmsg_device *device, u32 offset, void *buf, u32 size)
{
	u32 generation = 0, done = 0;
	int err = 0;

	mutex_lock(&device->call_mutex);
	do {
		u32 piece = min(size - done, max_chunk(device));

		vmsg_put32(device->request, 0, offset + done);
		vmsg_put32(device->request, 4, piece);
		err = vmsg_device_call(device, VIRTIO_MSG_GET_CONFIG, 8, 12);
		if (err)
			break;
		if (vmsg_get32(device->response, 4) != offset + done ||
		    vmsg_get32(device->response, 8) != piece ||
		    vmsg_frame_size(device->response) < VMSG_GET_CONFIG_OVERHEAD + piece) {
			err = -EPROTO;
			vmsg_device_break(device, "does not give its configuration");
			break;
		}
		device->generation = vmsg_get32(device->response, 0);
		if (done && device->generation != generation) {
			err = -EAGAIN;
			break;
		}
		generation = device->generation;
		memcpy(buf + done, vmsg_field(device->response, 12), piece);
		done += piece;
	} while (done < size);
	mutex_unlock(&device->call_mutex);
	return err;
}

static void vmsg_get(struct virtio_device *vdev, unsigned int offset, void *buf, unsigned int size)
{
	struct vmsg_device *device = to_vmsg_device(vdev);
	int restarts = 0, err;

	if (WARN_ON((u64)offset + size > device->config_size)) {
		memset(buf, 0, size);
		return;
	}
	do {
		err = read_config(device, offset, buf, size);
	} while (err == -EAGAIN && restarts++ < VMSG_CONFIG_RESTARTS);
	if (err == -EAGAIN)
		vmsg_device_break(device, "changes its configuration without end");
	/* Drivers see no errors here: zeroes are what they can live with. */
	if (err)
		memset(buf, 0, size);
}

static void vmsg_set(struct virtio_device *vdev, unsigned int offset, const void *buf,
		     unsigned int size)
{
	struct vmsg_device *device = to_vmsg_device(vdev);
	u32 done = 0, piece;

	if (WARN_ON((u64)offset + size > device->config_size))
		return;
	mutex_lock(&device->call_mutex);
	for (; done < size; done += piece) {
		piece = min(size - done, max_chunk(device));
		vmsg_put32(device->request, 0, 0); /* the generation: unused in this profile */
		vmsg_put32(device->request, 4, offset + done);
		vmsg_put32(device->request, 8, piece);
		memcpy(vmsg_field(device->request, 12), buf + done, piece);
		if (vmsg_device_call(device, VIRTIO_MSG_SET_CONFIG, 12 + piece, 12))
			break;
		device->generation = vmsg_get32(device->response, 0);
		if (vmsg_get32(device->response, 4) != offset + done ||
		    (vmsg_get32(device->response, 8) != piece &&
		     vmsg_get32(device->response, 8) != 0)) {
			vmsg_device_break(device, "answered a change of its configuration wrongly");
			break;
		}
		if (!vmsg_get32(device->response, 8))
			dev_warn_ratelimited(&device->dev,
					     "refused a change of its configuration, %u bytes at %u\n",
					     piece, offset + done);
	}
	mutex_unlock(&device->call_mutex);
}

/*
 * That of the latest answer. A sequence of reads has the same one before and after only if all of
 * it belongs together, so nothing needs to be asked for here.
 */
static u32 vmsg_generation(struct virtio_device *vdev)
{
	return to_vmsg_device(vdev)->generation;
}

/* The device says that something has changed: what, is asked for. */
void vmsg_config_changed(struct work_struct *work)
{
	struct vmsg_device *device = container_of(work, struct vmsg_device, config_work);
	u32 status = 0;
	int err;

	mutex_lock(&device->call_mutex);
	err = vmsg_device_call(device, VIRTIO_MSG_GET_DEVICE_STATUS, 0, 4);
	if (!err)
		status = vmsg_get32(device->response, 0);
	mutex_unlock(&device->call_mutex);
	/* It may have been reset since. */
	if (err || !test_bit(VMSG_LIVE, &device->flags))
		return;
	if (status & VIRTIO_CONFIG_S_NEEDS_RESET)
		vmsg_device_break(device, "needs a reset");
	else if (read_config(device, 0, NULL, 0) == 0)
		virtio_config_changed(&device->vdev);
}

static const char *vmsg_bus_name(struct virtio_device *vdev)
{
	return dev_name(&to_vmsg_device(vdev)->dev);
}

const struct virtio_config_ops vmsg_config_ops = {
	.get = vmsg_get,
	.set = vmsg_set,
	.generation = vmsg_generation,
	.get_status = vmsg_get_status,
	.set_status = vmsg_set_status,
	.reset = vmsg_reset,
	.find_vqs = vmsg_find_vqs,
	.del_vqs = vmsg_del_vqs,
	.synchronize_cbs = vmsg_synchronize_cbs,
	.get_features = vmsg_get_features,
	.finalize_features = vmsg_finalize_features,
	.bus_name = vmsg_bus_name,
	.set_vq_affinity = vmsg_set_vq_affinity,
};
