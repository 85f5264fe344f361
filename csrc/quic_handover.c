/* quic_handover.c: the engine's beginning: its memory, and what the handshake came to. */
#include "quic.h"

#include <string.h>

#define PACKETS_LEAST 64u
#define MEMORY_MOST UINT32_MAX /* bytes in all, which any size_t holds */
#define PAGES_MOST 65535u
#define SEGMENTS_MOST 65536u

/* ---------------------------------------------------------------- memory */

static uint32_t slots(const ssb_quic_limits *l) { return (uint32_t)(window_most(l) / SSB_QUIC_PAGE) + 1; }

/* Streams touch a page more than they have bytes for at either end. */
static uint64_t pages_in(const ssb_quic_limits *l) {
    return window_all_most(l) / SSB_QUIC_PAGE + 2 * (uint64_t)l->streams;
}

static int is_power(uint32_t v) { return v != 0 && (v & (v - 1)) == 0; }

static int makes_sense(const ssb_quic_limits *l) {
    if (!is_power(l->packets) || l->packets < PACKETS_LEAST || l->packets > UINT32_C(1) << 28) return 0;
    if (l->window == 0 || l->window % SSB_QUIC_PAGE != 0 || l->window_all < l->window) return 0;
    if (l->window_most % SSB_QUIC_PAGE != 0 || window_all_most(l) < window_most(l)) return 0;
    if (l->streams == 0 || l->streams > UINT16_MAX || l->peer_bidi > l->streams) return 0;
    if (l->peer_uni > l->streams - l->peer_bidi) return 0;
    if (!is_power(l->segments) || l->segments > SEGMENTS_MOST || pages_in(l) > PAGES_MOST) return 0;
    if (l->datagram < QUIC_DATAGRAM_LEAST || l->datagram_most < l->datagram || l->datagram_most > UINT16_MAX) return 0;
    return l->datagrams == 0 || (is_power(l->datagrams) && l->datagrams <= UINT32_C(1) << 30);
}

typedef struct { /* where the parts lie; every part begins at a multiple of 64 */
    uint64_t sent, items, streams, ids, segments, slots, next_in, out, in, pages_in, all;
} layout;

static uint64_t put(uint64_t *all, uint64_t n) {
    const uint64_t at = *all;
    *all = (at + n + 63) / 64 * 64;
    return at;
}

static layout lay_out(const ssb_quic_limits *l) {
    layout m = {0};
    (void)put(&m.all, sizeof(ssb_quic));
    m.sent = put(&m.all, (uint64_t)l->packets * sizeof(ssbi_sent));
    m.items = put(&m.all, (uint64_t)2 * l->packets * sizeof(ssbi_item));
    m.streams = put(&m.all, (uint64_t)l->streams * sizeof(ssbi_stream));
    m.ids = put(&m.all, (uint64_t)l->streams * sizeof(uint64_t));
    m.segments = put(&m.all, (uint64_t)l->streams * l->segments * sizeof(ssbi_segment));
    m.slots = put(&m.all, (uint64_t)l->streams * slots(l) * sizeof(uint16_t));
    m.next_in = put(&m.all, pages_in(l) * sizeof(uint16_t));
    m.out = put(&m.all, l->datagrams);
    m.in = put(&m.all, l->datagrams);
    m.all = (m.all + SSB_QUIC_PAGE - 1) / SSB_QUIC_PAGE * SSB_QUIC_PAGE;
    m.pages_in = put(&m.all, pages_in(l) * SSB_QUIC_PAGE);
    return m;
}

size_t ssb_quic_size(const ssb_quic_limits *limits) {
    const uint64_t all = makes_sense(limits) ? lay_out(limits).all : 0;
    return all <= MEMORY_MOST ? (size_t)all : 0;
}

static void place(ssb_quic *q, uint8_t *mem) {
    const ssb_quic_limits *l = &q->limits;
    const layout m = lay_out(l);
    void *at[] = {mem + m.sent, mem + m.items, mem + m.streams, mem + m.ids, mem + m.segments, mem + m.slots,
                  mem + m.next_in};
    q->sent = at[0];
    q->items = at[1];
    q->items_mask = 2 * l->packets - 1;
    q->streams = at[2];
    q->ids = at[3];
    q->segments = at[4];
    q->slots = at[5];
    q->ring_slots = slots(l);
    for (uint32_t i = 0; i < l->streams; i++) q->ids[i] = QUIC_NONE; /* memory of streams is touched as they come */
    q->in_pages = (ssbi_pages){mem + m.pages_in, at[6], 0, 1, (uint32_t)pages_in(l), 0};
    q->datagrams_out = (ssbi_fifo){mem + m.out, l->datagrams, 0, 0};
    q->datagrams_in = (ssbi_fifo){mem + m.in, l->datagrams, 0, 0};
}

/* ---------------------------------------------------------------- what is handed over */

