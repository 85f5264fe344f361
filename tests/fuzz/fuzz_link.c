/* fuzz_link.c: what a link makes of its input is what the packets say, however the network cuts it, whatever interrupts
 * it: the same events, the same bytes and packets in the lane of another link, the mistake that the header names. Input
 * that waits for room, for memory or for Python changes nothing. Every slab is somebody's, and in the end nobody's.
 *
 * A run neither hashes nor allocates: null_crypto.h, and static memory that is used anew. `expect` is the oracle. */
#include "fuzz.h"
#include "null_crypto.h"

#define SLABS (SSB_SLAB_RESERVE + 64)
#define PLAIN 3000u
#define IN 6000u     /* wire bytes of all boxes */
#define OUT 8300u
#define EVENTS 4000u /* room for events of one call */
#define LOG 9000u
#define INLETS 8
#define CUT 256u     /* bytes of a piece at the most, but for the first and the last */
#define CUTS 24u     /* pieces of a run; the rest comes whole */
#define LANE_REQ 9
#define SIDE_REQ 10
#define CONTROL_REQ 20

typedef struct { /* what came of something, in order; neighbouring bytes of one stream are one */
    uint8_t bytes[LOG];
    size_t n, last; /* last: where the last entry begins */
} record;

typedef struct {
    const ssb_crypto *crypto;
    uint32_t events, share, room, keeps, steps;
    size_t from; /* where the cuts begin */
    uint32_t most;
    int split, breaks, goodbye;
} settings;

static ssb_hub hub;
static ssb_link near, far; /* packets arrive at near; far has the lanes */
static ssb_lane lane, side;
static ssb_inlet inlets[INLETS];
static size_t inlets_n;
static uint32_t elsewhere; /* slabs that other links hold */
static int broken;         /* something was closed in between: what comes of the rest is not foretold */

static uint8_t memory[(SLABS + 1) * (SSB_SLAB + sizeof(ssb_slab_info)) + SSB_SCRATCH + SSB_SLAB]
    __attribute__((aligned(4096)));
static uint8_t plain[PLAIN + 600], wire[IN], in[IN], ev[EVENTS], out[OUT];
static record told, relayed, wanted_events, wanted_lane, sent[2], received[2];

static struct { /* what far's peer has read: a box cut into packets */
    uint8_t nonce[SSB_NONCE];
    uint8_t body[2 * LOG];
    size_t n, at, packet_at;
    int ended;
} reader;

static uint8_t keys[4][SSB_KEY];

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    random_fill(text, sizeof text);
    for (int i = 0; i < 4; i++) random_fill(keys[i], SSB_KEY);
    CHECK(sizeof memory >= ssb_hub_size(SLABS));
    return 0;
}

/* ---------------------------------------------------------------- records */

UNCHECKED static void note(record *r, int kind, int flags, int32_t req, const uint8_t *body, size_t n) {
    const uint32_t length = (uint32_t)n;
    CHECK(r->n + SSB_EVENT_HEAD + n <= LOG);
    uint8_t *p = r->bytes + r->n;
    r->last = r->n;
    p[0] = (uint8_t)kind;
    p[1] = (uint8_t)flags;
    p[2] = p[3] = 0;
    memcpy(p + 4, &req, 4);
    memcpy(p + 8, &length, 4);
    if (n > 0) memcpy(p + SSB_EVENT_HEAD, body, n);
    r->n += SSB_EVENT_HEAD + n;
}

/* Bytes of a stream. */
UNCHECKED static void note_bytes(record *r, int32_t req, const uint8_t *body, size_t n) {
    uint8_t *last = r->bytes + r->last;
    if (n == 0) return;
    if (r->n == 0 || last[0] != SSB_EV_CHUNK || memcmp(last + 4, &req, 4) != 0) {
        note(r, SSB_EV_CHUNK, SSB_STREAM, req, body, n);
        return;
    }
    uint32_t length;
    CHECK(r->n + n <= LOG);
    memcpy(&length, last + 8, 4);
    length += (uint32_t)n;
    memcpy(last + 8, &length, 4);
    memcpy(r->bytes + r->n, body, n);
    r->n += n;
}

static void clear(record *r) { r->n = r->last = 0; }

