/* test_soak.c: three peers around one hub, streams between all of them, everything random: sizes, cuts, order,
 * room, whole packets in between, destinations that stop reading. Every byte of every stream has to arrive, in
 * order, and in the end nothing may be lent.
 *
 * usage: test_soak [rounds] */
#include "peers.h"

#define LINKS 3
#define STREAMS 8 /* on each origin; the last one is delivered to Python */
#define STEPS 400u

typedef struct {
    uint64_t sent, got; /* bytes; byte number k of stream s is pattern(s, k) */
    uint64_t wholes_sent, wholes_got;
    ssb_lane lane;
    ssb_inlet inlet;
    int target; /* -1: delivered */
} stream;

typedef struct {
    ssb_link link;
    peer far;
    uint8_t wire[WIRE]; /* on its way from the peer */
    size_t wire_n, wire_at;
    uint64_t controls_sent, controls_got, answers_sent, answers_got;
    int status, reads; /* reads: the peer takes what it is sent */
} side;

static side sides[LINKS];
static stream streams[LINKS][STREAMS];
static ssb_hub hub;
static guarded in_guard, out_guard, ev_guard;
static const ssb_limits TIGHT = {4096, 65536, 65536, 60000, 40000, 3};

static uint8_t pattern(uint32_t s, uint64_t k) { return (uint8_t)(k * 131 + s * 17 + (k >> 8)); }

static void check_bytes(stream *st, uint32_t s, const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) CHECK(p[i] == pattern(s, st->got + i));
    st->got += n;
}

/* A whole packet carries where in the stream it stands. */
static void check_whole(stream *st, const uint8_t *p, size_t n) {
    uint64_t place;
    CHECK(n >= sizeof place);
    memcpy(&place, p, sizeof place);
    CHECK(place == st->got);
    st->wholes_got++;
}

static size_t some_size(void) {
    static const uint32_t most[] = {2, 20, 300, 5000, 12000};
    return 1 + random_below(most[random_below(5)]);
}

static size_t say_one(int from, uint8_t *out) {
    static uint8_t body[16000];
    const uint32_t s = random_below(STREAMS), dice = random_below(10);
    stream *st = &streams[from][s];
    size_t n = some_size();
    if (dice == 0) { /* a call */
        sides[from].controls_sent++;
        return packet(out, 2, 999, body, n);
    }
    if (dice <= 2 && st->target >= 0) {
        if (n < 8) n = 8;
        memcpy(body, &st->sent, 8);
        st->wholes_sent++;
        return packet(out, dice == 1 ? 0x0a : 9, (int32_t)s + 1, body, n);
    }
    for (size_t i = 0; i < n; i++) body[i] = pattern(s, st->sent + i);
    st->sent += n;
    return packet(out, 8, (int32_t)s + 1, body, n);
}

/* The peer writes packets, and cuts boxes where it likes. */
static void say(int from) {
    static uint8_t plain[100000];
    side *me = &sides[from];
    if (me->wire_n > 0) return;
    size_t n = 0, at = 0;
    while (n < 60000 && random_below(20) > 0) n += say_one(from, plain + n);
    while (at < n) {
        size_t k = random_below(3) ? SSB_BOX_BODY : 1 + random_below(100);
        if (k > n - at) k = n - at;
        CHECK(ssb_seal(&me->far.sealer, plain + at, k, me->wire + me->wire_n) == SSB_OK);
        me->wire_n += SSB_BOX_HEADER + k;
        at += k;
    }
    me->wire_at = 0;
}

static void take_events(int at_side, const uint8_t *ev, size_t ev_n) {
    for (size_t at = 0; at < ev_n;) {
        const event e = next_event(ev, &at);
        if (e.kind == SSB_EV_CHUNK) {
            CHECK(e.req == STREAMS);
            check_bytes(&streams[at_side][STREAMS - 1], STREAMS - 1, e.body, e.n);
        } else {
            CHECK(e.kind == SSB_EV_PACKET && e.flags == 2 && e.req == 999);
            sides[at_side].controls_got++;
        }
    }
}

static void after(int i, int code, size_t room, size_t ev_n, size_t need) {
    ssb_link *l = &sides[i].link;
    while (code == SSB_AGAIN) {
        take_events(i, guard_end(&ev_guard, room), ev_n);
        if (need > room) room = need;
        ev_n = room;
        code = ssb_link_proceed(l, guard_end(&ev_guard, room), &ev_n, &need);
    }
    take_events(i, guard_end(&ev_guard, room), ev_n);
    CHECK(code == SSB_OK || code == SSB_BLOCKED);
    sides[i].status = code;
}

static void hear(int i) {
    side *me = &sides[i];
    size_t room = 13 + random_below(random_below(2) ? 100 : 60000), ev_n = room, need = 0;
    if (me->status == SSB_BLOCKED) {
        const int code = ssb_link_proceed(&me->link, guard_end(&ev_guard, room), &ev_n, &need);
        after(i, code, room, ev_n, need);
        return;
    }
    size_t n = random_below(4) ? 1 + random_below(20000) : 1 + random_below(50);
    if (n > me->wire_n - me->wire_at) n = me->wire_n - me->wire_at;
    uint8_t *in = guard_put(&in_guard, me->wire + me->wire_at, n);
    me->wire_at += n;
    if (me->wire_at == me->wire_n) me->wire_n = me->wire_at = 0;
    const int code = ssb_link_receive(&me->link, in, n, guard_end(&ev_guard, room), &ev_n, &need);
    after(i, code, room, ev_n, need);
}