/* hp: NULL for keys that have theirs. */
static void make_keys(ssbi_quic_keys *k, const ssb_aead *aead, const uint8_t *key, const uint8_t *iv,
                      const uint8_t *hp) {
    k->_aead = aead;
    ssbi_quic_set_key(k, key, iv);
    if (hp != NULL) ssbi_quic_set_hp(k, hp);
}

/* Used of a credit, and the credit. */
static int within(uint64_t used, uint64_t most) { return used <= most && most <= QUIC_NUMBER_MAX; }

static int take_ids(ssb_quic *q, const ssb_quic_handover *h) {
    if (h->remote_n == 0 || h->remote_n > SSB_QUIC_IDS || h->local_n == 0 || h->local_n > SSB_QUIC_IDS) return 0;
    memcpy(q->remote, h->remote, sizeof q->remote);
    memcpy(q->local, h->local, sizeof q->local);
    q->remote_n = h->remote_n;
    q->local_n = h->local_n;
    q->local_size = h->local[0].n;
    q->id_limit = h->id_limit;
    for (uint32_t i = 0; i < q->remote_n; i++)
        if (q->remote[i].n == 0 || q->remote[i].n > SSB_QUIC_ID) return 0;
    q->remote_prior = QUIC_NONE; /* what is below those that are left was retired */
    for (uint32_t i = 0; i < q->remote_n; i++) q->remote_prior = lesser(q->remote_prior, q->remote[i].number);
    for (uint32_t i = 0; i < q->local_n; i++) {
        if (q->local[i].n != q->local_size || q->local_size == 0 || q->local_size > SSB_QUIC_ID) return 0;
        q->local_issued = greater(q->local_issued, q->local[i].number + 1);
    }
    q->local_told = q->local_issued;
    q->local_most = q->local_n;
    return 1;
}

static int take_numbers(ssb_quic *q, const ssb_quic_handover *h) {
    const uint64_t most = QUIC_NUMBER_MAX / 2; /* those that follow have room */
    if (h->received_n > SSBI_RANGES || h->number > most || h->newest > most) return 0;
    for (uint32_t i = 0; i < h->received_n; i++) {
        if (h->received[i].end > h->newest + 1) return 0;
        if (ssbi_ranges_add(&q->received, h->received[i].first, h->received[i].end) != SSB_OK) return 0;
    }
    /* Numbers between those are the peer's of before: should one still come, it is sent again. */
    q->newest = h->newest;
    q->newest_at = q->now;
    q->floor = h->newest + 1;
    q->number = q->oldest = q->start = h->number;
    q->largest_acked = QUIC_NONE;
    memcpy(q->skip_key, h->random, sizeof q->skip_key);
    ssbi_plan_skip(q);
    return 1;
}

static int take_streams(ssb_quic *q, const ssb_quic_handover *h) {
    uint64_t ours = 0, theirs[2] = {0, 0};
    for (uint32_t i = 0; i < h->streams_n; i++) {
        const ssb_quic_stream *from = &h->streams[i];
        const int uni = is_uni(from->id);
        if (from->id / 4 >= (is_ours(q, from->id) ? q->next_local[uni] : q->peer_opened[uni])) return 0;
        if (!within(from->sent, from->send_max) || !within(from->received, from->receive_max)) return 0;
        ssbi_stream *s = ssbi_find(q, from->id) == NULL ? ssbi_stream_new(q, from->id) : NULL;
        if (s == NULL || from->receive_max > from->received + q->limits.window) return 0;
        s->base = s->next = s->written = from->sent;
        s->send_max = from->send_max;
        s->delivered = s->ready = s->highest = from->received;
        s->receive_max = from->receive_max;
        s->sends = s->sends && !from->send_done;
        s->receives = s->receives && !from->receive_done;
        if (from->sent > 0 || from->received > 0) s->known = 1;
        if (is_ours(q, from->id)) ours++;
        else theirs[uni]++;
    }
    q->peer_over[0] = h->peer_bidi - theirs[0];
    q->peer_over[1] = h->peer_uni - theirs[1];
    if (theirs[0] > h->peer_bidi || theirs[1] > h->peer_uni) return 0;
    if (h->receive_bidi > q->peer_over[0] + q->limits.peer_bidi) return 0;
    if (h->receive_uni > q->peer_over[1] + q->limits.peer_uni) return 0;
    return ours <= q->limits.streams - q->limits.peer_bidi - q->limits.peer_uni;
}

