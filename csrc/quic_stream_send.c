/* quic_stream_send.c: what one stream sends, and what becomes of what was sent.
 *
 *   base ≤ next ≤ written: acknowledged | in flight, acknowledged apart or lost | never sent */
#include "quic.h"

#define WRITABLE_PART 2u /* of the window, and of the segments: so much has to be free before a writer is told */

uint64_t ssbi_take_credit(ssb_quic *q, const ssbi_frame *f) {
    ssbi_stream *s;
    const uint64_t code = ssbi_named_stream(q, f->stream, 0, &s);
    if (s != NULL) s->send_max = greater(s->send_max, f->value);
    return code;
}

uint64_t ssbi_check_blocked(ssb_quic *q, const ssbi_frame *f) {
    ssbi_stream *s;
    return ssbi_named_stream(q, f->stream, 1, &s);
}

static int can_write(const ssbi_stream *s) { return s->sends && !s->fin && !s->resetting; }

static uint64_t room(const ssb_quic *q, const ssbi_stream *s) {
    return ssbi_segments_held(&s->out) <= s->out.mask ? window_most(&q->limits) - (s->written - s->base) : 0;
}

/* Give the caller's memory back up to offset `to`. */
static void give_back(ssb_quic *q, ssbi_stream *s, uint64_t to) {
    const uint32_t count = ssbi_segments_drop(&s->out, to);
    if (count == 0) return;
    s->returned += count;
    raise_event(q, s, SSB_QUIC_RETURNED);
}

static void tell_writer(ssb_quic *q, ssbi_stream *s) {
    if (ssbi_segments_held(&s->out) > s->out.mask / WRITABLE_PART) return;
    if (s->written - s->base > window_most(&q->limits) / WRITABLE_PART) return;
    s->short_of = 0;
    raise_event(q, s, SSB_QUIC_WRITABLE);
}

static void give_up(ssb_quic *q, ssbi_stream *s, uint64_t code) {
    if (!s->sends || s->resetting || s->fin_acked) return;
    s->resetting = 1;
    s->reset_code = code;
    ssbi_due(q, s, DUE_RESET);
    s->acked.n = s->lost.n = 0;
    s->events &= (uint16_t)~bit(SSB_QUIC_WRITABLE);
    give_back(q, s, s->written);
}

uint64_t ssbi_take_stop(ssb_quic *q, const ssbi_frame *f) {
    ssbi_stream *s;
    const uint64_t code = ssbi_named_stream(q, f->stream, 0, &s);
    if (code != QUIC_OK || s == NULL || !s->sends || s->resetting) return code;
    s->peer_code = f->value;
    raise_event(q, s, SSB_QUIC_STOPPED);
    give_up(q, s, f->value);
    return QUIC_OK;
}

void ssb_quic_reset(ssb_quic *q, uint64_t stream, uint64_t code) {
    ssbi_stream *s = ssbi_find(q, stream);
    if (s != NULL) give_up(q, s, code);
}

size_t ssb_quic_room(const ssb_quic *q, uint64_t stream) {
    for (uint32_t i = 0; i < q->limits.streams; i++) {
        const ssbi_stream *s = &q->streams[i];
        if (q->ids[i] != stream) continue;
        return can_write(s) ? (size_t)room(q, s) : 0;
    }
    return 0;
}

size_t ssb_quic_lend(ssb_quic *q, uint64_t stream, const uint8_t *data, size_t n, int end) {
    ssbi_stream *s = ssbi_find(q, stream);
    if (s == NULL || !can_write(s) || q->state != QUIC_ALIVE) return 0;
    const size_t taken = (size_t)lesser(n, room(q, s));
    s->written += taken;
    if (taken > 0) ssbi_segments_put(&s->out, data, taken, s->written);
    s->short_of = taken < n;
    if (taken == n && end) s->fin = 1;
    return taken;
}

int ssbi_pick(ssb_quic *q, ssbi_stream *s, size_t room, uint64_t *offset, size_t *n, int *fin) {
    *fin = 0;
    ssbi_ranges_remove(&s->lost, 0, s->base); /* what could not be taken out of a full set */
    if (s->lost.n > 0) {
        const ssb_quic_range *r = &s->lost.at[0];
        *offset = r->first;
        *n = (size_t)lesser(room, r->end - r->first);
        if (*n == 0) return 0;
        *fin = s->fin && *offset + *n == s->written;
        return 1;
    }
    const uint64_t most = lesser(lesser(s->written, s->send_max), s->next + (q->send_max - q->sent_all));
    *offset = s->next;
    *n = (size_t)lesser(room, most > s->next ? most - s->next : 0);
    *fin = s->fin && *offset + *n == s->written && !s->fin_sent;
    return *n > 0 || *fin;
}

