/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A pool of pages that the backend may hold on to as long as the bus is connected. Buffers are
 * copied through it: no grant is made or ended for them, and the backend never sees what else is
 * in the pages of a buffer.
 *
 * Not locked: everything but creating and destroying may be called in any context at any time.
 */
#ifndef VMSG_POOL_H
#define VMSG_POOL_H

#include <linux/dma-direction.h>
#include <linux/types.h>
#include <xen/grant_table.h>
#include <xen/page.h>

struct gen_pool;

struct vmsg_pool {
	struct gen_pool *slots;
	void *memory;
	dma_addr_t base;
	unsigned int pages;	/* 0: there is no pool */
	grant_ref_t ref;	/* of the first page, the others follow */
	phys_addr_t *origins;	/* by slot: what it stands for */
};

int vmsg_pool_create(struct vmsg_pool *pool, domid_t backend, unsigned int pages);
void vmsg_pool_destroy(struct vmsg_pool *pool);

static inline bool vmsg_pool_has(const struct vmsg_pool *pool, dma_addr_t address)
{
	return address - pool->base < (u64)pool->pages * XEN_PAGE_SIZE;
}

/* DMA_MAPPING_ERROR when it is full. */
dma_addr_t vmsg_pool_map(struct vmsg_pool *pool, phys_addr_t origin, size_t size);
void vmsg_pool_unmap(struct vmsg_pool *pool, dma_addr_t address, size_t size,
		     enum dma_data_direction direction);
/* What the backend sees from here on is what the buffer has now; and the other way round. */
void vmsg_pool_copy_in(struct vmsg_pool *pool, dma_addr_t address, size_t size);
void vmsg_pool_copy_out(struct vmsg_pool *pool, dma_addr_t address, size_t size);
/* Where the backend sees it. */
void *vmsg_pool_memory(struct vmsg_pool *pool, dma_addr_t address);

#endif
