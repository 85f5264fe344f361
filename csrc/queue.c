/* queue.c: first-in first-out queues of bytes in slabs. An empty queue holds no slab. */
#include "internal.h"

#include <string.h>

/* Slabs count from 1, so that 0 can say "none". */
static ssb_slab_info *info(const ssb_hub *h, uint32_t slab) { return &h->_info[slab - 1]; }
static uint8_t *bytes(const ssb_hub *h, uint32_t slab) { return h->_slabs + (size_t)(slab - 1) * SSB_SLAB; }
static size_t filled(const ssb_slab_info *i) { return (size_t)(i->end - i->start); }

uint32_t ssbi_slabs_for(size_t n) { return (uint32_t)(n / SSB_SLAB + (n % SSB_SLAB != 0)); }

/* Lend a slab and put it behind the queue. The caller has checked that there is one. */
static void grow(ssb_hub *h, ssb_queue *q) {
    uint32_t slab = h->_free;
    if (slab != 0) h->_free = info(h, slab)->next;
    else slab = h->_fresh++;
    *info(h, slab) = (ssb_slab_info){0, 0, 0, 0};
    if (q->_last != 0) info(h, q->_last)->next = slab;
    else q->_first = slab;
    q->_last = slab;
    q->_slabs++;
    h->_lent++;
}

static void shrink(ssb_hub *h, ssb_queue *q) {
    const uint32_t slab = q->_first;
    q->_first = info(h, slab)->next;
    if (q->_first == 0) q->_last = 0;
    q->_slabs--;
    *info(h, slab) = (ssb_slab_info){h->_free, 1, 0, 0}; /* marked as free */
    h->_free = slab;
    h->_lent--;
}

int ssbi_append(ssb_hub *h, ssb_queue *q, const uint8_t *data, size_t n) {
    size_t room = 0;
    if (q->_last != 0 && info(h, q->_last)->whole == 0) room = SSB_SLAB - (size_t)info(h, q->_last)->end;
    if (n > room && ssbi_slabs_for(n - room) > ssbi_slabs_free(h)) return SSB_FULL;
    q->_bytes += n;
    while (n > 0) {
        if (room == 0) {
            grow(h, q);
            room = SSB_SLAB;
        }
        ssb_slab_info *i = info(h, q->_last);
        const size_t k = smaller(n, room);
        memcpy(bytes(h, q->_last) + i->end, data, k);
        i->end = (uint16_t)(i->end + k);
        data += k;
        n -= k;
        room -= k;
    }
    return SSB_OK;
}

const uint8_t *ssbi_front(const ssb_hub *h, const ssb_queue *q, size_t *n) {
    const ssb_slab_info *i = info(h, q->_first);
    *n = filled(i);
    return bytes(h, q->_first) + i->start;
}

void ssbi_copy(const ssb_hub *h, const ssb_queue *q, uint8_t *out, size_t n) {
    for (uint32_t slab = q->_first; n > 0; slab = info(h, slab)->next) {
        const ssb_slab_info *i = info(h, slab);
        const size_t k = smaller(n, filled(i));
        memcpy(out, bytes(h, slab) + i->start, k);
        out += k;
        n -= k;
    }
}

void ssbi_drop(ssb_hub *h, ssb_queue *q, size_t n) {
    q->_bytes -= n;
    while (n > 0) {
        ssb_slab_info *i = info(h, q->_first);
        const size_t k = smaller(n, filled(i));
        i->start = (uint16_t)(i->start + k);
        n -= k;
        if (i->start == i->end) shrink(h, q);
    }
}

void ssbi_keep(ssb_hub *h, ssb_queue *q, size_t n) {
    ssb_queue rest = {0, 0, 0, 0};
    uint32_t slab = q->_first;
    uint32_t kept = 1;
    size_t left = n;
    if (n == 0) {
        ssbi_drop(h, q, (size_t)q->_bytes);
        return;
    }
    for (; left > filled(info(h, slab)); slab = info(h, slab)->next, kept++) left -= filled(info(h, slab));
    info(h, slab)->end = (uint16_t)(info(h, slab)->start + left);
    rest._first = info(h, slab)->next;
    rest._last = rest._first != 0 ? q->_last : 0;
    rest._slabs = q->_slabs - kept;
    info(h, slab)->next = 0;
    q->_last = slab;
    q->_slabs = kept;
    q->_bytes = n;
    while (rest._first != 0) shrink(h, &rest);
}

void ssbi_move(ssb_hub *h, ssb_queue *to, ssb_queue *from) {
    if (from->_first == 0) return;
    if (to->_last != 0) info(h, to->_last)->next = from->_first;
    else to->_first = from->_first;
    to->_last = from->_last;
    to->_slabs += from->_slabs;
    to->_bytes += from->_bytes;
    *from = (ssb_queue){0, 0, 0, 0};
}

void ssbi_prepend(ssb_hub *h, ssb_queue *to, ssb_queue *from) {
    ssbi_move(h, from, to);
    *to = *from;
    *from = (ssb_queue){0, 0, 0, 0};
}

void ssbi_mark_whole(ssb_hub *h, const ssb_queue *q) {
    uint32_t mark = (uint32_t)q->_bytes;
    for (uint32_t slab = q->_first; slab != 0; slab = info(h, slab)->next, mark = WHOLE_REST)
        info(h, slab)->whole = mark;
}

size_t ssbi_plain_run(const ssb_hub *h, const ssb_queue *q, size_t max) {
    size_t n = 0;
    for (uint32_t slab = q->_first; slab != 0 && n < max && info(h, slab)->whole == 0; slab = info(h, slab)->next)
        n += filled(info(h, slab));
    return smaller(n, max);
}
