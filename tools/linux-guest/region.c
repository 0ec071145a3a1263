// SPDX-License-Identifier: GPL-2.0
/*
 * The pool as a shared region: the backend may map it once and for as long as the connection lasts.
 * Its grants do not end before the connection does, so it is never taken back by a message.
 */
#include "vmsg.h"

#define VMSG_POOL_REGION 0

void vmsg_share_pool_region(struct vmsg_bus *bus)
{
	u32 status;
	int err;

	if (!bus->has_regions || !bus->pool.pages || bus->is_pool_shared)
		return;
	mutex_lock(&bus->call_mutex);
	vmsg_put_header(bus->request, VIRTIO_MSG_TYPE_BUS, VMSG_XEN_SHARE_REGION, 0, 16);
	vmsg_put32(bus->request, 0, VMSG_POOL_REGION);
	vmsg_put32(bus->request, 4, bus->pool.pages);
	vmsg_put64(bus->request, 8, bus->pool.base);
	err = vmsg_bus_call(bus, bus->request, bus->response, 8);
	status = vmsg_get32(bus->response, 4);
	mutex_unlock(&bus->call_mutex);
	if (err)
		return;
	/* Without it everything works as well: the pages are granted all the same. */
	if (status != VMSG_XEN_REGION_OK)
		dev_info(&bus->xdev->dev, "the backend does not keep the pool mapped (status %u)\n",
			 status);
	bus->is_pool_shared = true;
}
