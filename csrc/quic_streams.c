/* quic_streams.c: the table of streams, and what one stream receives.
 *
 *   delivered ≤ ready ≤ highest: read | waits to be read | there, behind gaps
 *
 * A slot is free again once both sides are over and the caller has taken the events. Credit is what was used up and the
 * window; bytes beyond it end the connection, so what waits never takes more pages than the window has. */
#include "quic.h"

#include <string.h>

#define CREDIT_PART 4u /* new credit is told when it is a quarter of the window */

/* ---------------------------------------------------------------- the table */

ssbi_stream *ssbi_find(ssb_quic *q, uint64_t id) {
    if (q->ids[q->recent] == id) return &q->streams[q->recent];
    for (uint32_t i = 0; i < q->limits.streams; i++) {
        if (q->ids[i] != id) continue;
        q->recent = i;
        return &q->streams[i];
    }
    return NULL;
}

ssbi_stream *ssbi_stream_new(ssb_quic *q, uint64_t id) {
    const int ours = is_ours(q, id), uni = is_uni(id);
    for (uint32_t i = 0; i < q->limits.streams; i++) {
        ssbi_stream *s = &q->streams[i];
        if (q->ids[i] != QUIC_NONE) continue;
        q->ids[i] = s->id = id;
        s->generation++;
        s->out = (ssbi_segments){q->segments + (size_t)i * q->limits.segments, q->limits.segments - 1, 0, 0};
        s->in = (ssbi_ring){q->slots + (size_t)i * q->ring_slots, q->ring_slots};
        s->events = 0;
        s->due = 0;
        s->known = !ours;
        s->sends = ours || !uni;
        s->receives = !ours || !uni;
        s->fin = s->fin_sent = s->fin_acked = s->resetting = s->short_of = s->stopping = s->reset = 0;
        s->reset_code = s->stop_code = s->peer_code = 0;
        s->base = s->next = s->written = s->delivered = s->ready = s->highest = s->unread = 0;
        s->window = q->limits.window;
        s->final = QUIC_NONE;
        s->acked.n = s->lost.n = s->gaps.n = 0;
        s->returned = 0;
        const int kind = uni ? 2 : ours ? 0 : 1;
        s->send_max = q->first_send_max[kind];
        s->receive_max = q->first_receive_max[kind];
        return s;
    }
    return NULL;
}

void ssbi_due(ssb_quic *q, ssbi_stream *s, unsigned what) {
    s->due |= (uint8_t)what;
    q->any_due = 1;
}

uint64_t ssbi_credit(const ssbi_stream *s) { return s->delivered - lesser(s->unread, s->delivered) + s->window; }

static void check_stream_credit(ssb_quic *q, ssbi_stream *s) {
    if (!s->receives || s->stopping || s->final != QUIC_NONE || !s->known) return;
    if (ssbi_credit(s) >= s->receive_max + s->window / CREDIT_PART) ssbi_due(q, s, DUE_CREDIT);
}

void ssbi_check_credit(ssb_quic *q) {
    if (q->delivered_all + q->window_all >= q->receive_max + q->window_all / CREDIT_PART)
        q->due_credit = 1;
    for (int uni = 0; uni < 2; uni++) {
        const uint64_t may = q->peer_over[uni] + (uni ? q->limits.peer_uni : q->limits.peer_bidi);
        const uint64_t left = q->peer_max[uni] - q->peer_opened[uni];
        if (may > q->peer_max[uni] && left < may - q->peer_max[uni]) q->due_streams[uni] = 1;
    }
}

void ssbi_settle(ssb_quic *q, ssbi_stream *s) {
    const unsigned untold =
        bit(SSB_QUIC_OPENED) | bit(SSB_QUIC_RESET) | bit(SSB_QUIC_STOPPED) | bit(SSB_QUIC_RETURNED);
    check_stream_credit(q, s);
    if (s->sends || s->receives || (s->events & untold)) return;
    ssbi_ring_clear(&q->in_pages, &s->in);
    if (!is_ours(q, s->id)) q->peer_over[is_uni(s->id)]++;
    q->ids[s - q->streams] = s->id = QUIC_NONE;
    ssbi_check_credit(q);
}

/* ---------------------------------------------------------------- which stream a frame means */

/* Open what the peer opens by naming it: with a stream all below it, RFC 9000, section 3.2. */
static uint64_t open_up_to(ssb_quic *q, uint64_t id) {
    const int uni = is_uni(id);
    if (id / 4 >= q->peer_max[uni]) return QUIC_STREAM_LIMIT;
    while (q->peer_opened[uni] <= id / 4) {
        ssbi_stream *s = ssbi_stream_new(q, q->peer_opened[uni] * 4 + (id & 3));
        if (s == NULL) return QUIC_INTERNAL;
        q->peer_opened[uni]++;
        raise_event(q, s, SSB_QUIC_OPENED);
        check_stream_credit(q, s);
    }
    return QUIC_OK;
}

/* sending: the frame is about what the peer sends. *found is NULL for a stream that is over. */
uint64_t ssbi_named_stream(ssb_quic *q, uint64_t id, int sending, ssbi_stream **found) {
    const int ours = is_ours(q, id);
    *found = NULL;
    if (is_uni(id) && ours == sending) return QUIC_STREAM_STATE;
    if (ours && id / 4 >= q->next_local[is_uni(id)]) return QUIC_STREAM_STATE;
    if (!ours && id / 4 >= q->peer_opened[is_uni(id)]) {
        const uint64_t code = open_up_to(q, id);
        if (code != QUIC_OK) return code;
    }
    *found = ssbi_find(q, id);
    return QUIC_OK;
}

/* ---------------------------------------------------------------- receiving */