static void free_acknowledged(ssb_quic *q, ssbi_stream *s, uint64_t to) {
    uint32_t joined = 0;
    s->base = to;
    for (; joined < s->acked.n && s->acked.at[joined].first <= s->base; joined++)
        s->base = greater(s->base, s->acked.at[joined].end);
    if (joined > 0) ssbi_ranges_drop(&s->acked, joined);
    give_back(q, s, s->base);
    if (s->short_of) tell_writer(q, s);
}

/* These bytes have to be sent again; where the set is full, what lies between is sent again, too. */
static void send_again(ssbi_stream *s, uint64_t at, uint64_t end) {
    if (ssbi_ranges_add(&s->lost, at, end) == SSB_OK || s->lost.n == 0) return;
    ssb_quic_range *last = &s->lost.at[s->lost.n - 1];
    if (at >= last->end) last->end = end;
    else (void)ssbi_ranges_add(&s->lost, at, last->end);
}

static void data_acked(ssb_quic *q, ssbi_stream *s, const ssbi_item *item) {
    const uint64_t end = item->offset + item->n;
    s->known = 1;
    if (s->resetting) return;
    if (s->lost.n > 0) ssbi_ranges_remove(&s->lost, item->offset, end);
    if (item->fin) s->fin_acked = 1;
    if (item->offset <= s->base && end > s->base) free_acknowledged(q, s, end);
    /* Where the set is full, this counts as lost: it is sent again, which costs time alone. */
    else if (end > s->base && ssbi_ranges_add(&s->acked, item->offset, end) != SSB_OK)
        send_again(s, item->offset, end);
    if (s->fin_acked && s->base == s->written) s->sends = 0;
}

/* ---------------------------------------------------------------- what becomes of what was sent */

static ssbi_stream *stream_of(ssb_quic *q, const ssbi_item *item) {
    ssbi_stream *s = &q->streams[item->slot];
    return s->id != QUIC_NONE && s->generation == item->generation ? s : NULL;
}

void ssbi_item_acked(ssb_quic *q, const ssbi_item *item) {
    ssbi_stream *s;
    if (item->kind == ITEM_ACK) { /* the peer knows: RFC 9000, section 13.2.4 */
        ssbi_ranges *r = &q->received;
        while (r->n > 1 && r->at[0].end <= item->offset) {
            q->floor = greater(q->floor, r->at[0].end);
            ssbi_ranges_drop(r, 1);
        }
        return;
    }
    if (item->kind != ITEM_STREAM && item->kind != ITEM_RESET) return;
    if ((s = stream_of(q, item)) == NULL) return;
    if (item->kind == ITEM_STREAM) {
        data_acked(q, s, item);
    } else {
        s->known = 1;
        s->sends = 0;
    }
    ssbi_settle(q, s);
}

static void data_lost(ssbi_stream *s, const ssbi_item *item) {
    const uint64_t end = item->offset + item->n;
    if (s->resetting) return;
    if (item->fin && !s->fin_acked) s->fin_sent = 0;
    if (end <= s->base) return;
    uint64_t at = greater(item->offset, s->base);
    send_again(s, at, end);
    for (uint32_t i = 0; i < s->acked.n && s->acked.at[i].first < end; i++)
        if (s->acked.at[i].end > at) ssbi_ranges_remove(&s->lost, s->acked.at[i].first, s->acked.at[i].end);
}

static void retire_again(ssb_quic *q, uint64_t number) {
    for (uint32_t i = 0; i < q->retires_n; i++)
        if (q->retires[i] == number) return;
    if (q->retires_n < RETIRES) q->retires[q->retires_n++] = number;
}

void ssbi_item_lost(ssb_quic *q, const ssbi_item *item) {
    ssbi_stream *s = NULL;
    switch (item->kind) {
    case ITEM_CREDIT_ALL:
        q->due_credit = 1;
        return;
    case ITEM_STREAMS_BIDI:
        q->due_streams[0] = 1;
        return;
    case ITEM_STREAMS_UNI:
        q->due_streams[1] = 1;
        return;
    case ITEM_RETIRE:
        retire_again(q, item->offset);
        return;
    case ITEM_ID:
        q->local_told = lesser(q->local_told, item->offset);
        return;
    case ITEM_ACK:
        return;
    default:
        if ((s = stream_of(q, item)) == NULL) return;
    }
    if (item->kind == ITEM_STREAM) data_lost(s, item);
    else if (item->kind == ITEM_RESET && s->sends) ssbi_due(q, s, DUE_RESET);
    else if (item->kind == ITEM_STOP && s->receives && s->final == QUIC_NONE) ssbi_due(q, s, DUE_STOP);
    else if (item->kind == ITEM_CREDIT && s->receives && !s->stopping && s->final == QUIC_NONE)
        ssbi_due(q, s, DUE_CREDIT);
}
