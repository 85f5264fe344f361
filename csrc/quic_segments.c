/* quic_segments.c: what a stream sends lies in memory of the caller's, piece by piece; nothing is copied but into
 * packets. A piece is given back when its last byte is acknowledged, or when the stream gives up. */
#include "quic.h"

#include <string.h>

static ssbi_segment *segment(const ssbi_segments *r, uint32_t i) { return &r->at[i & r->mask]; }

uint32_t ssbi_segments_held(const ssbi_segments *r) { return r->last - r->first; }

void ssbi_segments_put(ssbi_segments *r, const uint8_t *data, size_t n, uint64_t end) {
    *segment(r, r->last++) = (ssbi_segment){data + n, end};
}

/* The segment that holds the byte at `offset`; there is one. */
static uint32_t find(const ssbi_segments *r, uint64_t offset) {
    uint32_t low = r->first, high = r->last - 1;
    while (low != high) {
        const uint32_t middle = low + (high - low) / 2;
        if (segment(r, middle)->end > offset) high = middle;
        else low = middle + 1;
    }
    return low;
}

void ssbi_segments_get(const ssbi_segments *r, uint64_t offset, uint8_t *out, size_t n) {
    for (uint32_t i = n > 0 ? find(r, offset) : 0; n > 0; i++) {
        const ssbi_segment *s = segment(r, i);
        const size_t left = (size_t)(s->end - offset), k = smaller(n, left);
        memcpy(out, s->stop - left, k);
        offset += k;
        out += k;
        n -= k;
    }
}

uint32_t ssbi_segments_drop(ssbi_segments *r, uint64_t to) {
    const uint32_t before = r->first;
    while (r->first != r->last && segment(r, r->first)->end <= to) *segment(r, r->first++) = (ssbi_segment){NULL, 0};
    return r->first - before;
}
