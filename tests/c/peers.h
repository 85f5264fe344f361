/* peers.h: a hub with links, and for each link the peer at the other end of the wire. */
#ifndef SSBFAST_TESTS_PEERS_H
#define SSBFAST_TESTS_PEERS_H

#include "check.h"

#define EVENTS 70000u
#define WIRE 400000u

typedef struct { /* the other end: seals what the link opens, opens what it sealed */
    ssb_sealer sealer;
    ssb_opener opener;
    uint8_t plain[WIRE]; /* what it has received */
    size_t plain_n;
    size_t boxes[4096];  /* body lengths of what it has received */
    size_t boxes_n;
    int ended;
} peer;

typedef struct {
    int kind, flags;
    int32_t req;
    uint32_t n;
    const uint8_t *body;
} event;

static const ssb_limits LIMITS = {4096, 65536, 200000, 1048576, 1048576, 0};

static inline void connect_pair(ssb_link *l, peer *p, ssb_hub *h, uint32_t id, const ssb_limits *limits, int split) {
    uint8_t key[2][SSB_KEY], nonce[2][SSB_NONCE];
    for (int i = 0; i < 2; i++) {
        random_fill(key[i], SSB_KEY);
        random_fill(nonce[i], SSB_NONCE);
    }
    ssb_link_init(l, h, id, &CRYPTO, limits, key[0], nonce[0], key[1], nonce[1], split);
    ssb_sealer_init(&p->sealer, &CRYPTO, key[1], nonce[1]);
    ssb_opener_init(&p->opener, &CRYPTO, key[0], nonce[0], SSB_BOX_BODY);
    p->plain_n = p->boxes_n = 0;
    p->ended = 0;
}

/* The peer takes what the link has sealed: always whole boxes. */
static inline void peer_take(peer *p, uint8_t *wire, size_t n) {
    while (n > 0) {
        size_t used = 0;
        CHECK(!p->ended);
        const int code = ssb_open(&p->opener, wire, n, &used);
        CHECK(code == SSB_OK || code == SSB_ENDED);
        if (code == SSB_ENDED) {
            p->ended = 1;
        } else {
            const size_t body = used - SSB_BOX_HEADER;
            CHECK(p->plain_n + body <= WIRE && p->boxes_n < 4096);
            memcpy(p->plain + p->plain_n, wire + SSB_BOX_HEADER, body);
            p->plain_n += body;
            p->boxes[p->boxes_n++] = body;
        }
        wire += used;
        n -= used;
    }
}

/* Flush once into memory that ends at a guard page. */
static inline int flush(ssb_link *l, peer *p, const guarded *g, size_t room) {
    size_t n = 0;
    uint8_t *out = guard_end(g, room);
    const int code = ssb_link_flush(l, out, room, &n);
    CHECK(n <= room);
    if (code >= 0) peer_take(p, out, n);
    return code;
}

static inline size_t packet(uint8_t *out, int flags, int32_t req, const void *body, size_t n) {
    ssb_write_head(out, (uint8_t)flags, (uint32_t)n, req);
    if (n > 0) memcpy(out + SSB_PACKET_HEAD, body, n);
    return SSB_PACKET_HEAD + n;
}

/* Read the event at ev + *at and go on behind it. */
static inline event next_event(const uint8_t *ev, size_t *at) {
    event e;
    e.kind = ev[*at];
    e.flags = ev[*at + 1];
    memcpy(&e.req, ev + *at + 4, 4);
    memcpy(&e.n, ev + *at + 8, 4);
    e.body = ev + *at + SSB_EVENT_HEAD;
    *at += SSB_EVENT_HEAD + e.n;
    return e;
}

static inline uint8_t *hub_new(ssb_hub *h, uint32_t slabs) {
    const size_t n = ssb_hub_size(slabs);
    uint8_t *mem = aligned_alloc(4096, n);
    CHECK(mem != NULL);
    memset(mem, 0, n);
    CHECK(ssb_hub_init(h, mem, n) == SSB_OK);
    CHECK(ssb_hub_left(h) == slabs - SSB_SLAB_RESERVE);
    return mem;
}

#endif
