// SPDX-License-Identifier: GPL-2.0
/*
 * DMA operations: a DMA address is bit 63, a grant reference and an offset in the page. Several
 * pages get consecutive references.
 *
 * Whole pages are granted for as long as they are in use, other buffers are copied through the pool
 * of the bus: the rest of their pages, other objects of the kernel often, is no business of the
 * backend's. Parameter bounce.
 *
 * A page that the backend still holds when its use is over is never given back to the kernel: its
 * grant and one more reference to the page stay until the backend lets go of them. The backend
 * then had it longer than it may, and the device is given up.
 */
#include <linux/blk_types.h>
#include <linux/dma-map-ops.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/virtio_blk.h>
#include <xen/grant_table.h>
#include <xen/page.h>

#include "vmsg.h"

/*
 * The largest segment: its references are consecutive, and long runs are hard to find in a
 * grant table that others use too.
 */
#define VMSG_MAX_MAPPING SZ_64K

#define VMSG_GRANT_ADDRESS BIT_ULL(VMSG_XEN_ADDR_GRANT_BIT)

/* ---- which page a reference is for ------------------------------------------------------- */

#define VMSG_CHUNK (PAGE_SIZE / sizeof(struct page *))

/* By reference / VMSG_CHUNK: as large as the grant table, filled in where references were used. */
static DEFINE_XARRAY(chunks);

static struct page **granted(grant_ref_t ref)
{
	struct page **chunk = xa_load(&chunks, ref / VMSG_CHUNK);

	return chunk ? chunk + ref % VMSG_CHUNK : NULL;
}

static int note_page(grant_ref_t ref, struct page *page)
{
	unsigned long index = ref / VMSG_CHUNK;
	struct page **slot = granted(ref);
	unsigned long flags;
	void *chunk;
	int err;

	if (!slot) {
		chunk = (void *)get_zeroed_page(GFP_ATOMIC);
		if (!chunk)
			return -ENOMEM;
		xa_lock_irqsave(&chunks, flags);
		err = __xa_insert(&chunks, index, chunk, GFP_ATOMIC);
		xa_unlock_irqrestore(&chunks, flags);
		if (err)
			free_page((unsigned long)chunk);
		if (err && err != -EBUSY)
			return err;
		slot = granted(ref);
	}
	*slot = page;
	return 0;
}

void vmsg_dma_exit(void)
{
	unsigned long index;
	void *chunk;

	xa_for_each(&chunks, index, chunk)
		free_page((unsigned long)chunk);
	xa_destroy(&chunks);
}

/* ---- granting ---------------------------------------------------------------------------- */

static struct vmsg_device *device_of(struct device *dev)
{
	return container_of(dev, struct vmsg_device, dev);
}

static unsigned int pages_of(dma_addr_t address, size_t size)
{
	return XEN_PFN_UP((address & (XEN_PAGE_SIZE - 1)) + size);
}

static grant_ref_t ref_of(dma_addr_t address)
{
	return (address & ~VMSG_GRANT_ADDRESS) >> VMSG_XEN_ADDR_REF_SHIFT;
}

static dma_addr_t grant(struct vmsg_device *device, phys_addr_t start, size_t size,
			enum dma_data_direction direction)
{
	domid_t backend = device->bus->xdev->otherend_id;
	unsigned long pfn = XEN_PFN_DOWN(start);
	unsigned int pages = pages_of(start, size);
	grant_ref_t ref;
	unsigned int i;

	if (WARN_ON_ONCE(direction == DMA_NONE) || test_bit(VMSG_BROKEN, &device->flags))
		return DMA_MAPPING_ERROR;
	if (atomic_add_return(pages, &device->bus->grants) > vmsg_max_grants)
		goto no_grants;
	if (gnttab_alloc_grant_reference_seq(pages, &ref))
		goto no_grants;
	for (i = 0; i < pages; i++)
		if (note_page(ref + i, xen_pfn_to_page(pfn + i)))
			goto no_notes;
	for (i = 0; i < pages; i++)
		gnttab_grant_foreign_access_ref(ref + i, backend, pfn_to_gfn(pfn + i),
						direction == DMA_TO_DEVICE);
	return VMSG_GRANT_ADDRESS | ((u64)ref << VMSG_XEN_ADDR_REF_SHIFT) |
	       (start & (XEN_PAGE_SIZE - 1));

no_notes:
	gnttab_free_grant_reference_seq(ref, pages);
no_grants:
	/* Block devices try again when others have finished, network devices drop a packet. */
	atomic_sub(pages, &device->bus->grants);
	return DMA_MAPPING_ERROR;
}