static int same(const record *a, const record *b) { return a->n == b->n && memcmp(a->bytes, b->bytes, a->n) == 0; }

/* `a` may end early, in the midst of the bytes of a stream too. */
static int begins(const record *a, const record *b) {
    uint32_t some, all;
    if (a->n == 0) return 1;
    if (a->n > b->n || memcmp(a->bytes, b->bytes, a->last + 8) != 0) return 0;
    memcpy(&some, a->bytes + a->last + 8, 4);
    memcpy(&all, b->bytes + a->last + 8, 4);
    const size_t body = a->last + SSB_EVENT_HEAD;
    return some <= all && (some == all || a->bytes[a->last] == SSB_EV_CHUNK) &&
           memcmp(a->bytes + body, b->bytes + body, some) == 0;
}

/* ---------------------------------------------------------------- the oracle */

UNCHECKED static void nonce_add(uint8_t *nonce) {
    for (int i = SSB_NONCE - 1; i >= 0 && ++nonce[i] == 0; i--) continue;
}

/* Open the boxes of the wire; how many plain bytes, and the code that follows them. */
static int open_all(const uint8_t *from, size_t n, uint8_t *to, size_t *to_n) {
    uint8_t nonce[SSB_NONCE];
    memcpy(nonce, keys[3], SSB_NONCE);
    *to_n = 0;
    for (size_t at = 0; n - at >= SSB_BOX_HEADER;) {
        const uint8_t *box = from + at;
        size_t any = 0;
        if (!null_verify(box, nonce, keys[2], 18)) return SSB_E_HEADER;
        for (size_t i = SSB_MAC; i < SSB_BOX_HEADER; i++) any |= box[i];
        if (any == 0) return n - at > SSB_BOX_HEADER ? SSB_E_AFTER : SSB_ENDED;
        const size_t body = (size_t)box[SSB_MAC] << 8 | box[SSB_MAC + 1];
        if (body == 0 || body > SSB_BOX_BODY) return SSB_E_LENGTH;
        if (n - at < SSB_BOX_HEADER + body) return SSB_OK;
        nonce_add(nonce);
        if (!null_verify(box + SSB_MAC + 2, nonce, keys[2], body)) return SSB_E_BODY;
        nonce_add(nonce);
        memcpy(to + *to_n, box + SSB_BOX_HEADER, body);
        *to_n += body;
        at += SSB_BOX_HEADER + body;
    }
    return SSB_OK;
}

typedef struct { /* inlets as the oracle knows them */
    int32_t reqs[INLETS];
    size_t n;
} opened;

static int has(const opened *o, int32_t req) {
    for (size_t i = 0; i < o->n; i++)
        if (o->reqs[i] == req) return 1;
    return 0;
}

static void expect_event(opened *o, int flags, int32_t req, const uint8_t *body, size_t n) {
    note(&wanted_events, SSB_EV_PACKET, flags, req, body, n);
    if (flags == (SSB_STREAM | 2) && req > 0 && !has(o, req) && o->n < INLETS) o->reqs[o->n++] = req;
}

static void expect_empty(opened *o, int flags, int32_t req) {
    if (flags == 0 && req == 0) note(&wanted_events, SSB_EV_GOODBYE, 0, 0, NULL, 0);
    else if (req == 0) return;
    else if (flags & SSB_END) expect_event(o, SSB_STREAM | SSB_END | 2, req, (const uint8_t *)"true", 4);
    else if (!has(o, req)) expect_event(o, flags, req, NULL, 0);
}

