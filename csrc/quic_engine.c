/* quic_engine.c: the engine's events, timers and end, and calls that only look or set a mark. */
#include "quic.h"

#include <string.h>

#define IDLE_PTOS 3u
#define CLOSING_PTOS 3u

/* ---------------------------------------------------------------- events */

static int take_stream_event(ssb_quic *q, ssb_quic_event *event) {
    for (uint32_t i = 0; i < q->limits.streams; i++) {
        ssbi_stream *s = &q->streams[i];
        if (q->ids[i] == QUIC_NONE || s->events == 0) continue;
        unsigned kind = SSB_QUIC_OPENED;
        while (!(s->events & bit(kind))) kind++;
        s->events &= (uint16_t)~bit(kind);
        *event = (ssb_quic_event){kind, s->id, kind == SSB_QUIC_RETURNED ? s->returned : s->peer_code};
        if (kind == SSB_QUIC_RETURNED) s->returned = 0;
        ssbi_settle(q, s);
        return 1;
    }
    q->events &= (uint16_t)~bit(0);
    return 0;
}

int ssb_quic_take_event(ssb_quic *q, ssb_quic_event *event) {
    if ((q->events & bit(0)) && take_stream_event(q, event)) return 1;
    for (unsigned kind = SSB_QUIC_KEYS; kind <= SSB_QUIC_CLOSED; kind++) {
        if (!(q->events & bit(kind))) continue;
        q->events &= (uint16_t)~bit(kind);
        *event = (ssb_quic_event){kind, 0, 0};
        if (kind == SSB_QUIC_PATH) event->value = q->asked_path;
        if (kind == SSB_QUIC_MOVED) event->value = q->path;
        if (kind == SSB_QUIC_CLOSED) *event = (ssb_quic_event){kind, q->by, q->code};
        return 1;
    }
    return 0;
}

/* ---------------------------------------------------------------- the end */

void ssbi_quic_end(ssb_quic *q, uint8_t by, uint64_t code, uint64_t frame) {
    if (q->state != QUIC_ALIVE) return;
    q->state = QUIC_CLOSING;
    q->by = by;
    q->code = code;
    q->close_frame = frame;
    q->close_due = 1;
    q->over_at = q->now + CLOSING_PTOS * ssbi_pto(q);
    if (by != SSB_QUIC_BY_US) raise_event(q, NULL, SSB_QUIC_CLOSED);
}

void ssbi_quic_over(ssb_quic *q) {
    if (q->state == QUIC_ALIVE) raise_event(q, NULL, SSB_QUIC_CLOSED);
    q->state = QUIC_OVER;
    q->over_at = SSB_QUIC_NEVER;
}

void ssb_quic_close(ssb_quic *q, uint64_t code) { ssbi_quic_end(q, SSB_QUIC_BY_US, code, 0); }

int ssbi_quic_same(const uint8_t *a, const uint8_t *b, size_t n) {
    unsigned differ = 0;
    for (size_t i = 0; i < n; i++) differ |= (unsigned)(a[i] ^ b[i]);
    return differ == 0;
}

/* ---------------------------------------------------------------- timers */

static uint64_t idle_at(const ssb_quic *q) {
    return q->idle == 0 ? SSB_QUIC_NEVER : q->heard + greater(q->idle, IDLE_PTOS * ssbi_pto(q));
}

uint64_t ssb_quic_next(const ssb_quic *q) {
    if (q->state != QUIC_ALIVE) return q->over_at;
    uint64_t at = lesser(idle_at(q), q->ack_at);
    at = lesser(at, q->loss_at != SSB_QUIC_NEVER ? q->loss_at : ssbi_pto_at(q));
    if (q->congestion.held && ssbi_may_send(q)) at = lesser(at, ssbi_pace_next(&q->congestion, q->rtt));
    at = lesser(at, ssbi_mtu_next(q));
    if (q->asked == ASKED_SENT) at = lesser(at, q->challenge_at);
    if (q->asked != ASKED_NOTHING) at = lesser(at, q->challenge_until);
    return at;
}

