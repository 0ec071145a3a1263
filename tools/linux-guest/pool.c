// SPDX-License-Identifier: GPL-2.0
#include <linux/dma-mapping.h>
#include <linux/genalloc.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <xen/page.h>

#include "pool.h"
#include "virtio_msg_xen.h"

/* A request of a block device needs three small ones: its header, its table, its status. */
#define VMSG_SLOT_SHIFT 7
#define VMSG_SLOT_SIZE BIT(VMSG_SLOT_SHIFT)

int vmsg_pool_create(struct vmsg_pool *pool, domid_t backend, unsigned int pages)
{
	size_t size = (size_t)pages * XEN_PAGE_SIZE;
	unsigned int i;
	int err = -ENOMEM;

	memset(pool, 0, sizeof(*pool));
	pool->slots = gen_pool_create(VMSG_SLOT_SHIFT, NUMA_NO_NODE);
	pool->memory = vzalloc(size);
	pool->origins = kvcalloc(size / VMSG_SLOT_SIZE, sizeof(*pool->origins), GFP_KERNEL);
	if (!pool->slots || !pool->memory || !pool->origins)
		goto fail;
	err = gnttab_alloc_grant_reference_seq(pages, &pool->ref);
	if (err)
		goto fail;
	pool->base = BIT_ULL(VMSG_XEN_ADDR_GRANT_BIT) |
		     ((u64)pool->ref << VMSG_XEN_ADDR_REF_SHIFT);
	err = gen_pool_add_virt(pool->slots, (unsigned long)pool->memory, pool->base, size,
				NUMA_NO_NODE);
	if (err) {
		gnttab_free_grant_reference_seq(pool->ref, pages);
		goto fail;
	}
	for (i = 0; i < pages; i++) {
		size_t offset = (size_t)i * XEN_PAGE_SIZE;
		struct page *page = vmalloc_to_page(pool->memory + offset);
		unsigned long pfn = page_to_xen_pfn(page) + offset % PAGE_SIZE / XEN_PAGE_SIZE;

		gnttab_grant_foreign_access_ref(pool->ref + i, backend, pfn_to_gfn(pfn), 0);
	}
	pool->pages = pages;
	return 0;

fail:
	vmsg_pool_destroy(pool);
	return err;
}

void vmsg_pool_destroy(struct vmsg_pool *pool)
{
	unsigned int i;

	/* A driver that has leaked a buffer may still use it. */
	if (pool->slots && WARN_ON(gen_pool_avail(pool->slots) != gen_pool_size(pool->slots)))
		return;
	for (i = 0; i < pool->pages; i++) {
		struct page *page = vmalloc_to_page(pool->memory + (size_t)i * XEN_PAGE_SIZE);

		/* A page that the backend still holds stays until it lets go of it. */
		get_page(page);
		gnttab_end_foreign_access(pool->ref + i, page);
	}
	if (pool->slots)
		gen_pool_destroy(pool->slots);
	vfree(pool->memory);
	kvfree(pool->origins);
	memset(pool, 0, sizeof(*pool));
}

static phys_addr_t *origin_of(struct vmsg_pool *pool, dma_addr_t address)
{
	return pool->origins + ((address - pool->base) >> VMSG_SLOT_SHIFT);
}

void *vmsg_pool_memory(struct vmsg_pool *pool, dma_addr_t address)
{
	return pool->memory + (address - pool->base);
}

dma_addr_t vmsg_pool_map(struct vmsg_pool *pool, phys_addr_t origin, size_t size)
{
	unsigned long memory = gen_pool_alloc(pool->slots, size);
	dma_addr_t address;
	size_t done;

	if (!memory)
		return DMA_MAPPING_ERROR;
	address = gen_pool_virt_to_phys(pool->slots, memory);
	for (done = 0; done < size; done += VMSG_SLOT_SIZE)
		*origin_of(pool, address + done) = origin + done;
	/*
	 * Also of what the device only writes: it may write less than there is, and what it leaves
	 * must be as it was. A grant of the page would show it no less.
	 */
	vmsg_pool_copy_in(pool, address, size);
	return address;
}

void vmsg_pool_unmap(struct vmsg_pool *pool, dma_addr_t address, size_t size,
		     enum dma_data_direction direction)
{
	if (direction != DMA_TO_DEVICE)
		vmsg_pool_copy_out(pool, address, size);
	gen_pool_free(pool->slots, (unsigned long)vmsg_pool_memory(pool, address), size);
}

static void copy(struct vmsg_pool *pool, dma_addr_t address, size_t size, bool is_in)
{
	phys_addr_t origin = *origin_of(pool, address) + address % VMSG_SLOT_SIZE;
	void *memory = vmsg_pool_memory(pool, address);

	while (size) {
		struct page *page = pfn_to_page(PHYS_PFN(origin));
		size_t piece = min_t(size_t, size, PAGE_SIZE - offset_in_page(origin));

		if (is_in)
			memcpy_from_page(memory, page, offset_in_page(origin), piece);
		else
			memcpy_to_page(page, offset_in_page(origin), memory, piece);
		memory += piece;
		origin += piece;
		size -= piece;
	}
}

void vmsg_pool_copy_in(struct vmsg_pool *pool, dma_addr_t address, size_t size)
{
	copy(pool, address, size, true);
}

void vmsg_pool_copy_out(struct vmsg_pool *pool, dma_addr_t address, size_t size)
{
	copy(pool, address, size, false);
}
