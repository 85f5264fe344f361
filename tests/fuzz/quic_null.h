/* quic_null.h: for targets that fuzz the QUIC engine: packet protection that neither encrypts nor masks, in place of
 * quic_packets.c, and what holds of an engine at any time.
 *
 *   tag = the first byte of the key, 16 times; so a packet of other keys is as forged as it should be */
#ifndef SSBFAST_TESTS_QUIC_NULL_H
#define SSBFAST_TESTS_QUIC_NULL_H

#include "quic.h"

#include "fuzz.h"
#include "kernel.h"

#define UNCHECKED __attribute__((no_sanitize("address")))

void ssbi_quic_set_key(ssbi_quic_keys *k, const uint8_t *key, const uint8_t *iv) {
    (void)iv;
    k->_key[0] = key[0];
}

void ssbi_quic_set_hp(ssbi_quic_keys *k, const uint8_t *hp) { k->_hp[0] = hp[0]; }

void ssbi_quic_seal(const ssbi_quic_keys *k, const ssbi_quic_packet *packets, size_t count) {
    for (size_t i = 0; i < count; i++)
        memset(packets[i].at + packets[i].n - SSBI_QUIC_TAG, k->_key[0], SSBI_QUIC_TAG);
}

void ssbi_quic_unmask(const ssbi_quic_keys *k, ssbi_quic_packet *packets, size_t count, size_t number_at) {
    (void)k;
    for (size_t i = 0; i < count; i++) packets[i].head_n = (uint32_t)number_at + (packets[i].at[0] & 3u) + 1;
}

void ssbi_quic_open(const ssbi_quic_keys *k, ssbi_quic_packet *packets, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const uint8_t *tag = packets[i].at + packets[i].n - SSBI_QUIC_TAG;
        CHECK(packets[i].n >= packets[i].head_n + SSBI_QUIC_TAG);
        packets[i].good = tag[0] == k->_key[0] && tag[SSBI_QUIC_TAG - 1] == k->_key[0];
    }
}

/* Of it the engine wants the numbers that are left out. */
void ssbi_chacha20_portable(const uint32_t *key, const ssb_blocks *blocks, size_t n) {
    for (size_t i = 0; i < n; i++) memset(blocks->out[i], (int)(key[0] + 3 * blocks->number[i]), BLOCK);
}

static void null_wipe(void *p, size_t n) { memset(p, 0, n); }

static const ssb_aead NULL_AEAD = {NULL, NULL, null_wipe, NULL};

/* ---------------------------------------------------------------- what holds at any time */

UNCHECKED static void check_set(const ssbi_ranges *r, uint64_t least, uint64_t most) {
    CHECK(r->n <= SSBI_RANGES);
    for (uint32_t i = 0; i < r->n; i++) {
        CHECK(r->at[i].first < r->at[i].end);
        CHECK(i == 0 || r->at[i - 1].end < r->at[i].first);
    }
    CHECK(r->n == 0 || (r->at[0].first >= least && r->at[r->n - 1].end <= most));
}

/* The ring has pages for bytes in [from, to) alone; `seen` marks pages that others have. */
UNCHECKED static uint32_t check_ring(const ssbi_pages *p, const ssbi_ring *r, uint64_t from, uint64_t to, uint8_t *seen) {
    uint32_t held = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        const uint16_t page = r->slots[i];
        if (page == 0) continue;
        CHECK(page <= p->count && page < p->fresh && !seen[page]);
        seen[page] = 1;
        held++;
    }
    CHECK(held <= to / SSB_QUIC_PAGE - from / SSB_QUIC_PAGE + 1);
    return held;
}

UNCHECKED static void check_pool(const ssbi_pages *p, uint32_t held, uint8_t *seen) {
    uint32_t free_n = 0;
    for (uint16_t page = p->free; page != 0; page = p->next[page - 1], free_n++) {
        CHECK(page <= p->count && page < p->fresh && !seen[page]);
        seen[page] = 1;
    }
    CHECK(held == p->lent && held + free_n == p->fresh - 1);
}

/* Who holds which page: each is lent once, or free. */
UNCHECKED static void check_pages(const ssb_quic *q) {
    static uint8_t seen[1024];
    uint32_t held = 0;
    memset(seen, 0, q->in_pages.fresh + 1);
    for (uint32_t i = 0; i < q->limits.streams; i++) {
        const ssbi_stream *s = &q->streams[i];
        if (q->ids[i] == QUIC_NONE) continue;
        held += check_ring(&q->in_pages, &s->in, s->delivered, s->highest, seen);
    }
    check_pool(&q->in_pages, held, seen);
}

UNCHECKED static void check_stream(const ssb_quic *q, const ssbi_stream *s) {
    CHECK(s->base <= s->next && s->next <= s->written && s->written - s->base <= q->limits.window);
    CHECK(s->delivered <= s->ready && s->ready <= s->highest && s->highest <= s->receive_max && s->highest <= s->final);
    CHECK(s->receive_max - s->delivered <= q->limits.window || !s->receives || s->stopping || s->reset);
    check_set(&s->acked, s->base + 1, s->next);
    check_set(&s->lost, 0, s->next);
    check_set(&s->gaps, s->ready + 1, s->highest);
    CHECK(!s->fin_sent || s->fin);
    CHECK(!s->due || q->any_due);
}

UNCHECKED static void check_flight(const ssb_quic *q) {
    uint64_t flying = 0, bytes = 0, sizes = 0;
    CHECK(q->number - q->oldest <= q->limits.packets && q->oldest <= q->number);
    for (uint64_t n = q->oldest; n < q->number; n++) {
        const ssbi_sent *p = &q->sent[n & (q->limits.packets - 1)];
        if (p->state != SENT_FLYING) continue;
        flying++;
        bytes += p->size;
        sizes += q->items[p->item & q->items_mask].kind == ITEM_MTU;
        CHECK(p->items > 0 && q->item_next - p->item <= q->item_next - q->item_first);
        CHECK(p->time <= q->last_sent && q->last_sent <= q->now);
    }
    CHECK(!q->mtu.flying || sizes > 0);
    CHECK(flying == q->flying && bytes == q->congestion.in_flight);
    CHECK(q->item_next - q->item_first <= q->items_mask + 1);
}

UNCHECKED static void check_engine(const ssb_quic *q) {
    uint64_t unread = 0;
    check_flight(q);
    check_set(&q->received, 0, QUIC_NUMBER_MAX);
    CHECK(q->remote_n > 0 && q->remote_n <= SSB_QUIC_IDS && q->local_n > 0 && q->local_n <= SSB_QUIC_IDS);
    CHECK(q->retires_n <= RETIRES && q->answers_n <= ANSWERS && q->state <= QUIC_OVER && q->asked <= ASKED_SENT);
    CHECK(q->delivered_all <= q->received_all && q->received_all <= q->receive_max);
    CHECK(q->received_all - q->delivered_all <= q->limits.window_all);
    CHECK(q->congestion.datagram >= QUIC_DATAGRAM_LEAST && q->congestion.datagram <= q->limits.datagram_most);
    CHECK(q->congestion.window >= 2 * QUIC_DATAGRAM_LEAST && q->congestion.window <= q->congestion.most);
    for (uint32_t i = 0; i < q->limits.streams; i++) {
        const ssbi_stream *s = &q->streams[i];
        if (q->ids[i] == QUIC_NONE) continue;
        CHECK(q->ids[i] == s->id);
        CHECK(s->sends || s->receives || s->events);
        check_stream(q, s);
        unread += s->highest - s->delivered;
    }
    CHECK(unread == q->received_all - q->delivered_all);
}

#endif