/* The backend holds it longer than it may: keep a reference of the page for as long. */
static void leave_behind(struct vmsg_device *device, grant_ref_t ref)
{
	struct page *page = *granted(ref);

	get_page(page);
	gnttab_end_foreign_access(ref, page);
	vmsg_device_break(device, "the backend still uses memory that it has given back (grant %u)",
			  ref);
}

static void revoke(struct vmsg_device *device, dma_addr_t address, size_t size)
{
	unsigned int pages = pages_of(address, size);
	grant_ref_t ref = ref_of(address);
	unsigned int i;

	/* Not gnttab_end_foreign_access_ref(), which warns where we go on in good order. */
	for (i = 0; i < pages; i++)
		if (unlikely(!gnttab_try_end_foreign_access(ref + i)))
			leave_behind(device, ref + i);
	atomic_sub(pages, &device->bus->grants);
}

/* ---- through the pool or not -------------------------------------------------------------- */

/* Headers, status bytes, tables of descriptors: objects of drivers that are never granted. */
#define VMSG_SMALL 512

static dma_addr_t map(struct vmsg_device *device, phys_addr_t start, size_t size,
		      enum dma_data_direction direction)
{
	struct vmsg_pool *pool = &device->bus->pool;
	bool is_whole = !((start | size) & (XEN_PAGE_SIZE - 1));
	dma_addr_t address;

	if (pool->pages && (!is_whole || vmsg_bounce == VMSG_BOUNCE_ALL) &&
	    !test_bit(VMSG_BROKEN, &device->flags)) {
		address = vmsg_pool_map(pool, start, size);
		if (address != DMA_MAPPING_ERROR || size < VMSG_SMALL)
			return address;
	}
	return grant(device, start, size, direction);
}

/* A request that the device will never answer has failed: see fault.c. */
static void write_failure(struct vmsg_device *device, dma_addr_t address, size_t size)
{
	dma_addr_t last = address + size - 1;
	u8 *status;

	if (vmsg_pool_has(&device->bus->pool, last))
		status = vmsg_pool_memory(&device->bus->pool, last);
	else
		status = page_address(*granted(ref_of(last))) + (last & (XEN_PAGE_SIZE - 1));
	*status = VIRTIO_BLK_S_IOERR;
}

static void unmap(struct vmsg_device *device, dma_addr_t address, size_t size,
		  enum dma_data_direction direction)
{
	if (test_bit(VMSG_RESCUING, &device->flags) && direction == DMA_FROM_DEVICE &&
	    size < SECTOR_SIZE)
		write_failure(device, address, size);
	if (vmsg_pool_has(&device->bus->pool, address))
		vmsg_pool_unmap(&device->bus->pool, address, size, direction);
	else
		revoke(device, address, size);
	atomic_long_inc(&device->progress);
}

/* ---- the operations ---------------------------------------------------------------------- */

static void *vmsg_dma_alloc(struct device *dev, size_t size, dma_addr_t *address, gfp_t gfp,
			    unsigned long attrs)
{
	void *memory = alloc_pages_exact(size, gfp | __GFP_ZERO);

	if (!memory)
		return NULL;
	*address = grant(device_of(dev), virt_to_phys(memory), PAGE_ALIGN(size), DMA_BIDIRECTIONAL);
	if (*address == DMA_MAPPING_ERROR) {
		free_pages_exact(memory, size);
		return NULL;
	}
	return memory;
}

static void vmsg_dma_free(struct device *dev, size_t size, void *memory, dma_addr_t address,
			  unsigned long attrs)
{
	revoke(device_of(dev), address, PAGE_ALIGN(size));
	free_pages_exact(memory, size);
}