/* What has to come of plain bytes: see ssb_link_receive in ssbfast.h. A code < 0 for a mistake in a packet. */
static int expect(const uint8_t *p, size_t n, const ssb_limits *limits) {
    opened o = {{1, -1}, 2};
    for (size_t at = 0; n - at >= SSB_PACKET_HEAD;) {
        const int flags = p[at] & 15;
        const uint32_t length = load32(p + at + 1);
        const int32_t req = (int32_t)load32(p + at + 5);
        if ((flags & SSB_TYPE_MASK) == 3) return SSB_E_TYPE;
        at += SSB_PACKET_HEAD;
        const size_t here = smaller(length, n - at);
        const uint8_t *body = p + at;
        at += here;
        if (length == 0) expect_empty(&o, flags, req);
        else if (flags == SSB_STREAM && req == 1) note_bytes(&wanted_lane, LANE_REQ, body, here);
        else if (flags == SSB_STREAM && req != 0 && has(&o, req)) note_bytes(&wanted_events, req, body, here);
        else if (length > (req < 0 ? limits->answer_body : limits->call_body)) {
            if (flags != SSB_STREAM || req == 0) return SSB_E_PACKET;
        } else if (req == 0 || here < length) continue;
        else if (req == 1 && !(flags & SSB_END)) note(&wanted_lane, SSB_EV_PACKET, flags, LANE_REQ, body, length);
        else expect_event(&o, flags, req, body, length);
    }
    return SSB_OK;
}

/* ---------------------------------------------------------------- far's peer */

static record *of(int32_t req) {
    CHECK(req == LANE_REQ || req == SIDE_REQ || req == CONTROL_REQ);
    return req == LANE_REQ ? &relayed : &received[req == CONTROL_REQ];
}

static void read_box(const uint8_t *body, size_t n, int split) {
    CHECK(!split || reader.at < reader.packet_at || n == SSB_PACKET_HEAD); /* a head has a box of its own */
    CHECK(reader.n + n <= sizeof reader.body);
    memcpy(reader.body + reader.n, body, n);
    reader.n += n;
    while (reader.n - reader.at >= SSB_PACKET_HEAD) {
        const uint8_t *head = reader.body + reader.at;
        const uint32_t length = load32(head + 1);
        const int32_t req = (int32_t)load32(head + 5);
        if (length == 0 || reader.n - reader.at - SSB_PACKET_HEAD < length) break;
        if (head[0] == SSB_STREAM && req != CONTROL_REQ) note_bytes(of(req), req, head + SSB_PACKET_HEAD, length);
        else note(of(req), SSB_EV_PACKET, head[0], req, head + SSB_PACKET_HEAD, length);
        reader.at += SSB_PACKET_HEAD + length;
    }
    reader.packet_at = reader.n > reader.at ? reader.n + 1 : reader.at; /* above at: a packet has begun */
}

static void read_wire(const uint8_t *from, size_t n, int split) {
    for (size_t at = 0; at < n;) {
        const uint8_t *box = from + at;
        CHECK(!reader.ended && n - at >= SSB_BOX_HEADER);
        CHECK(null_verify(box, reader.nonce, keys[0], 18));
        const size_t body = (size_t)box[SSB_MAC] << 8 | box[SSB_MAC + 1];
        reader.ended = body == 0;
        at += SSB_BOX_HEADER + body;
        if (reader.ended) continue;
        CHECK(body <= SSB_BOX_BODY && at <= n);
        nonce_add(reader.nonce);
        CHECK(null_verify(box + SSB_MAC + 2, reader.nonce, keys[0], body));
        nonce_add(reader.nonce);
        read_box(box + SSB_BOX_HEADER, body, split);
    }
}

/* Send all that waits at far. */
static void flush_far(const settings *s) {
    const int waits = ssb_link_queued(&far) + ssb_link_control_queued(&far) > 0;
    const int64_t id = ssb_hub_next_dirty(&hub);
    CHECK(id == 2 || (id == -1 && !waits));
    for (int code = SSB_FULL, n = 0; code == SSB_FULL; n++) {
        const size_t room = n == 0 && s->room < OUT ? SSB_BOX_HEADER + 64 + s->room : OUT;
        uint8_t *to = out + OUT - room;
        size_t out_n = 0;
        code = ssb_link_flush(&far, to, room, &out_n);
        CHECK(out_n <= room && n < 100);
        CHECK(code == SSB_OK || code == SSB_FULL || (code == SSB_ENDED && s->goodbye) || (code == SSB_E_CLOSED && broken));
        if (code >= 0) read_wire(to, out_n, s->split);
    }
}

/* ---------------------------------------------------------------- the run */

