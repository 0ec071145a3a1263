// SPDX-License-Identifier: GPL-2.0
/* Requests: tokens, time limits, and which response belongs to what. */
#include <linux/jiffies.h>

#include "vmsg.h"

/* 0 is for events, and 1 is left alone as in other buses of virtio-msg. */
#define VMSG_FIRST_TOKEN 2

struct vmsg_request {
	struct list_head node;
	struct completion done;
	const void *frame;
	void *response;
	u16 min_size;
	int result;
};

/*
 * Tokens go round, so that one whose request ran out of time is not used again before its late
 * answer can have come. There are far more of them than requests at a time.
 */
static u16 next_token(struct vmsg_bus *bus)
{
	struct vmsg_request *other;
	bool is_taken;

	do {
		if (++bus->last_token < VMSG_FIRST_TOKEN)
			bus->last_token = VMSG_FIRST_TOKEN;
		is_taken = false;
		list_for_each_entry(other, &bus->requests, node)
			is_taken |= vmsg_frame_token(other->frame) == bus->last_token;
	} while (is_taken);
	return bus->last_token;
}

static int enlist(struct vmsg_bus *bus, struct vmsg_request *request, void *frame)
{
	unsigned long flags;
	int err = 0;

	spin_lock_irqsave(&bus->requests_lock, flags);
	if (bus->is_up) {
		put_unaligned_le16(next_token(bus), frame + VIRTIO_MSG_HDR_TOKEN);
		list_add_tail(&request->node, &bus->requests);
	} else {
		err = -ENODEV;
	}
	spin_unlock_irqrestore(&bus->requests_lock, flags);
	return err;
}

/* Whether it was still waiting: then its result is @result. */
static void give_up(struct vmsg_bus *bus, struct vmsg_request *request, int result)
{
	unsigned long flags;

	spin_lock_irqsave(&bus->requests_lock, flags);
	if (!list_empty(&request->node)) {
		list_del_init(&request->node);
		request->result = result;
	}
	spin_unlock_irqrestore(&bus->requests_lock, flags);
}

/* Whether @frame is sent, or never can be: @err. */
static bool is_settled(struct vmsg_bus *bus, const void *frame, int *err)
{
	*err = vmsg_bus_send(bus, frame);
	return *err != -ENOSPC;
}

int vmsg_bus_call(struct vmsg_bus *bus, void *frame, void *response, u16 min_payload)
{
	unsigned long limit = msecs_to_jiffies(max(vmsg_request_timeout, 1U) * 1000);
	struct vmsg_request request = {
		.frame = frame,
		.response = response,
		.min_size = VIRTIO_MSG_HDR_SIZE + min_payload,
	};
	int err;

	init_completion(&request.done);
	err = enlist(bus, &request, frame);
	if (err)
		return err;
	if (!wait_event_timeout(bus->room, is_settled(bus, frame, &err), limit))
		err = -ETIMEDOUT;
	if (err) {
		give_up(bus, &request, err);
		return err;
	}
	if (!wait_for_completion_timeout(&request.done, limit))
		give_up(bus, &request, -ETIMEDOUT);
	return request.result;
}

/* With requests_lock held. */
static void finish(struct vmsg_request *request, int result)
{
	list_del_init(&request->node);
	request->result = result;
	complete(&request->done);
}

static int accept_response(struct vmsg_request *request, const void *frame)
{
	u16 size = vmsg_frame_size(frame);

	if (vmsg_frame_type(frame) !=
		    (vmsg_frame_type(request->frame) | VIRTIO_MSG_TYPE_RESPONSE) ||
	    vmsg_frame_id(frame) != vmsg_frame_id(request->frame) ||
	    vmsg_frame_device(frame) != vmsg_frame_device(request->frame) ||
	    size < request->min_size)
		return -EPROTO;
	memcpy(request->response, frame, size);
	return 0;
}

void vmsg_bus_complete(struct vmsg_bus *bus, const void *frame)
{
	u16 token = vmsg_frame_token(frame);
	struct vmsg_request *request;
	unsigned long flags;

	spin_lock_irqsave(&bus->requests_lock, flags);
	list_for_each_entry(request, &bus->requests, node) {
		if (vmsg_frame_token(request->frame) == token) {
			finish(request, accept_response(request, frame));
			break;
		}
	}
	spin_unlock_irqrestore(&bus->requests_lock, flags);
	/* One that nobody waits for is late, or made up. */
}

void vmsg_bus_fail_requests(struct vmsg_bus *bus)
{
	struct vmsg_request *request, *next;
	unsigned long flags;

	spin_lock_irqsave(&bus->requests_lock, flags);
	list_for_each_entry_safe(request, next, &bus->requests, node)
		finish(request, -ENODEV);
	spin_unlock_irqrestore(&bus->requests_lock, flags);
}

void vmsg_bus_fail_requests_of(struct vmsg_bus *bus, u16 device)
{
	struct vmsg_request *request, *next;
	unsigned long flags;

	spin_lock_irqsave(&bus->requests_lock, flags);
	list_for_each_entry_safe(request, next, &bus->requests, node) {
		if (!(vmsg_frame_type(request->frame) & VIRTIO_MSG_TYPE_BUS) &&
		    vmsg_frame_device(request->frame) == device)
			finish(request, -ENODEV);
	}
	spin_unlock_irqrestore(&bus->requests_lock, flags);
}
