/* quic_pages.c: what streams receive lies in pages of one pool. A stream has a place for each page that its window can
 * touch; a page is lent when its first byte comes and given back when its last one is done with. */
#include "quic.h"

#include <string.h>

static uint8_t *bytes(const ssbi_pages *p, uint16_t page) {
    return p->pages + (size_t)(page - 1) * SSB_QUIC_PAGE;
}

static uint16_t lend(ssbi_pages *p) {
    uint16_t page = p->free;
    if (page != 0) p->free = p->next[page - 1];
    else if (p->fresh <= p->count) page = (uint16_t)p->fresh++;
    if (page != 0) p->lent++;
    return page;
}

static void give_back(ssbi_pages *p, uint16_t *slot) {
    if (*slot == 0) return;
    p->next[*slot - 1] = p->free;
    p->free = *slot;
    *slot = 0;
    p->lent--;
}

static uint16_t *slot_of(const ssbi_ring *r, uint64_t offset) { return &r->slots[offset / SSB_QUIC_PAGE % r->n]; }

size_t ssbi_ring_put(ssbi_pages *p, ssbi_ring *r, uint64_t offset, const uint8_t *data, size_t n) {
    size_t done = 0;
    while (done < n) {
        uint16_t *slot = slot_of(r, offset + done);
        const size_t at = (size_t)((offset + done) % SSB_QUIC_PAGE);
        const size_t k = smaller(n - done, SSB_QUIC_PAGE - at);
        if (*slot == 0 && (*slot = lend(p)) == 0) break;
        memcpy(bytes(p, *slot) + at, data + done, k);
        done += k;
    }
    return done;
}

void ssbi_ring_get(const ssbi_pages *p, const ssbi_ring *r, uint64_t offset, uint8_t *out, size_t n) {
    while (n > 0) {
        const size_t at = (size_t)(offset % SSB_QUIC_PAGE), k = smaller(n, SSB_QUIC_PAGE - at);
        memcpy(out, bytes(p, *slot_of(r, offset)) + at, k);
        offset += k;
        out += k;
        n -= k;
    }
}

void ssbi_ring_drop(ssbi_pages *p, ssbi_ring *r, uint64_t from, uint64_t to) {
    for (uint64_t page = from / SSB_QUIC_PAGE; page < to / SSB_QUIC_PAGE; page++)
        give_back(p, &r->slots[page % r->n]);
}

void ssbi_ring_clear(ssbi_pages *p, ssbi_ring *r) {
    for (uint32_t i = 0; i < r->n; i++) give_back(p, &r->slots[i]);
}