/* Who holds what: every slab is somebody's. */
static void account(void) {
    uint32_t ids[3];
    uint64_t held[3], all = 0;
    const size_t n = ssb_hub_heavy(&hub, 1, ids, held, 3);
    CHECK(n <= 2);
    for (size_t i = 0; i < n; i++) {
        CHECK(ids[i] == 1 || ids[i] == 2);
        all += held[i];
    }
    CHECK(all + elsewhere == ssb_hub_lent(&hub) && ssb_hub_outgoing(&hub) <= all);
    CHECK(ssb_hub_heavy(&hub, all + 1, ids, held, 3) == 0);
}

/* The call that opens a stream gets an inlet, as a room does it. */
static void take_events(size_t n, const settings *s) {
    uint32_t count = 0;
    for (size_t at = 0; at < n; count++) {
        const uint8_t *p = ev + EVENTS - s->room + at;
        int32_t req;
        uint32_t length;
        memcpy(&req, p + 4, 4);
        memcpy(&length, p + 8, 4);
        at += SSB_EVENT_HEAD + length;
        CHECK(at <= n);
        if (p[0] == SSB_EV_CHUNK) note_bytes(&told, req, p + SSB_EVENT_HEAD, length);
        else note(&told, p[0], p[1], req, p + SSB_EVENT_HEAD, length);
        if (p[0] != SSB_EV_PACKET || p[1] != (SSB_STREAM | 2) || req <= 0 || inlets_n == INLETS) continue;
        if (ssbi_inlet_find(&near, req) == NULL) ssb_inlet_init(&inlets[inlets_n++], &near, req, NULL);
    }
    CHECK(s->events == 0 || count <= s->events);
}

/* Between two calls: what else happens to the links. */
static void meanwhile(choices *c, settings *s) {
    const uint32_t what = choose(c, 32), n = 1 + (what & 3 ? what * 9 : what);
    const int full = elsewhere > 0;
    if (what < 4) {
        const int code = ssb_lane_write(&side, text + what, n);
        CHECK(code == SSB_OK || (code == SSB_FULL && (full || ssb_lane_full(&side))) || (broken && code == SSB_E_CLOSED));
        if (code == SSB_OK) note_bytes(&sent[0], SIDE_REQ, text + what, n);
    } else if (what < 6) {
        const int code = ssb_lane_packet(&side, 2, text + what, n);
        CHECK(code == SSB_OK || (full && code == SSB_FULL) || (broken && code == SSB_E_CLOSED));
        if (code == SSB_OK) note(&sent[0], SSB_EV_PACKET, 2, SIDE_REQ, text + what, n);
    } else if (what < 9) {
        const int code = ssb_link_control(&far, 2, CONTROL_REQ, text + what, n);
        CHECK(code == SSB_OK || (full && code == SSB_FULL) || (broken && code == SSB_E_CLOSED));
        if (code == SSB_OK) note(&sent[1], SSB_EV_PACKET, 2, CONTROL_REQ, text + what, n);
    } else if (what < 16) {
        flush_far(s);
    } else if (what < 20 && s->breaks) {
        broken = 1;
        if (what == 16) ssb_lane_clear(&lane);
        else if (what == 17) ssb_lane_close(&lane);
        else if (what == 18) ssb_inlet_close(&inlets[choose(c, (uint32_t)inlets_n)]);
        else ssb_link_close(&far);
    }
    account();
}

static int documented(int code) {
    return code == SSB_OK || code == SSB_ENDED || (code >= SSB_E_TYPE && code <= SSB_E_HEADER) || code == SSB_E_PACKET ||
           (code == SSB_E_MEMORY && elsewhere > 0);
}

static size_t next_piece(const settings *s, size_t at, size_t n, uint32_t count) {
    if (at < s->from) return smaller(s->from, n) - at;
    return count < CUTS ? smaller(1 + random_below(s->most), n - at) : n - at;
}

