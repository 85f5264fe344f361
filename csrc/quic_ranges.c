/* quic_ranges.c: sets of numbers as ascending ranges with gaps between them. Nearly all that comes is at the upper end,
 * so that is where every search begins. */
#include "quic.h"

#include <string.h>

/* How many ranges begin at or below `value`. */
static uint32_t count_below(const ssbi_ranges *r, uint64_t value) {
    uint32_t i = r->n;
    while (i > 0 && r->at[i - 1].first > value) i--;
    return i;
}

static void replace(ssbi_ranges *r, uint32_t from, uint32_t to, const ssb_quic_range *with, uint32_t count) {
    memmove(r->at + from + count, r->at + to, (r->n - to) * sizeof r->at[0]);
    if (count > 0) memcpy(r->at + from, with, count * sizeof r->at[0]);
    r->n = r->n - (to - from) + count;
}

int ssbi_ranges_add(ssbi_ranges *r, uint64_t first, uint64_t end) {
    ssb_quic_range whole = {first, end};
    if (first >= end) return SSB_OK;
    uint32_t from = count_below(r, first);
    if (from > 0 && r->at[from - 1].end >= first) from--;
    uint32_t to = from;
    while (to < r->n && r->at[to].first <= end) to++;
    if (to > from) {
        whole.first = lesser(first, r->at[from].first);
        whole.end = greater(end, r->at[to - 1].end);
    } else if (r->n == SSBI_RANGES) {
        return SSB_FULL;
    }
    replace(r, from, to, &whole, 1);
    return SSB_OK;
}

void ssbi_ranges_remove(ssbi_ranges *r, uint64_t first, uint64_t end) {
    ssb_quic_range rest[2];
    uint32_t count = 0;
    if (first >= end) return;
    uint32_t from = count_below(r, first);
    if (from > 0 && r->at[from - 1].end > first) from--;
    uint32_t to = from;
    while (to < r->n && r->at[to].first < end) to++;
    if (to == from) return;
    if (r->at[from].first < first) rest[count++] = (ssb_quic_range){r->at[from].first, first};
    if (r->at[to - 1].end > end) rest[count++] = (ssb_quic_range){end, r->at[to - 1].end};
    if (r->n - (to - from) + count > SSBI_RANGES) return;
    replace(r, from, to, rest, count);
}

int ssbi_ranges_has(const ssbi_ranges *r, uint64_t value) {
    const uint32_t i = count_below(r, value);
    return i > 0 && value < r->at[i - 1].end;
}

void ssbi_ranges_drop(ssbi_ranges *r, uint32_t count) { replace(r, 0, count, NULL, 0); }
