// SPDX-License-Identifier: GPL-2.0
#include "ring.h"

#include <linux/kernel.h>
#include <linux/string.h>
#include <asm/barrier.h>

#include "protocol.h"

static __le32 *word(const struct vmsg_ring *ring, unsigned int offset)
{
	return ring->page + offset;
}

static u32 load(const struct vmsg_ring *ring, unsigned int offset)
{
	return le32_to_cpu(READ_ONCE(*word(ring, offset)));
}

static void store(struct vmsg_ring *ring, unsigned int offset, u32 value)
{
	WRITE_ONCE(*word(ring, offset), cpu_to_le32(value));
}

/* Whether moving an index from @old to @new passes @event. */
static bool passes(u32 new, u32 old, u32 event)
{
	return new - event - 1 < new - old;
}

static u32 space_of(u32 size)
{
	return ALIGN(size, VMSG_XEN_MSG_ALIGN);
}

int vmsg_ring_create(struct vmsg_ring *ring, struct xenbus_device *xdev,
		     unsigned int order)
{
	unsigned int i;
	int err;

	memset(ring, 0, sizeof(*ring));
	err = xenbus_setup_ring(xdev, GFP_KERNEL, &ring->page, 1, &ring->page_ref);
	if (err)
		return err;
	err = xenbus_setup_ring(xdev, GFP_KERNEL, &ring->data, 1U << order, ring->data_refs);
	if (err) {
		xenbus_teardown_ring(&ring->page, 1, &ring->page_ref);
		return err;
	}
	ring->order = order;
	ring->size = (VMSG_XEN_PAGE_SIZE << order) / 2;

	store(ring, VMSG_XEN_IF_MAGIC, VMSG_XEN_MAGIC);
	store(ring, VMSG_XEN_IF_RING_PAGE_ORDER, order);
	for (i = 0; i < 1U << order; i++)
		store(ring, VMSG_XEN_IF_RING_REFS + 4 * i, ring->data_refs[i]);
	return 0;
}

void vmsg_ring_destroy(struct vmsg_ring *ring)
{
	/* Pages that the backend still maps are kept until it lets go of them. */
	if (ring->data)
		xenbus_teardown_ring(&ring->data, 1U << ring->order, ring->data_refs);
	if (ring->page)
		xenbus_teardown_ring(&ring->page, 1, &ring->page_ref);
}

/* Free bytes of the out direction, or -EPROTO. */
static int out_room(struct vmsg_ring *ring)
{
	/* Acquire: bytes are overwritten only after the backend is done with them. */
	u32 cons = le32_to_cpu(virt_load_acquire(word(ring, VMSG_XEN_IF_OUT_CONS)));
	u32 used = ring->out_prod - cons;

	if (used > ring->size || used % VMSG_XEN_MSG_ALIGN)
		return -EPROTO;
	return ring->size - used;
}

int vmsg_ring_push(struct vmsg_ring *ring, const void *frame, u32 size)
{
	u32 space = space_of(size);
	u32 most = space_of(ring->max_message);
	u32 at = ring->out_prod & (ring->size - 1);
	u32 first = min(size, ring->size - at);
	void *out = ring->data + ring->size;
	int room = out_room(ring);

	if (room < 0)
		return room;
	if (room < space) {
		store(ring, VMSG_XEN_IF_OUT_CONS_EVENT,
		      ring->out_prod + most - ring->size - VMSG_XEN_MSG_ALIGN);
		/* Pairs with the backend's barrier between its index and its look at our event. */
		virt_mb();
		room = out_room(ring);
		if (room < 0)
			return room;
		if (room < space)
			return -ENOSPC;
	}
	memcpy(out + at, frame, first);
	memcpy(out, frame + first, size - first);
	ring->out_prod += space;
	return 0;
}

bool vmsg_ring_publish(struct vmsg_ring *ring)
{
	u32 old = ring->out_published;

	if (ring->out_prod == old)
		return false;
	/* The frames are there before the index says so. */
	virt_store_release(word(ring, VMSG_XEN_IF_OUT_PROD), cpu_to_le32(ring->out_prod));
	ring->out_published = ring->out_prod;
	/* Either the backend sees the index before it sleeps, or we see its event. */
	virt_mb();
	return passes(ring->out_prod, old, load(ring, VMSG_XEN_IF_OUT_PROD_EVENT));
}

/* Bytes waiting in the in direction, or -EPROTO. */
static int in_waiting(struct vmsg_ring *ring)
{
	/* The frames are read after the index. */
	u32 prod = le32_to_cpu(virt_load_acquire(word(ring, VMSG_XEN_IF_IN_PROD)));
	u32 waiting = prod - ring->in_cons;

	if (waiting > ring->size || waiting % VMSG_XEN_MSG_ALIGN)
		return -EPROTO;
	return waiting;
}

int vmsg_ring_pop(struct vmsg_ring *ring, void *frame)
{
	u32 at = ring->in_cons & (ring->size - 1);
	u32 copied, first;
	int waiting = in_waiting(ring);
	u16 size;

	if (waiting <= 0)
		return waiting;
	/*
	 * Frames start at multiples of 8, so a header never wraps. The size may change between this
	 * look and the copy: what counts is that the copy stays inside, and that the size in the
	 * copy is made to be this one.
	 */
	size = le16_to_cpu(READ_ONCE(*(__le16 *)(ring->data + at + VIRTIO_MSG_HDR_MSG_SIZE)));
	if (size < VIRTIO_MSG_HDR_SIZE || size > ring->max_message || space_of(size) > waiting)
		return -EPROTO;
	copied = size;
	first = min(copied, ring->size - at);
	memcpy(frame, ring->data + at, first);
	memcpy(frame + first, ring->data, copied - first);
	put_unaligned_le16(size, frame + VIRTIO_MSG_HDR_MSG_SIZE);
	ring->in_cons += space_of(size);
	return size;
}

bool vmsg_ring_release(struct vmsg_ring *ring)
{
	u32 old = ring->in_published;

	if (ring->in_cons == old)
		return false;
	/* The frames have been read before the index lets the backend write there. */
	virt_store_release(word(ring, VMSG_XEN_IF_IN_CONS), cpu_to_le32(ring->in_cons));
	ring->in_published = ring->in_cons;
	/* Either the backend sees the room before it waits for it, or we see its event. */
	virt_mb();
	return passes(ring->in_cons, old, load(ring, VMSG_XEN_IF_IN_CONS_EVENT));
}

bool vmsg_ring_arm(struct vmsg_ring *ring)
{
	store(ring, VMSG_XEN_IF_IN_PROD_EVENT, ring->in_cons);
	/* Pairs with the backend's barrier between its index and its look at our event. */
	virt_mb();
	return in_waiting(ring) != 0;
}