static dma_addr_t vmsg_map_phys(struct device *dev, phys_addr_t start, size_t size,
				enum dma_data_direction direction, unsigned long attrs)
{
	/* The registers of another device are nothing to grant. */
	if (WARN_ON_ONCE(attrs & VMSG_ATTR_MMIO))
		return DMA_MAPPING_ERROR;
	return map(device_of(dev), start, size, direction);
}

#if !VMSG_HAS_MAP_PHYS
static dma_addr_t vmsg_map_page(struct device *dev, struct page *page, unsigned long offset,
				size_t size, enum dma_data_direction direction,
				unsigned long attrs)
{
	return vmsg_map_phys(dev, page_to_phys(page) + offset, size, direction, attrs);
}
#endif

static void vmsg_unmap_phys(struct device *dev, dma_addr_t address, size_t size,
			    enum dma_data_direction direction, unsigned long attrs)
{
	unmap(device_of(dev), address, size, direction);
}

static void vmsg_unmap_sg(struct device *dev, struct scatterlist *list, int count,
			  enum dma_data_direction direction, unsigned long attrs)
{
	struct scatterlist *entry;
	int i;

	for_each_sg(list, entry, count, i)
		vmsg_unmap_phys(dev, sg_dma_address(entry), sg_dma_len(entry), direction, attrs);
}

static int vmsg_map_sg(struct device *dev, struct scatterlist *list, int count,
		       enum dma_data_direction direction, unsigned long attrs)
{
	struct scatterlist *entry;
	int i;

	for_each_sg(list, entry, count, i) {
		entry->dma_address = vmsg_map_phys(dev, sg_phys(entry), entry->length,
						   direction, attrs);
		if (entry->dma_address == DMA_MAPPING_ERROR) {
			vmsg_unmap_sg(dev, list, i, direction, attrs);
			return -EIO;
		}
		sg_dma_len(entry) = entry->length;
	}
	return count;
}

static void vmsg_sync_for_cpu(struct device *dev, dma_addr_t address, size_t size,
			      enum dma_data_direction direction)
{
	struct vmsg_pool *pool = &device_of(dev)->bus->pool;

	if (vmsg_pool_has(pool, address) && direction != DMA_TO_DEVICE)
		vmsg_pool_copy_out(pool, address, size);
}

static void vmsg_sync_for_device(struct device *dev, dma_addr_t address, size_t size,
				 enum dma_data_direction direction)
{
	struct vmsg_pool *pool = &device_of(dev)->bus->pool;

	if (vmsg_pool_has(pool, address) && direction != DMA_FROM_DEVICE)
		vmsg_pool_copy_in(pool, address, size);
}

static int vmsg_dma_supported(struct device *dev, u64 mask)
{
	return mask == DMA_BIT_MASK(64);
}

static u64 vmsg_required_mask(struct device *dev)
{
	return DMA_BIT_MASK(64);
}

static size_t vmsg_max_mapping_size(struct device *dev)
{
	return VMSG_MAX_MAPPING;
}

static const struct dma_map_ops vmsg_dma_ops = {
	.alloc = vmsg_dma_alloc,
	.free = vmsg_dma_free,
#if VMSG_HAS_MAP_PHYS
	.map_phys = vmsg_map_phys,
	.unmap_phys = vmsg_unmap_phys,
#else
	.map_page = vmsg_map_page,
	.unmap_page = vmsg_unmap_phys,
#endif
	.map_sg = vmsg_map_sg,
	.unmap_sg = vmsg_unmap_sg,
	.sync_single_for_cpu = vmsg_sync_for_cpu,
	.sync_single_for_device = vmsg_sync_for_device,
	.dma_supported = vmsg_dma_supported,
	.get_required_mask = vmsg_required_mask,
	.max_mapping_size = vmsg_max_mapping_size,
};

void vmsg_dma_setup(struct device *dev)
{
	set_dma_ops(dev, &vmsg_dma_ops);
	/* In this order: the mask is checked by the operations. */
	WARN_ON(dma_coerce_mask_and_coherent(dev, DMA_BIT_MASK(64)));
}