static int take_credit(ssb_quic *q, const ssb_quic_handover *h) {
    q->next_local[0] = h->next_bidi / 4;
    q->next_local[1] = h->next_uni / 4;
    q->local_max[0] = h->send_bidi;
    q->local_max[1] = h->send_uni;
    q->peer_opened[0] = h->peer_bidi;
    q->peer_opened[1] = h->peer_uni;
    q->peer_max[0] = h->receive_bidi;
    q->peer_max[1] = h->receive_uni;
    q->sent_all = h->sent;
    q->send_max = h->send_max;
    q->received_all = q->delivered_all = h->received_all;
    q->receive_max = h->receive_max;
    q->window_all = q->limits.window_all;
    const uint64_t send[3] = {h->send_max_local, h->send_max_remote, h->send_max_uni};
    const uint64_t receive[3] = {h->receive_max_local, h->receive_max_remote, h->receive_max_uni};
    memcpy(q->first_send_max, send, sizeof send);
    memcpy(q->first_receive_max, receive, sizeof receive);
    for (int i = 0; i < 3; i++)
        if (receive[i] > q->limits.window || send[i] > QUIC_NUMBER_MAX) return 0;
    for (int i = 0; i < 2; i++)
        if (q->next_local[i] > QUIC_NUMBER_MAX / 4 || !within(q->peer_opened[i], q->peer_max[i])) return 0;
    if (!within(h->sent, h->send_max) || !within(h->received_all, h->receive_max)) return 0;
    return h->receive_max <= h->received_all + q->limits.window_all;
}

static void take_times(ssb_quic *q, const ssb_quic_handover *h) {
    q->delay_exponent = h->delay_exponent;
    q->delay_max = h->delay_max;
    q->own_delay_max = h->own_delay_max;
    q->idle = h->idle <= QUIC_NUMBER_MAX ? h->idle : 0;
    q->heard = q->now;
    q->rtt_known = h->rtt > 0;
    q->rtt = q->rtt_latest = h->rtt;
    q->variance = h->rtt_variance;
    q->rtt_least = h->rtt_least;
    q->first_sample = q->now;
    q->ack_at = q->loss_at = q->over_at = SSB_QUIC_NEVER;
}

ssb_quic *ssb_quic_init(uint8_t *mem, const ssb_aead *aead, const ssb_quic_limits *limits,
                        const ssb_quic_handover *handover, uint64_t now) {
    void *at = mem;
    ssb_quic *q = at;
    const ssb_quic_secrets *keys = &handover->keys;
    if (ssb_quic_size(limits) == 0 || handover->delay_exponent > 20) return NULL;
    q->aead = aead;
    q->limits = *limits;
    q->caller = handover->caller;
    q->now = now;
    place(q, mem);
    take_times(q, handover);
    if (!take_ids(q, handover) || !take_numbers(q, handover) || !take_credit(q, handover)) return NULL;
    if (!take_streams(q, handover)) return NULL;
    make_keys(&q->send_keys, aead, keys->send_key, keys->send_iv, handover->send_hp);
    make_keys(&q->receive_keys, aead, keys->receive_key, keys->receive_iv, handover->receive_hp);
    ssb_quic_keys(q, &handover->next);
    q->phase = handover->phase;
    q->phase_acked = 1;
    q->phase_first = q->phase_sent = 0;
    q->datagram_send = handover->datagram_send;
    q->datagram_receive = handover->datagram_receive;
    ssbi_congestion_init(&q->congestion, handover->congestion_window, (uint64_t)limits->packets * limits->datagram,
                         limits->datagram);
    ssbi_mtu_init(q);
    for (uint32_t i = 0; i < limits->streams; i++)
        if (q->ids[i] != QUIC_NONE) ssbi_settle(q, &q->streams[i]);
    ssbi_check_credit(q);
    return q;
}

void ssb_quic_wipe(ssb_quic *q) {
    void (*wipe)(void *, size_t) = q->aead->wipe;
    for (uint32_t i = 0; i < q->limits.streams; i++) {
        if (q->ids[i] == QUIC_NONE) continue;
        (void)ssbi_segments_drop(&q->streams[i].out, UINT64_MAX);
        ssbi_ring_clear(&q->in_pages, &q->streams[i].in);
        q->ids[i] = q->streams[i].id = QUIC_NONE;
    }
    wipe(q->in_pages.pages, (size_t)(q->in_pages.fresh - 1) * SSB_QUIC_PAGE);
    if (q->limits.datagrams > 0) {
        wipe(q->datagrams_out.bytes, q->limits.datagrams);
        wipe(q->datagrams_in.bytes, q->limits.datagrams);
    }
    wipe(&q->send_keys, sizeof q->send_keys);
    wipe(&q->receive_keys, sizeof q->receive_keys);
    wipe(&q->next_send, sizeof q->next_send);
    wipe(&q->next_receive, sizeof q->next_receive);
    wipe(&q->previous_receive, sizeof q->previous_receive);
    wipe(q->skip_key, sizeof q->skip_key);
    q->state = QUIC_OVER;
    q->events = 0;
}

void ssb_quic_keys(ssb_quic *q, const ssb_quic_secrets *next) {
    if (q->has_next || q->state != QUIC_ALIVE) return;
    q->next_send = q->send_keys; /* header protection stays as it is */
    q->next_receive = q->receive_keys;
    make_keys(&q->next_send, q->aead, next->send_key, next->send_iv, NULL);
    make_keys(&q->next_receive, q->aead, next->receive_key, next->receive_iv, NULL);
    q->has_next = 1;
}
