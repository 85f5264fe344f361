/* hub.c: the pool of slabs and the list of links that have something to send.
 *
 * memory: ssb_slab_info[count] | padding to 4096 | scratch (17 pages) | slab 1 | slab 2 | …
 * Queues (queue.c) take slabs from here and give them back. */
#include "internal.h"

#include <string.h>

static size_t info_size(size_t slabs) {
    return (slabs * sizeof(ssb_slab_info) + SSB_SLAB - 1) / SSB_SLAB * SSB_SLAB;
}

size_t ssb_hub_size(uint32_t slabs) { return info_size(slabs) + SSB_SCRATCH + (size_t)slabs * SSB_SLAB; }

int ssb_hub_init(ssb_hub *h, uint8_t *mem, size_t mem_n) {
    const size_t least = ssb_hub_size(SSB_SLAB_RESERVE + 1);
    memset(h, 0, sizeof *h);
    if (mem_n < least) return SSB_FULL;
    size_t count = (mem_n - SSB_SCRATCH) / (SSB_SLAB + sizeof(ssb_slab_info));
    if (count >= WHOLE_REST) count = WHOLE_REST - 1;
    if (info_size(count) + SSB_SCRATCH + count * SSB_SLAB > mem_n) count--; /* the padding */
    h->_info = (ssb_slab_info *)(void *)mem;
    h->_scratch = mem + info_size(count);
    h->_slabs = h->_scratch + SSB_SCRATCH;
    h->_count = (uint32_t)count;
    h->_fresh = 1;
    return SSB_OK;
}

uint32_t ssb_hub_lent(const ssb_hub *h) { return h->_lent; }

uint32_t ssbi_slabs_free(const ssb_hub *h) { return h->_count - h->_lent; }

uint32_t ssb_hub_left(const ssb_hub *h) {
    const uint32_t free = ssbi_slabs_free(h);
    return free > SSB_SLAB_RESERVE ? free - SSB_SLAB_RESERVE : 0;
}

uint64_t ssb_hub_outgoing(const ssb_hub *h) { return h->_outgoing; }

int ssbi_pool_shut(const ssb_hub *h) { return ssb_hub_left(h) == 0 && h->_outgoing > 0; }

static int is_free(const ssb_hub *h, uint32_t slab) {
    const ssb_slab_info *i = &h->_info[slab - 1];
    return slab >= h->_fresh || i->end < i->start;
}

void ssb_hub_trim(ssb_hub *h) {
    h->_free = 0;
    while (h->_fresh > 1 && is_free(h, h->_fresh - 1)) h->_fresh--;
    for (uint32_t slab = h->_fresh - 1; slab > 0; slab--) {
        if (!is_free(h, slab)) continue;
        h->_info[slab - 1].next = h->_free;
        h->_free = slab;
    }
}

int ssb_hub_gap(const ssb_hub *h, size_t *at, size_t *n) {
    const size_t base = info_size(h->_count) + SSB_SCRATCH;
    uint32_t slab = *at + *n > base ? (uint32_t)((*at + *n - base) / SSB_SLAB) + 1 : 1;
    while (slab <= h->_count && !is_free(h, slab)) slab++;
    if (slab > h->_count) return 0;
    const uint32_t first = slab;
    while (slab < h->_fresh && is_free(h, slab)) slab++;
    if (slab >= h->_fresh) slab = h->_count + 1;
    *at = base + (size_t)(first - 1) * SSB_SLAB;
    *n = (size_t)(slab - first) * SSB_SLAB;
    return 1;
}

size_t ssb_hub_heavy(const ssb_hub *h, uint64_t slabs, uint32_t *ids, uint64_t *held, size_t most) {
    size_t n = 0;
    for (const ssb_link *l = h->_links; l != NULL && n < most; l = l->_next_link) {
        const uint64_t all = (uint64_t)l->_input._slabs + l->_plain._slabs + l->_assembly._slabs +
                             l->_control._slabs + l->_lane_slabs;
        if (all < slabs) continue;
        ids[n] = l->_id;
        held[n++] = all;
    }
    return n;
}

/* ---------------------------------------------------------------- links with something to send */

void ssbi_link_dirty(ssb_link *l) {
    ssb_hub *h = l->_hub;
    if (l->_dirty) return;
    l->_dirty = 1;
    l->_previous_dirty = h->_dirty_last;
    if (h->_dirty_last != NULL) h->_dirty_last->_next_dirty = l;
    else h->_dirty_first = l;
    h->_dirty_last = l;
}

void ssbi_link_clean(ssb_link *l) {
    ssb_hub *h = l->_hub;
    if (!l->_dirty) return;
    if (l->_previous_dirty != NULL) l->_previous_dirty->_next_dirty = l->_next_dirty;
    else h->_dirty_first = l->_next_dirty;
    if (l->_next_dirty != NULL) l->_next_dirty->_previous_dirty = l->_previous_dirty;
    else h->_dirty_last = l->_previous_dirty;
    l->_next_dirty = l->_previous_dirty = NULL;
    l->_dirty = 0;
}

int64_t ssb_hub_next_dirty(ssb_hub *h) {
    ssb_link *l = h->_dirty_first;
    if (l == NULL) return -1;
    h->_dirty_first = l->_next_dirty;
    if (l->_next_dirty != NULL) l->_next_dirty->_previous_dirty = NULL;
    else h->_dirty_last = NULL;
    l->_next_dirty = NULL;
    l->_dirty = 0;
    return (int64_t)l->_id;
}