/* Account for a stream that reaches as far as `end`, by bytes or by its final size. */
static uint64_t reach(ssb_quic *q, ssbi_stream *s, uint64_t end, int final) {
    if (end > s->final || (final && end < s->highest)) return QUIC_FINAL_SIZE; /* a final size was reached at once */
    if (end > s->highest) {
        if (end > s->receive_max || q->received_all + (end - s->highest) > q->receive_max) return QUIC_FLOW_CONTROL;
        q->received_all += end - s->highest;
        s->highest = end;
    }
    if (final) {
        s->final = end;
        s->due &= (uint8_t)~DUE_CREDIT;
    }
    return QUIC_OK;
}

/* Nothing more is delivered of this stream; what came counts as read. */
static void discard(ssb_quic *q, ssbi_stream *s) {
    q->delivered_all += s->highest - s->delivered;
    s->delivered = s->ready = s->highest;
    s->gaps.n = 0;
    s->events &= (uint16_t)~bit(SSB_QUIC_READABLE);
    ssbi_ring_clear(&q->in_pages, &s->in);
    if (s->final != QUIC_NONE) s->receives = 0;
    ssbi_check_credit(q);
}

/* Keep what is new of a frame. 0: there is no room to remember it, the packet has to come again. */
static int keep(ssb_quic *q, ssbi_stream *s, const ssbi_frame *f) {
    const uint64_t end = f->offset + f->n, from = greater(f->offset, s->ready);
    const uint8_t *data = f->data + (from - f->offset);
    if (from >= end) return 1;
    if (from > s->ready && ssbi_ranges_add(&s->gaps, from, end) != SSB_OK) return 0;
    if (ssbi_ring_put(&q->in_pages, &s->in, from, data, (size_t)(end - from)) < end - from) {
        if (from > s->ready) ssbi_ranges_remove(&s->gaps, from, end);
        return 0;
    }
    if (from > s->ready) return 1;
    s->ready = end;
    uint32_t joined = 0;
    for (; joined < s->gaps.n && s->gaps.at[joined].first <= s->ready; joined++)
        s->ready = greater(s->ready, s->gaps.at[joined].end);
    if (joined > 0) ssbi_ranges_drop(&s->gaps, joined);
    return 1;
}

uint64_t ssbi_take_stream(ssb_quic *q, const ssbi_frame *f, int *unfit) {
    ssbi_stream *s;
    uint64_t code = ssbi_named_stream(q, f->stream, 1, &s);
    if (code != QUIC_OK || s == NULL || !s->receives) return code;
    s->known = 1;
    code = reach(q, s, f->offset + f->n, (f->type & STREAM_FIN) != 0);
    if (code != QUIC_OK) return code;
    if (s->stopping || s->reset) {
        discard(q, s);
        ssbi_settle(q, s);
        return QUIC_OK;
    }
    const uint64_t before = s->ready;
    if (!keep(q, s, f)) *unfit = 1;
    if (s->ready > before || s->ready == s->final) raise_event(q, s, SSB_QUIC_READABLE);
    return QUIC_OK;
}

uint64_t ssbi_take_reset(ssb_quic *q, const ssbi_frame *f) {
    ssbi_stream *s;
    uint64_t code = ssbi_named_stream(q, f->stream, 1, &s);
    if (code != QUIC_OK || s == NULL || !s->receives) return code;
    s->known = 1;
    const int late = s->ready == s->final; /* all is here */
    code = reach(q, s, f->offset, 1);
    if (code != QUIC_OK || late) return code;
    if (!s->reset && !s->stopping) {
        s->peer_code = f->value;
        raise_event(q, s, SSB_QUIC_RESET);
    }
    s->reset = 1;
    discard(q, s);
    ssbi_settle(q, s);
    return QUIC_OK;
}

size_t ssb_quic_read(ssb_quic *q, uint64_t stream, uint8_t *out, size_t room, int *end) {
    ssbi_stream *s = ssbi_find(q, stream);
    *end = 0;
    if (s == NULL || !s->receives || s->reset || s->stopping) return 0;
    const size_t n = (size_t)lesser(room, s->ready - s->delivered);
    ssbi_ring_get(&q->in_pages, &s->in, s->delivered, out, n);
    const uint64_t from = s->delivered;
    s->delivered += n;
    q->delivered_all += n;
    ssbi_ring_drop(&q->in_pages, &s->in, from, s->delivered);
    if (s->delivered == s->final) {
        *end = 1;
        s->receives = 0;
    }
    if (s->delivered == s->ready) s->events &= (uint16_t)~bit(SSB_QUIC_READABLE);
    ssbi_check_credit(q);
    ssbi_settle(q, s);
    return n;
}

void ssb_quic_credit(ssb_quic *q, uint64_t stream, uint64_t unread, uint64_t window) {
    ssbi_stream *s = ssbi_find(q, stream);
    if (s == NULL) return;
    s->unread = unread;
    s->window = lesser(window, window_most(&q->limits));
    check_stream_credit(q, s);
}

void ssb_quic_credit_all(ssb_quic *q, uint64_t window) {
    q->window_all = lesser(window, window_all_most(&q->limits));
    ssbi_check_credit(q);
}

void ssb_quic_stop(ssb_quic *q, uint64_t stream, uint64_t code) {
    ssbi_stream *s = ssbi_find(q, stream);
    if (s == NULL || !s->receives || s->stopping || s->reset) return;
    s->stopping = 1;
    s->stop_code = code;
    s->due &= (uint8_t)~DUE_CREDIT;
    if (s->final == QUIC_NONE) ssbi_due(q, s, DUE_STOP);
    discard(q, s);
    ssbi_settle(q, s);
}
