// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>
#include <xen/xen.h>

#include "vmsg.h"

unsigned int vmsg_request_timeout = 5;
module_param_named(request_timeout, vmsg_request_timeout, uint, 0644);
MODULE_PARM_DESC(request_timeout, "How long a request to the backend may take, in seconds");

unsigned int vmsg_reset_timeout = 10;
module_param_named(reset_timeout, vmsg_reset_timeout, uint, 0644);
MODULE_PARM_DESC(reset_timeout, "How long the reset of a device may take, in seconds");

unsigned int vmsg_ring_page_order = 2;
module_param_named(ring_page_order, vmsg_ring_page_order, uint, 0444);
MODULE_PARM_DESC(ring_page_order, "Size of the message ring, as log2 of pages");

unsigned int vmsg_max_queue_size = 256;
module_param_named(max_queue_size, vmsg_max_queue_size, uint, 0644);
MODULE_PARM_DESC(max_queue_size, "Most entries of a queue");

bool vmsg_queue_channels = true;
module_param_named(queue_channels, vmsg_queue_channels, bool, 0444);
MODULE_PARM_DESC(queue_channels, "Use an event channel for each queue if the backend can");

unsigned int vmsg_max_grants = 8192;
module_param_named(max_grants, vmsg_max_grants, uint, 0644);
MODULE_PARM_DESC(max_grants, "Most grants in use at a time; other drivers of this guest need some too");

unsigned int vmsg_bounce = VMSG_BOUNCE_PARTIAL;
module_param_named(bounce, vmsg_bounce, uint, 0444);
MODULE_PARM_DESC(bounce, "Copy buffers through a pool: 0 none, 1 those that do not fill their pages, 2 all");

unsigned int vmsg_pool_pages = 256;
module_param_named(pool_pages, vmsg_pool_pages, uint, 0444);
MODULE_PARM_DESC(pool_pages, "Size of the pool of a bus, in pages of 4 KiB");

bool vmsg_share_pool = true;
module_param_named(share_pool, vmsg_share_pool, bool, 0444);
MODULE_PARM_DESC(share_pool, "Let the backend keep the pool mapped if it can");

static int __init vmsg_init(void)
{
	if (!xen_domain())
		return -ENODEV;
	return vmsg_frontend_register();
}

static void __exit vmsg_exit(void)
{
	vmsg_frontend_unregister();
	vmsg_dma_exit();
}

module_init(vmsg_init);
module_exit(vmsg_exit);

MODULE_DESCRIPTION("virtio devices over virtio-msg on Xen");
MODULE_LICENSE("GPL");
MODULE_ALIAS("xen:virtio-msg");