void ssb_quic_timer(ssb_quic *q, uint64_t now) {
    q->now = greater(q->now, now);
    if (q->state != QUIC_ALIVE) {
        if (q->now >= q->over_at) ssbi_quic_over(q);
        return;
    }
    if (q->now >= idle_at(q)) {
        q->by = SSB_QUIC_BY_SILENCE;
        ssbi_quic_over(q);
        return;
    }
    if (q->has_previous && q->now >= q->previous_until) {
        q->aead->wipe(&q->previous_receive, sizeof q->previous_receive);
        q->has_previous = 0;
    }
    if (q->asked != ASKED_NOTHING && q->now >= q->challenge_until) q->asked = ASKED_NOTHING;
    if (q->asked == ASKED_SENT && q->now >= q->challenge_at) q->asked = ASKED_DUE;
    if (q->loss_at != SSB_QUIC_NEVER) {
        if (q->now >= q->loss_at) ssbi_detect(q);
    } else if (q->now >= ssbi_pto_at(q)) {
        ssbi_probe(q);
    }
}

/* ---------------------------------------------------------------- small calls */

int64_t ssb_quic_open(ssb_quic *q, int uni) {
    uint32_t ours = 0;
    uni = uni != 0;
    if (q->state != QUIC_ALIVE || q->next_local[uni] >= q->local_max[uni]) return -1;
    for (uint32_t i = 0; i < q->limits.streams; i++) ours += q->ids[i] != QUIC_NONE && is_ours(q, q->ids[i]);
    if (ours >= q->limits.streams - q->limits.peer_bidi - q->limits.peer_uni) return -1;
    const uint64_t id = q->next_local[uni] * 4 + (uni ? 2 : 0) + (q->caller ? 0 : 1);
    if (ssbi_stream_new(q, id) == NULL) return -1;
    q->next_local[uni]++;
    return (int64_t)id;
}

static const ssbi_stream *find(const ssb_quic *q, uint64_t id) {
    for (uint32_t i = 0; i < q->limits.streams; i++)
        if (q->ids[i] == id) return &q->streams[i];
    return NULL;
}

int ssb_quic_is_open(const ssb_quic *q, uint64_t stream) { return find(q, stream) != NULL; }

uint64_t ssb_quic_waiting(const ssb_quic *q, uint64_t stream) {
    const ssbi_stream *s = find(q, stream);
    return s != NULL && s->sends && !s->resetting && s->base < s->next ? s->base : SSB_QUIC_NEVER;
}

void ssb_quic_ping(ssb_quic *q) { q->ping = 1; }

void ssb_quic_challenge(ssb_quic *q, uint32_t path, const uint8_t *random) {
    if (q->asked != ASKED_RANDOM || path != q->asked_path) return;
    memcpy(q->challenge, random, SSB_QUIC_CHALLENGE);
    q->asked = ASKED_DUE;
}

uint64_t ssb_quic_newest(const ssb_quic *q) { return q->newest; }

uint64_t ssb_quic_rtt(const ssb_quic *q) { return q->rtt; }

uint32_t ssb_quic_mtu(const ssb_quic *q) { return q->congestion.datagram; }

void ssb_quic_look(const ssb_quic *q, ssb_quic_figures *f) {
    memset(f, 0, sizeof *f);
    f->rtt = q->rtt;
    f->rtt_variance = q->variance;
    f->rtt_least = q->rtt_least;
    f->congestion_window = q->congestion.window;
    f->in_flight = q->congestion.in_flight;
    f->threshold = q->congestion.threshold;
    f->sent = q->number - q->start - q->skips;
    f->received = q->received_packets;
    f->lost = q->lost_packets;
    f->forged = q->forged;
    f->duplicates = q->duplicates;
    f->newest = q->newest;
    f->probes = q->all_probes;
    f->persistent = q->persistent;
    f->updates = q->updates;
    f->dropped = q->dropped;
    f->pages = q->in_pages.lent;
    for (uint32_t i = 0; i < q->limits.streams; i++) {
        const ssbi_stream *s = &q->streams[i];
        if (q->ids[i] == QUIC_NONE) continue;
        if (s->sends && !s->resetting) f->unsent += s->written - s->next;
        f->segments += ssbi_segments_held(&s->out);
        f->unread += s->ready - s->delivered;
        for (uint32_t j = 0; j < s->gaps.n; j++) f->unread += s->gaps.at[j].end - s->gaps.at[j].first;
    }
}