/* Answer SSB_AGAIN and SSB_BLOCKED until the input is used up; the last code. More of it may be kept meanwhile. */
static int go_on(int code, size_t ev_n, size_t need, settings *s, choices *c, size_t *at, size_t n) {
    for (int rounds = 0;; rounds++) {
        CHECK(rounds < 4000);
        take_events(ev_n, s);
        account();
        if (code != SSB_AGAIN && code != SSB_BLOCKED) return code;
        if (code == SSB_BLOCKED) {
            const ssb_lane *full = ssb_link_blocked(&near);
            CHECK(full == &lane || (full == NULL && ssb_hub_left(&hub) == 0));
            flush_far(s);
        } else if (s->keeps > 0 && random_below(s->keeps) == 0) { /* the buffer is wanted for something else */
            const size_t more = smaller(random_below(60), n - *at);
            const int kept = ssb_link_keep(&near, wire + *at, more);
            CHECK(kept == SSB_OK || (kept == SSB_E_MEMORY && elsewhere > 0));
            *at += more;
            memset(in + IN - CUT, 0xaa, CUT);
        }
        if (s->steps > 0) {
            meanwhile(c, s);
            s->steps--;
        }
        if (need > s->room) s->room = (uint32_t)need;
        ev_n = s->room;
        code = ssb_link_proceed(&near, ev + EVENTS - s->room, &ev_n, &need);
    }
}

static int run(settings *s, choices *c, size_t n) {
    int code = SSB_OK;
    uint32_t count = 0;
    for (size_t at = 0; at < n && code >= 0; count++) {
        const size_t piece = next_piece(s, at, n, count);
        uint8_t *from = in + IN - piece; /* what lies behind it must not be read */
        size_t ev_n = s->room, need = 0;
        memcpy(from, wire + at, piece);
        at += piece;
        code = ssb_link_receive(&near, from, piece, ev + EVENTS - s->room, &ev_n, &need);
        code = go_on(code, ev_n, need, s, c, &at, n);
        if (s->steps > 0) {
            meanwhile(c, s);
            s->steps--;
        }
    }
    if (code < 0) { /* dead: the same answer to every later call */
        size_t ev_n = EVENTS, need = 0;
        CHECK(ssb_link_receive(&near, in, 1, ev, &ev_n, &need) == code && ev_n == 0);
        CHECK(ssb_link_keep(&near, in, 1) == code && ssb_link_held(&near) == 0);
    }
    return code;
}

/* ---------------------------------------------------------------- the input */

/* One box, as ssb_seal makes it, or the goodbye for n = 0; behind it. */
UNCHECKED static uint8_t *write_box(uint8_t *to, uint8_t *nonce, const uint8_t *body, size_t n) {
    null_mac(to, nonce, keys[2], 18);
    memset(to + SSB_MAC, 0, 18);
    if (n == 0) return to + SSB_BOX_HEADER;
    nonce_add(nonce);
    to[SSB_MAC] = (uint8_t)(n >> 8);
    to[SSB_MAC + 1] = (uint8_t)n;
    null_mac(to + SSB_MAC + 2, nonce, keys[2], n);
    nonce_add(nonce);
    memcpy(to + SSB_BOX_HEADER, body, n);
    return to + SSB_BOX_HEADER + n;
}

/* Packets as the input wants them, in boxes; how many bytes. */
static size_t write_wire(choices *c) {
    static const int32_t reqs[] = {1, 1, -1, -1, 2, -2, 0, 3};
    size_t n = 0;
    while (c->n > 0 && n < PLAIN - 600) {
        const size_t length = choose(c, 8) ? choose(c, 40) : choose(c, 600);
        const int flags = (int)choose(c, 256);
        ssb_write_head(plain + n, (uint8_t)flags, (uint32_t)length, reqs[choose(c, 8)]);
        memcpy(plain + n + SSB_PACKET_HEAD, text + n, length);
        n += SSB_PACKET_HEAD + length;
        if (choose(c, 16) == 1) plain[choose(c, (uint32_t)n)] ^= (uint8_t)choose(c, 256);
    }
    uint8_t nonce[SSB_NONCE], *to = wire;
    memcpy(nonce, keys[3], SSB_NONCE);
    for (size_t from = 0; from < n;) {
        const size_t body = choose(c, 2) || to > wire + IN / 2 ? n - from : 1 + choose(c, 300);
        const size_t take = smaller(body, n - from);
        to = write_box(to, nonce, plain + from, take);
        from += take;
    }
    if (choose(c, 4) == 1) {
        to = write_box(to, nonce, NULL, 0);
        if (choose(c, 4) == 1) *to++ = 1;
    }
    const size_t at = (size_t)(to - wire);
    if (choose(c, 8) == 1 && at > 0) wire[choose(c, (uint32_t)at)] ^= (uint8_t)(1 + choose(c, 255));
    return at;
}

