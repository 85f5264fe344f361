/* fuzz_link.c: what a link makes of its input does not depend on how the network cuts it: the same events, the same
 * bytes in the lane of another link, the same mistake. And when the links are closed, no memory is lent. */
#include "fuzz.h"
#include "peers.h"

#define SLABS (SSB_SLAB_RESERVE + 64)
#define INLETS 8

typedef struct { /* all that comes of one way to cut */
    uint8_t events[2 * EVENTS]; /* neighbouring chunks of one stream are one */
    size_t events_n, last;      /* last: where the last event begins */
    uint8_t lane[WIRE];
    size_t lane_n;
    int code;
} outcome;

typedef struct {
    ssb_link near, far; /* packets arrive at near; far has the lane */
    ssb_lane lane;
    ssb_inlet inlets[INLETS];
    size_t inlets_n;
    peer sender, receiver;
} scene;

static ssb_hub hub;
static outcome outcomes[2];
static scene here;
static uint8_t plain[MOST], wire[WIRE], ev[EVENTS];

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    text_begin();
    (void)hub_new(&hub, SLABS);
    return 0;
}

static void scene_begin(choices c, const ssb_limits *limits) {
    random_state = 7;
    here.inlets_n = 2;
    connect_pair(&here.near, &here.sender, &hub, 1, limits, 0);
    connect_pair(&here.far, &here.receiver, &hub, 2, limits, (int)choose(&c, 2));
    ssb_lane_init(&here.lane, &here.far, 9, WIRE);
    ssb_inlet_init(&here.inlets[0], &here.near, 1, &here.lane);
    ssb_inlet_init(&here.inlets[1], &here.near, -1, NULL);
}

/* A call that opens a stream gets an inlet, as a room does it. */
static void keep(outcome *o, const event *e) {
    if (e->kind == SSB_EV_CHUNK && o->events_n > o->last) {
        size_t at = o->last;
        event before = next_event(o->events, &at);
        if (before.kind == SSB_EV_CHUNK && before.req == e->req) {
            before.n += e->n;
            memcpy(o->events + o->last + 8, &before.n, 4);
            memcpy(o->events + o->events_n, e->body, e->n);
            o->events_n += e->n;
            return;
        }
    }
    CHECK(o->events_n + SSB_EVENT_HEAD + e->n <= sizeof o->events);
    o->last = o->events_n;
    memcpy(o->events + o->events_n, e->body - SSB_EVENT_HEAD, SSB_EVENT_HEAD + e->n);
    o->events_n += SSB_EVENT_HEAD + e->n;
    if (e->kind != SSB_EV_PACKET || e->flags != (SSB_STREAM | 2) || e->req <= 0 || here.inlets_n == INLETS) return;
    ssb_inlet_init(&here.inlets[here.inlets_n++], &here.near, e->req, NULL);
}

static void receive(outcome *o, uint8_t *in, size_t n, size_t room) {
    size_t ev_n = room, need = 0;
    int code = ssb_link_receive(&here.near, in, n, ev, &ev_n, &need);
    for (;;) {
        for (size_t at = 0; at < ev_n;) {
            const event e = next_event(ev, &at);
            keep(o, &e);
        }
        if (code != SSB_AGAIN) break;
        ev_n = need > room ? need : room;
        code = ssb_link_proceed(&here.near, ev, &ev_n, &need);
    }
    CHECK(code != SSB_BLOCKED); /* there is room for all */
    o->code = code;
}

/* Packets as the input wants them, sealed; how many bytes. */
static size_t write_wire(choices *c) {
    static const int32_t reqs[] = {1, 1, -1, -1, 2, -2, 0, 3};
    size_t n = 0, at = 0;
    while (c->n > 0 && n + SSB_PACKET_HEAD + 600 < 8000) {
        const size_t length = choose(c, 8) ? choose(c, 40) : choose(c, 600);
        const int flags = (int)choose(c, 256);
        ssb_write_head(plain + n, (uint8_t)flags, (uint32_t)length, reqs[choose(c, 8)]);
        memcpy(plain + n + SSB_PACKET_HEAD, text + n, length);
        n += SSB_PACKET_HEAD + length;
        if (choose(c, 16) == 1) plain[choose(c, (uint32_t)n)] ^= (uint8_t)choose(c, 256);
    }
    ssb_sealer *s = &here.sender.sealer;
    for (size_t from = 0; from < n;) {
        const size_t body = choose(c, 2) ? 1 + choose(c, 300) : n - from;
        const size_t take = body < n - from ? body : n - from;
        CHECK(ssb_seal(s, plain + from, take, wire + at) == SSB_OK);
        from += take;
        at += ssb_sealed_size(take);
    }
    if (choose(c, 4) == 1) {
        CHECK(ssb_seal_goodbye(s, wire + at) == SSB_OK);
        at += SSB_BOX_HEADER;
    }
    if (choose(c, 8) == 1 && at > 0) wire[choose(c, (uint32_t)at)] ^= (uint8_t)(1 + choose(c, 255));
    return at;
}

static void run(outcome *o, choices c, size_t n, int cut) {
    const size_t room = cut && choose(&c, 2) ? 700 + choose(&c, 2000) : EVENTS;
    const uint32_t most = 1 + choose(&c, choose(&c, 2) ? 5000 : 60);
    o->events_n = o->last = o->lane_n = 0;
    o->code = SSB_OK;
    random_state = 1 + choose(&c, 65536);
    for (size_t at = 0; at < n && o->code == SSB_OK;) {
        const size_t rest = n - at, want = 1 + random_below(most), piece = cut && want < rest ? want : rest;
        uint8_t *in = malloc(piece);
        CHECK(in != NULL);
        memcpy(in, wire + at, piece);
        receive(o, in, piece, room);
        free(in);
        at += piece;
    }
    for (int code = SSB_FULL; code == SSB_FULL;) {
        static uint8_t out[8300];
        size_t out_n = 0;
        code = ssb_link_flush(&here.far, out, sizeof out, &out_n);
        CHECK(code == SSB_OK || code == SSB_FULL);
        peer_take(&here.receiver, out, out_n);
    }
    memcpy(o->lane, here.receiver.plain, here.receiver.plain_n);
    o->lane_n = here.receiver.plain_n;
    ssb_link_close(&here.near);
    ssb_link_close(&here.far);
    while (ssb_hub_next_dirty(&hub) >= 0) continue;
    CHECK(ssb_hub_lent(&hub) == 0);
    ssb_hub_trim(&hub);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const ssb_limits limits = {SSB_BOX_BODY, 300, 580, 1u << 20, 1u << 20, 8};
    choices c = {data, n};
    const choices cuts = c;
    for (uint32_t i = choose(&c, 2); i < 3; i++) (void)choose(&c, 256);
    scene_begin(cuts, &limits);
    const size_t wire_n = write_wire(&c);
    outcome *whole = &outcomes[0], *cut = &outcomes[1];
    run(whole, cuts, wire_n, 0);
    scene_begin(cuts, &limits);
    run(cut, cuts, wire_n, 1);
    CHECK(whole->code == cut->code || (whole->code < 0) == (cut->code < 0));
    CHECK(whole->events_n == cut->events_n && memcmp(whole->events, cut->events, cut->events_n) == 0);
    CHECK(whole->lane_n == cut->lane_n && memcmp(whole->lane, cut->lane, cut->lane_n) == 0);
    return 0;
}
