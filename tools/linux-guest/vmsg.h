/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio-msg over Xen, driver side.
 *
 *   frontend.c   xenbus: handshake, states, closing, reconnecting
 *   ring.c       the message ring
 *   bus.c        one connection: ring, event channel, what ends it
 *   request.c    requests and their time limits
 *   frames.c     what arrives: responses, events
 *   discovery.c  which devices there are
 *   region.c     the pool, shared for long
 *   device.c     one virtio device: from its number to register_virtio_device()
 *   config.c     its configuration, features and status
 *   queue.c      its queues, event channels
 *   polled.c     queues that are waited for without a pause
 *   dma.c        grants for its buffers
 *   pool.c       the pool that buffers are copied through
 *   fault.c      giving up on it
 *
 * Locks, outermost first: device->queues_mutex, device->call_mutex or bus->call_mutex,
 * bus->in_lock, bus->devices_lock, device->queues_lock, (the locks of virtio drivers,)
 * bus->out_lock, bus->requests_lock. bus->polled_lock is for a moment, within any.
 */
#ifndef VMSG_H
#define VMSG_H

#include <linux/completion.h>
#include <linux/device.h>
#include <linux/hrtimer.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/virtio_ids.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <xen/xenbus.h>

#include "pool.h"
#include "protocol.h"
#include "ring.h"

struct vmsg_device;

/* Where we are with the backend. */
enum vmsg_phase {
	VMSG_IDLE,		/* nothing is shared */
	VMSG_OFFERED,		/* the ring is shared, the backend has not taken it up */
	VMSG_CONNECTED,
};

struct vmsg_bus {
	struct xenbus_device *xdev;
	struct kref kref;
	struct workqueue_struct *wq;

	/* The states: touched by state_work, and by removal once that is stopped. */
	struct work_struct state_work;
	enum vmsg_phase phase;
	bool stopping;

	/* The connection. */
	struct vmsg_ring ring;
	bool has_queue_channels;
	bool has_regions;
	bool is_pool_shared;		/* or the backend did not want to: it was asked */
	int irq;
	evtchn_port_t port;		/* of the same event channel */
	bool is_up;			/* written with all of the locks below held */
	atomic_t failed;		/* the ring is of no more use */

	spinlock_t in_lock;		/* the in direction, in_frame */
	u8 *in_frame;
	struct work_struct take_work;	/* goes on where an interrupt had enough */

	spinlock_t out_lock;		/* the out direction, kicks */
	struct list_head kicks;		/* queues whose EVENT_AVAIL waits for room */
	wait_queue_head_t room;

	spinlock_t requests_lock;	/* who waits for a response */
	struct list_head requests;
	u16 last_token;

	spinlock_t polled_lock;		/* queues that polled_timer looks after */
	struct list_head polled;
	struct hrtimer polled_timer;	/* runs while one of them waits: */
	bool is_polling;

	struct mutex call_mutex;	/* one bus request at a time, with these: */
	u8 *request;
	u8 *response;

	/* The devices. */
	struct work_struct scan_work;
	bool scanned;
	struct xarray devices;		/* written by scan_work, and by closing once that is idle */
	spinlock_t devices_lock;	/* for looking up and using a device without a reference */
	unsigned long *present;		/* what the backend lists: a bit for each number */
	struct vmsg_pool pool;		/* for their buffers, as long as the bus is open */
	atomic_t grants;		/* in use by their other buffers and queues */
};

struct vmsg_queue {
	struct virtqueue *vq;
	struct vmsg_device *device;
	struct list_head kick;		/* in bus->kicks, or empty */
	bool is_polled;			/* its driver waits for it without a pause */
	struct list_head polled;	/* in bus->polled, or empty */
	unsigned int looks;		/* of the timer since the last notification */
	int irq;			/* of its own event channel, or 0 */
	unsigned long progress;		/* device->progress at its last interrupt */
	char irq_name[32];
};

enum {
	VMSG_GONE,		/* the device is no longer there, or cannot be asked */
	VMSG_LATE,		/* a command was not answered in time */
	VMSG_BROKEN,		/* it is not to be used: nothing but a reset is sent */
	VMSG_LIVE,		/* DRIVER_OK is set or about to be: events count */
	VMSG_RESCUING,		/* buffers are taken back unused */
	VMSG_EJECT,		/* the backend asks for it */
	VMSG_EJECTED,		/* it was given up and is about to be removed */
	VMSG_FROZEN,		/* its driver has let go of it until the machine goes on */
};

struct vmsg_device {
	struct device dev;		/* parent of vdev: has the DMA operations */
	struct virtio_device vdev;
	struct vmsg_bus *bus;
	u16 number;
	unsigned long flags;
	u32 config_size;
	u32 feature_blocks;
	u32 max_queues;
	u32 generation;			/* of the latest configuration that we heard of */

	struct mutex call_mutex;	/* one request at a time, with these: */
	u8 *request;
	u8 *response;

	struct mutex queues_mutex;	/* creating, deleting, rescuing */
	spinlock_t queues_lock;		/* for using a queue from the ring's interrupt */
	struct vmsg_queue **queues;	/* by index; NULL where there is none */
	u32 queue_count;

	struct work_struct config_work;
	struct work_struct fault_work;

	atomic_long_t progress;		/* buffers given back by the backend */
};

static inline struct vmsg_device *to_vmsg_device(struct virtio_device *vdev)
{
	return container_of(vdev, struct vmsg_device, vdev);
}