/* Read all whole packets that the peer has received. */
static void far_reads(int i) {
    peer *far = &sides[i].far;
    size_t at = 0;
    while (far->plain_n - at >= SSB_PACKET_HEAD) {
        ssb_scanner s;
        size_t used = 0;
        int done = 0;
        uint8_t flags = 0;
        int32_t req = 0;
        uint32_t n = 0;
        ssb_scanner_init(&s);
        CHECK(ssb_scan_head(&s, far->plain + at, SSB_PACKET_HEAD, &used, &done, &flags, &req, &n) == SSB_OK && done);
        CHECK(n > 0);
        if (far->plain_n - at < SSB_PACKET_HEAD + n) break;
        const uint8_t *body = far->plain + at + SSB_PACKET_HEAD;
        at += SSB_PACKET_HEAD + n;
        if (req == -999) {
            sides[i].answers_got++;
            continue;
        }
        const int from = req / 100, s_number = req % 100;
        CHECK(from >= 0 && from < LINKS && s_number < STREAMS && streams[from][s_number].target == i);
        stream *st = &streams[from][s_number];
        if (flags == 8) check_bytes(st, (uint32_t)s_number, body, n);
        else check_whole(st, body, n);
    }
    memmove(far->plain, far->plain + at, far->plain_n - at);
    far->plain_n -= at;
    far->boxes_n = 0;
}

static void send(int i) {
    static uint8_t body[5000];
    side *me = &sides[i];
    if (random_below(5) == 0) {
        const int code = ssb_link_control(&me->link, 2, -999, body, some_size() % sizeof body + 1);
        CHECK(code == SSB_OK || code == SSB_FULL);
        if (code == SSB_OK) me->answers_sent++;
    }
    CHECK(flush(&me->link, &me->far, &out_guard, random_below(2) ? random_below(9000) : 131072) >= 0);
    far_reads(i);
}

static void set_up(uint32_t slabs) {
    static const int split[LINKS] = {0, 1, 0};
    for (int i = 0; i < LINKS; i++) {
        side *me = &sides[i];
        memset(me, 0, sizeof *me);
        connect_pair(&me->link, &me->far, &hub, (uint32_t)i, &TIGHT, split[i]);
        me->reads = 1;
    }
    for (int i = 0; i < LINKS; i++) {
        for (int s = 0; s < STREAMS; s++) {
            stream *st = &streams[i][s];
            memset(st, 0, sizeof *st);
            st->target = s == STREAMS - 1 ? -1 : (i + s) % LINKS; /* some turn back to where they came from */
            if (st->target < 0) {
                ssb_inlet_init(&st->inlet, &sides[i].link, s + 1, NULL);
                continue;
            }
            ssb_lane_init(&st->lane, &sides[st->target].link, i * 100 + s, 1000 + random_below(20000));
            ssb_inlet_init(&st->inlet, &sides[i].link, s + 1, &st->lane);
        }
    }
    CHECK(ssb_hub_left(&hub) == slabs - SSB_SLAB_RESERVE);
}

static void drain(void) {
    for (int busy = 1, rounds = 0; busy; rounds++) {
        CHECK(rounds < 1000000);
        busy = 0;
        for (int i = 0; i < LINKS; i++) {
            if (sides[i].wire_n > 0 || sides[i].status == SSB_BLOCKED) {
                hear(i);
                busy = 1;
            }
            if (flush(&sides[i].link, &sides[i].far, &out_guard, 131072) == SSB_FULL) busy = 1;
            far_reads(i);
        }
    }
}

static void run(uint64_t seed) {
    random_state = seed * 0x9e3779b97f4a7c15u + 1;
    const uint32_t slabs = SSB_SLAB_RESERVE + 3 + random_below(200);
    uint8_t *mem = hub_new(&hub, slabs);
    set_up(slabs);
    for (uint32_t step = 0; step < STEPS; step++) {
        const int i = (int)random_below(LINKS);
        if (random_below(30) == 0) sides[i].reads = !sides[i].reads;
        say(i);
        hear(i);
        if (sides[i].reads) send(i);
    }
    drain();
    CHECK(ssb_hub_lent(&hub) == 0);
    for (int i = 0; i < LINKS; i++) {
        CHECK(sides[i].controls_got == sides[i].controls_sent && sides[i].answers_got == sides[i].answers_sent);
        CHECK(sides[i].far.plain_n == 0 && ssb_link_held(&sides[i].link) == 0);
        for (int s = 0; s < STREAMS; s++) {
            const stream *st = &streams[i][s];
            CHECK(st->got == st->sent && st->wholes_got == st->wholes_sent);
        }
    }
    for (int i = 0; i < LINKS; i++) say(i), hear(i); /* and once more with everything in the middle */
    for (int i = 0; i < LINKS; i++) ssb_link_close(&sides[i].link);
    CHECK(ssb_hub_lent(&hub) == 0 && ssb_hub_next_dirty(&hub) == -1);
    free(mem);
}

int main(int argc, char **argv) {
    const uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 20;
    crypto_begin();
    in_guard = guard_new(WIRE);
    out_guard = guard_new(WIRE);
    ev_guard = guard_new(WIRE);
    for (uint64_t seed = 1; seed <= rounds; seed++) run(seed);
    return 0;
}
