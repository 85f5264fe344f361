/* quic_peer.h: an engine, and the peer at the other end of the wire, made of the engine's own packets and frames: what a
 * real peer never sends can be sent, and what the engine sends is read frame by frame. */
#ifndef SSBFAST_TESTS_QUIC_PEER_H
#define SSBFAST_TESTS_QUIC_PEER_H

#include "check.h"

#include "quic.h"

#define MS 1000u
#define BEGIN (1000 * 1000 * MS)
#define ID 8u
#define WINDOW (4u * SSB_QUIC_PAGE)

static const ssb_quic_limits BOUNDS = {64, 16, 64, WINDOW, 2 * WINDOW, 4, 4, 1400, 1400, 4096, 1000, 0, 0};

typedef struct {
    ssb_quic *q;
    uint8_t *mem;
    uint64_t now;
    ssbi_quic_keys seals, opens; /* the peer's */
    ssbi_quic_keys next_seals, next_opens;
    uint64_t number;             /* of the peer's next packet */
    uint8_t phase;
    uint8_t datagram[2048];      /* what the engine sent last */
    size_t n;
    ssbi_frame frames[64];       /* its frames */
    size_t count;
    uint64_t got;                /* its number */
    uint32_t path;
} wire;

static inline ssb_quic_handover handover_new(int caller) {
    static const ssb_quic_range RECEIVED = {90, 100};
    static ssb_quic_stream streams[2];
    ssb_quic_handover h;
    memset(&h, 0, sizeof h);
    h.caller = (uint8_t)caller;
    memset(h.keys.send_key, 1, 32);
    memset(h.keys.receive_key, 2, 32);
    memset(h.next.send_key, 3, 32);
    memset(h.next.receive_key, 4, 32);
    memset(h.send_hp, 5, 32);
    memset(h.receive_hp, 6, 32);
    h.number = 200;
    h.received = &RECEIVED;
    h.received_n = 1;
    h.newest = 99;
    h.remote[0] = (ssb_quic_id){0, {0xaa}, ID, 1, {7, 7, 7}};
    h.remote[1] = (ssb_quic_id){1, {0xab}, ID, 1, {8, 8, 8}};
    h.local[0] = (ssb_quic_id){0, {0xba}, ID, 0, {0}};
    h.local[1] = (ssb_quic_id){1, {0xbb}, ID, 0, {0}};
    h.remote_n = h.local_n = 2;
    h.id_limit = 3;
    /* One stream of each end is open: 0 of the caller, 1 of the target. */
    streams[0] = (ssb_quic_stream){0, 10, 5000, 10, 1000, 0, 0};
    streams[1] = (ssb_quic_stream){1, 10, 5000, 10, 1000, 0, 0};
    h.streams = streams;
    h.streams_n = 2;
    h.next_bidi = caller ? 4 : 5;
    h.next_uni = caller ? 2 : 3;
    h.send_bidi = h.send_uni = 4;
    h.peer_bidi = 1;
    h.receive_bidi = h.receive_uni = 2;
    h.sent = h.received_all = 20;
    h.send_max = 8000;
    h.receive_max = 3000;
    h.send_max_local = h.send_max_remote = h.send_max_uni = 4000;
    h.receive_max_local = h.receive_max_remote = h.receive_max_uni = 2000;
    h.datagram_send = 1200;
    h.datagram_receive = 100;
    h.delay_exponent = 3;
    h.delay_max = h.own_delay_max = 25 * MS;
    h.idle = 30000 * MS;
    h.rtt = 100 * MS;
    h.rtt_variance = 10 * MS;
    h.rtt_least = 90 * MS;
    h.congestion_window = 14000;
    return h;
}

static inline void key_of(ssbi_quic_keys *k, int fill, int hp) {
    uint8_t key[32], iv[12] = {0}, mask[32];
    memset(key, fill, 32);
    memset(mask, hp, 32);
    k->_aead = &AEAD;
    ssbi_quic_set_key(k, key, iv);
    ssbi_quic_set_hp(k, mask);
}

static inline void wire_open_with(wire *w, const ssb_quic_handover *h, const ssb_quic_limits *limits) {
    const size_t n = ssb_quic_size(limits);
    memset(w, 0, sizeof *w);
    w->mem = aligned_alloc(64, n);
    CHECK(n > 0 && w->mem != NULL);
    memset(w->mem, 0, n);
    w->now = BEGIN;
    w->number = 100;
    w->q = ssb_quic_init(w->mem, &AEAD, limits, h, w->now);
    CHECK(w->q != NULL);
    key_of(&w->seals, 2, 6);
    key_of(&w->opens, 1, 5);
    key_of(&w->next_seals, 4, 6);
    key_of(&w->next_opens, 3, 5);
}