/* Module parameters. */
extern unsigned int vmsg_request_timeout;	/* s */
extern unsigned int vmsg_reset_timeout;		/* s */
extern unsigned int vmsg_ring_page_order;
extern unsigned int vmsg_max_queue_size;
extern bool vmsg_queue_channels;
extern unsigned int vmsg_max_grants;
extern unsigned int vmsg_pool_pages;
extern unsigned int vmsg_bounce;
extern bool vmsg_share_pool;

enum {
	VMSG_BOUNCE_NONE,
	VMSG_BOUNCE_PARTIAL,	/* what does not fill its pages */
	VMSG_BOUNCE_ALL,
};

/* frontend.c */
int vmsg_frontend_register(void);
void vmsg_frontend_unregister(void);

/* bus.c */
struct vmsg_bus *vmsg_bus_create(struct xenbus_device *xdev);
void vmsg_bus_put(struct vmsg_bus *bus);
/* Shares a ring of @order with an event channel, whose port for the backend goes to @port. */
int vmsg_bus_open(struct vmsg_bus *bus, unsigned int order, u32 max_message,
		  evtchn_port_t *port);
/* From here on frames are taken and sent. */
void vmsg_bus_start(struct vmsg_bus *bus);
/* No frame is taken or sent any more, no request waits. */
void vmsg_bus_stop(struct vmsg_bus *bus);
/* Takes the ring back. */
void vmsg_bus_close(struct vmsg_bus *bus);
/* The backend broke the ring: the connection is closed by state_work. In any context. */
void vmsg_bus_fail(struct vmsg_bus *bus, const char *why);
/* Sends a frame: 0, -ENOSPC (bus->room wakes) or -ENODEV. In any context. */
int vmsg_bus_send(struct vmsg_bus *bus, const void *frame);
/* Sends EVENT_AVAIL, at the latest when there is room. In any context. */
void vmsg_bus_kick(struct vmsg_queue *queue);
void vmsg_bus_forget_kick(struct vmsg_queue *queue);
/* What waited for room may go on: whether anything did. */
bool vmsg_bus_flush(struct vmsg_bus *bus);

/* request.c */
/*
 * Sends a request and waits for its response, of at least @min_payload bytes behind the header, or
 * for the time limit. @response holds max_message bytes.
 */
int vmsg_bus_call(struct vmsg_bus *bus, void *frame, void *response, u16 min_payload);
void vmsg_bus_complete(struct vmsg_bus *bus, const void *frame);
void vmsg_bus_fail_requests(struct vmsg_bus *bus);
void vmsg_bus_fail_requests_of(struct vmsg_bus *bus, u16 device);

/* frames.c */
/* Takes what is there, but not more than the ring holds: whether anything was, and is left. */
bool vmsg_bus_take(struct vmsg_bus *bus, bool *is_more);

/* discovery.c */
void vmsg_scan(struct work_struct *work);
void vmsg_remove_all_devices(struct vmsg_bus *bus);

/* region.c */
/* Lets the backend keep the pool mapped, if it wants to. */
void vmsg_share_pool_region(struct vmsg_bus *bus);

/* device.c */
/* Learns what the device is. */
struct vmsg_device *vmsg_device_create(struct vmsg_bus *bus, u16 number);
/* Makes it known to virtio. */
int vmsg_device_register(struct vmsg_device *device);
/* After vmsg_device_freeze, when there is a connection (again): its driver goes on. */
void vmsg_device_thaw(struct vmsg_device *device);
/* No more of it, whatever uses it. */
void vmsg_device_remove(struct vmsg_device *device);

/* config.c */
extern const struct virtio_config_ops vmsg_config_ops;
/* A request to the device with device->request and ->response, call_mutex held. */
int vmsg_device_call(struct vmsg_device *device, u8 id, u16 payload, u16 min_response);
void vmsg_config_changed(struct work_struct *work);

/* queue.c */
VMSG_FIND_VQS(vmsg_find_vqs);
void vmsg_del_vqs(struct virtio_device *vdev);
void vmsg_synchronize_cbs(struct virtio_device *vdev);
int vmsg_set_vq_affinity(struct virtqueue *vq, const struct cpumask *mask);
/* The backend has used buffers of this queue, it says. Interrupts off. */
void vmsg_queue_used(struct vmsg_device *device, u32 index);

static inline bool vmsg_is_console_output(struct virtqueue *vq)
{
	return vq->vdev->id.device == VIRTIO_ID_CONSOLE && vq->index % 2;
}

/* polled.c */
void vmsg_polled_init(struct vmsg_bus *bus);
void vmsg_polled_exit(struct vmsg_bus *bus);
void vmsg_polled_add(struct vmsg_queue *queue, bool has_callback);
void vmsg_polled_remove(struct vmsg_queue *queue);
/* Before a notification of such a queue: false if nobody would answer. In any context. */
bool vmsg_polled_kick(struct vmsg_queue *queue);

/* fault.c */
/* The device is of no more use, for good. In any context. */
__printf(2, 3) void vmsg_device_break(struct vmsg_device *device, const char *format, ...);
void vmsg_fault(struct work_struct *work);
/* What is left in the queues of a virtio_console that goes: after its reset. */
void vmsg_empty_console(struct vmsg_device *device);
/* Whether somebody would lose data with it. */
bool vmsg_device_is_in_use(struct vmsg_device *device);

/* dma.c */
void vmsg_dma_exit(void);
void vmsg_dma_setup(struct device *dev);

#endif
