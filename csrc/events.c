/* events.c: what a call reports to Python, packed one behind the other in the caller's buffer:
 *
 *   kind(1) flags(1) zero(2) req(4, native) length(4, native) body */
#include "internal.h"

#include <string.h>

static void store_u32(uint8_t *p, uint32_t v) { memcpy(p, &v, sizeof v); }

uint8_t *ssbi_event(ssbi_events *e, uint8_t kind, uint8_t flags, int32_t req, size_t n) {
    const size_t size = SSB_EVENT_HEAD + n;
    uint8_t *p = e->at + e->n;
    if (e->left == 0 || size > e->room - e->n) {
        e->need = size;
        return NULL;
    }
    e->left--;
    p[0] = kind;
    p[1] = flags;
    p[2] = p[3] = 0;
    store_u32(p + 4, (uint32_t)req);
    store_u32(p + 8, (uint32_t)n);
    e->n += size;
    e->chunk = kind == SSB_EV_CHUNK ? p : NULL;
    return p + SSB_EVENT_HEAD;
}

size_t ssbi_chunk(ssbi_events *e, int32_t req, const uint8_t *data, size_t n) {
    uint32_t have = 0, last = ~(uint32_t)req;
    if (e->chunk != NULL) memcpy(&last, e->chunk + 4, sizeof last);
    if (last == (uint32_t)req) {
        const size_t k = smaller(n, e->room - e->n);
        memcpy(&have, e->chunk + 8, sizeof have);
        if (k > 0) memcpy(e->at + e->n, data, k);
        store_u32(e->chunk + 8, have + (uint32_t)k);
        e->n += k;
        return k;
    }
    const size_t room = e->room - e->n;
    const size_t k = room > SSB_EVENT_HEAD ? smaller(n, room - SSB_EVENT_HEAD) : smaller(n, 1);
    uint8_t *body = ssbi_event(e, SSB_EV_CHUNK, SSB_STREAM, req, k);
    if (body == NULL) return 0;
    memcpy(body, data, k);
    return k;
}
