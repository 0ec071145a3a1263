/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The message ring: two byte rings of one direction each, shared with the backend. Moves frames
 * and knows only their length. Whatever the backend writes is read once and checked.
 *
 * Not locked: the bus has a lock for each direction.
 */
#ifndef VMSG_RING_H
#define VMSG_RING_H

#include <linux/types.h>
#include <xen/grant_table.h>
#include <xen/xenbus.h>

struct vmsg_ring {
	void *page;		/* the interface page */
	void *data;		/* both directions: in, then out */
	u32 size;		/* bytes of one direction, a power of two */
	u32 max_message;
	unsigned int order;
	grant_ref_t page_ref;
	grant_ref_t data_refs[XENBUS_MAX_RING_GRANTS];

	/* Indices of ours are never read back: the backend can write there. */
	u32 out_prod;
	u32 out_published;
	u32 in_cons;
	u32 in_published;
};

int vmsg_ring_create(struct vmsg_ring *ring, struct xenbus_device *xdev,
		     unsigned int order);
void vmsg_ring_destroy(struct vmsg_ring *ring);

/*
 * Puts a frame into the out direction: 0, -ENOSPC (an event will tell when the largest frame has
 * room) or -EPROTO. The backend sees it from vmsg_ring_publish() on.
 */
int vmsg_ring_push(struct vmsg_ring *ring, const void *frame, u32 size);
/* Hands over what was pushed; whether the backend is to be notified. */
bool vmsg_ring_publish(struct vmsg_ring *ring);

/*
 * Copies the next frame of the in direction into @frame, which holds max_message bytes: its size, 0
 * when there is none, or -EPROTO.
 */
int vmsg_ring_pop(struct vmsg_ring *ring, void *frame);
/* Gives back what was popped; whether the backend is to be notified. */
bool vmsg_ring_release(struct vmsg_ring *ring);
/* Asks for an event at the next frame; whether there is one already. */
bool vmsg_ring_arm(struct vmsg_ring *ring);

#endif