static settings choose_settings(choices *c) {
    const uint32_t how = choose(c, 256), more = choose(c, 256), where = choose(c, 256);
    settings s = {how & 1 ? &NULL_BATCHES : &NULL_TABLE, 0, PLAIN, 2000, 0, 0, 0, 60, 0, 0, 0};
    if (how & 2) s.events = 1 + (more & 3);
    if (how & 4) s.share = 1 + more * 4;
    if (how & 8) s.room = SSB_EVENT_HEAD + more;
    if (how & 16) s.keeps = 1 + (more & 7);
    if (how & 32) s.steps = 1 + (more & 15);
    s.split = how & 64;
    s.breaks = (how & 128) && (more & 16);
    s.goodbye = more & 32;
    elsewhere = (how & 128) && (more & 64) ? SLABS - 1 - where % 24 : 0;
    s.from = (size_t)(where & 63) * 32;
    s.most = where & 64 ? 1 + more : 1 + (more & 7);
    return s;
}

static void begin(const settings *s, const ssb_limits *limits) {
    random_state = 7 + s->from;
    inlets_n = 2;
    broken = 0;
    CHECK(ssb_hub_init(&hub, memory, ssb_hub_size(SLABS)) == SSB_OK);
    hub._lent = elsewhere;
    ssb_link_init(&near, &hub, 1, s->crypto, limits, keys[1], keys[3], keys[2], keys[3], 0);
    ssb_link_init(&far, &hub, 2, s->crypto, limits, keys[0], keys[3], keys[1], keys[3], s->split);
    ssb_lane_init(&lane, &far, LANE_REQ, s->share);
    ssb_lane_init(&side, &far, SIDE_REQ, s->share);
    ssb_inlet_init(&inlets[0], &near, 1, &lane);
    ssb_inlet_init(&inlets[1], &near, -1, NULL);
    memcpy(reader.nonce, keys[3], SSB_NONCE);
    reader.n = reader.at = reader.packet_at = 0;
    reader.ended = 0;
    record *all[] = {&told, &relayed, &wanted_events, &wanted_lane, &sent[0], &sent[1], &received[0], &received[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) clear(all[i]);
}

static void compare(int code, int wanted) {
    CHECK(documented(code));
    if (broken) return;
    CHECK(same(&sent[0], &received[0]) && same(&sent[1], &received[1]));
    if (code == SSB_E_MEMORY) {
        CHECK(begins(&told, &wanted_events) && begins(&relayed, &wanted_lane));
        return;
    }
    CHECK(code == wanted && same(&told, &wanted_events) && same(&relayed, &wanted_lane));
}

static void end(void) {
    size_t at = 0, n = 0;
    ssb_link_close(&near);
    account();
    ssb_link_close(&far);
    CHECK(ssb_hub_next_dirty(&hub) == -1 && hub._links == NULL);
    CHECK(ssb_hub_lent(&hub) == elsewhere && ssb_hub_outgoing(&hub) == 0);
    ssb_hub_trim(&hub);
    CHECK(ssb_hub_gap(&hub, &at, &n) == 1 && n == (size_t)SLABS * SSB_SLAB && ssb_hub_gap(&hub, &at, &n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    choices c = {data, n};
    settings s = choose_settings(&c);
    const ssb_limits limits = {SSB_BOX_BODY, 300, 580, 1u << 20, 1u << 20, s.events};
    choices steps = c; /* the same bytes say what happens in between */
    begin(&s, &limits);
    const size_t wire_n = write_wire(&c);
    size_t plain_n = 0;
    int wanted = open_all(wire, wire_n, plain, &plain_n);
    const int mistake = expect(plain, plain_n, &limits);
    if (mistake < 0) wanted = mistake;
    const int code = run(&s, &steps, wire_n);
    if (s.goodbye) ssb_link_goodbye(&far);
    flush_far(&s);
    CHECK(broken || reader.ended == (s.goodbye != 0));
    compare(code, wanted);
    end();
    return 0;
}