static inline void wire_open(wire *w, const ssb_quic_handover *h) { wire_open_with(w, h, &BOUNDS); }

static inline void wire_new(wire *w, int caller) {
    const ssb_quic_handover h = handover_new(caller);
    wire_open(w, &h);
}

static inline void wire_close(wire *w) {
    ssb_quic_wipe(w->q);
    free(w->mem);
}

/* Seal frames as a packet of the peer; its length. */
static inline size_t packet_new(wire *w, uint8_t *out, const uint8_t *frames, size_t n, uint64_t number, uint8_t first) {
    out[0] = (uint8_t)(0x43 | (w->phase ? 4 : 0) | first);
    memset(out + 1, 0, ID);
    out[1] = 0xba;
    for (unsigned i = 0; i < 4; i++) out[1 + ID + i] = (uint8_t)(number >> (24 - 8 * i));
    memcpy(out + 5 + ID, frames, n);
    const ssbi_quic_packet p = {out, (uint32_t)(5 + ID + n + 16), 5 + ID, number, 0};
    ssbi_quic_seal(&w->seals, &p, 1);
    return p.n;
}

static inline int say_as(wire *w, const uint8_t *frames, size_t n, uint64_t number) {
    uint8_t datagram[2048];
    const size_t size = packet_new(w, datagram, frames, n, number, 0);
    return ssb_quic_receive(w->q, w->path, datagram, size, size, w->now);
}

static inline int say(wire *w, const uint8_t *frames, size_t n) { return say_as(w, frames, n, w->number++); }

#define SAY(w, ...) say((w), (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* Take one datagram of the engine and read its frames; 0 where it sends none. */
static inline int hear(wire *w) {
    size_t segment;
    uint32_t path;
    w->count = 0;
    w->n = ssb_quic_send(w->q, w->datagram, BOUNDS.datagram, &segment, &path, w->now);
    if (w->n == 0) return 0;
    CHECK(segment == w->n && w->n <= BOUNDS.datagram);
    w->path = path;
    ssbi_quic_packet p = {w->datagram, (uint32_t)w->n, 0, 0, 0};
    ssbi_quic_unmask(&w->opens, &p, 1, 1 + ID);
    for (uint32_t i = 1 + ID; i < p.head_n; i++) p.number = p.number << 8 | p.at[i];
    ssbi_quic_open((p.at[0] & 4) == (w->phase ? 4 : 0) ? &w->opens : &w->next_opens, &p, 1);
    CHECK(p.good && p.number >= w->got);
    w->got = p.number;
    ssbi_reader r = {p.at + p.head_n, p.at + p.n - 16};
    while (r.at < r.end) {
        CHECK(w->count < 64);
        CHECK(ssbi_read_frame(&r, &w->frames[w->count]) == QUIC_OK);
        if (w->frames[w->count].type != FRAME_PADDING) w->count++;
    }
    return 1;
}

/* The frame of this type in what was heard last, NULL for none. */
static inline const ssbi_frame *heard(const wire *w, uint64_t type) {
    for (size_t i = 0; i < w->count; i++)
        if (w->frames[i].type == type ||
            (type == FRAME_STREAM && w->frames[i].type >= FRAME_STREAM && w->frames[i].type < FRAME_MAX_DATA))
            return &w->frames[i];
    return NULL;
}

static inline void hear_all(wire *w) {
    while (hear(w)) {
    }
}

/* Acknowledge [first, last] of the engine's packets. */
static inline int acknowledge_range(wire *w, uint64_t first, uint64_t last) {
    uint8_t frame[32] = {FRAME_ACK};
    ssbi_writer out = {frame + 1, frame + sizeof frame};
    ssbi_write_number(&out, last);
    ssbi_write_number(&out, 0);
    ssbi_write_number(&out, 0);
    ssbi_write_number(&out, last - first);
    return say(w, frame, (size_t)(out.at - frame));
}

/* The next event of this kind; others are thrown away. 0 where there is none. */
static inline int event_of(wire *w, uint32_t kind, ssb_quic_event *e) {
    while (ssb_quic_take_event(w->q, e))
        if (e->kind == kind) return 1;
    return 0;
}

static inline ssb_quic_figures look(const wire *w) {
    ssb_quic_figures f;
    ssb_quic_look(w->q, &f);
    return f;
}

#endif
