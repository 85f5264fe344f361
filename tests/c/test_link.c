/* test_link.c: what ssbfast.h promises about hubs, links, lanes and inlets, one promise at a time. Two tunnels
 * always: origin A with streams 1 and 2, target B with streams 11 and 12. */
#include "peers.h"

static ssb_hub hub;
static ssb_link a, b;
static peer pa, pb;
static ssb_lane to_b[2], to_a[2];
static ssb_inlet from_a[2], from_b[2];
static guarded in_guard, out_guard, ev_guard;
static uint8_t plain[WIRE], ev[EVENTS];
static size_t plain_n, ev_n, need;
static uint8_t *mem;

static void start_with(uint32_t slabs, const ssb_limits *limits, uint32_t share, int split) {
    mem = hub_new(&hub, slabs);
    connect_pair(&a, &pa, &hub, 1, limits, 0);
    connect_pair(&b, &pb, &hub, 2, limits, split);
    for (int i = 0; i < 2; i++) {
        ssb_lane_init(&to_b[i], &b, 11 + i, share);
        ssb_lane_init(&to_a[i], &a, -1 - i, share);
        ssb_inlet_init(&from_a[i], &a, 1 + i, &to_b[i]);
        ssb_inlet_init(&from_b[i], &b, -11 - i, &to_a[i]);
    }
    plain_n = 0;
}

static void start(void) { start_with(SSB_SLAB_RESERVE + 500, &LIMITS, 262144, 0); }

static void stop(void) {
    ssb_link_close(&a);
    ssb_link_close(&b);
    CHECK(ssb_hub_lent(&hub) == 0 && ssb_hub_next_dirty(&hub) == -1);
    ssb_hub_trim(&hub);
    size_t at = 0, n = 0;
    CHECK(ssb_hub_gap(&hub, &at, &n) == 1 && n / SSB_SLAB == ssb_hub_left(&hub) + SSB_SLAB_RESERVE);
    CHECK(ssb_hub_gap(&hub, &at, &n) == 0);
    free(mem);
}

static void say(int flags, int32_t req, const void *body, size_t n) {
    plain_n += packet(plain + plain_n, flags, req, body, n);
}

/* A's peer sends all that was said; the answer of the first call. */
static int hear_in(size_t room) {
    const size_t n = ssb_sealed_size(plain_n);
    uint8_t *in = guard_end(&in_guard, n);
    CHECK(ssb_seal(&pa.sealer, plain, plain_n, in) == SSB_OK);
    plain_n = 0;
    ev_n = room;
    return ssb_link_receive(&a, in, n, guard_end(&ev_guard, room), &ev_n, &need);
}

static int hear(void) {
    const int code = hear_in(EVENTS);
    memcpy(ev, guard_end(&ev_guard, EVENTS), ev_n);
    return code;
}

static int proceed(void) {
    ev_n = EVENTS;
    return ssb_link_proceed(&a, ev, &ev_n, &need);
}

static void expect_event(size_t *at, int kind, int flags, int32_t req, const char *body) {
    CHECK(*at < ev_n);
    const event e = next_event(ev, at);
    CHECK(e.kind == kind && e.flags == flags && e.req == req);
    CHECK(e.n == strlen(body) && memcmp(e.body, body, e.n) == 0);
}

static void expect_packet(const peer *p, size_t *at, int flags, int32_t req, const void *body, size_t n) {
    uint8_t head[SSB_PACKET_HEAD];
    ssb_write_head(head, (uint8_t)flags, (uint32_t)n, req);
    CHECK(*at + sizeof head + n <= p->plain_n);
    CHECK(memcmp(p->plain + *at, head, sizeof head) == 0);
    CHECK(memcmp(p->plain + *at + sizeof head, body, n) == 0);
    *at += sizeof head + n;
}

static void splices_merge_and_keep_order(void) {
    size_t at = 0;
    start();
    say(8, 1, "one", 3);
    say(8, 2, "TWO", 3);
    say(8, 1, " more", 5);
    say(0x0a, 1, "{}", 2); /* passes whole, in order */
    say(0x09, 1, "text", 4);
    say(8, 1, "!", 1);
    CHECK(hear() == SSB_OK && ev_n == 0);
    CHECK(ssb_hub_next_dirty(&hub) == 2 && ssb_hub_next_dirty(&hub) == -1);
    CHECK(ssb_lane_put(&to_b[0]) == 8 + 11 + 13 + 1 && ssb_lane_queued(&to_b[1]) == 3);
    CHECK(ssb_link_queued(&b) == 33 + 3);
    CHECK(flush(&b, &pb, &out_guard, 4130) == SSB_OK);
    expect_packet(&pb, &at, 8, 11, "one more", 8);
    expect_packet(&pb, &at, 0x0a, 11, "{}", 2);
    expect_packet(&pb, &at, 9, 11, "text", 4);
    expect_packet(&pb, &at, 8, 11, "!", 1);
    expect_packet(&pb, &at, 8, 12, "TWO", 3);
    CHECK(at == pb.plain_n && pb.boxes_n == 1);
    CHECK(ssb_lane_taken(&to_b[0]) == 33 && ssb_hub_lent(&hub) == 0);
    stop();
}

static void full_boxes(void) {
    static uint8_t data[4087 * 3 + 10];
    start();
    random_fill(data, sizeof data);
    CHECK(ssb_lane_write(&to_b[0], data, sizeof data) == SSB_OK);
    CHECK(flush(&b, &pb, &out_guard, 131072) == SSB_OK);
    CHECK(pb.boxes_n == 4 && pb.boxes[0] == 4096 && pb.boxes[2] == 4096 && pb.boxes[3] == 19);
    stop();
}

static void control_goes_first(void) {
    size_t at = 0;
    start();
    CHECK(ssb_lane_write(&to_b[0], (const uint8_t *)"later", 5) == SSB_OK);
    CHECK(ssb_link_control(&b, 2, 7, (const uint8_t *)"{}", 2) == SSB_OK);
    CHECK(ssb_link_control_queued(&b) == 11);
    CHECK(ssb_link_control(&b, 8, 7, (const uint8_t *)"", 0) == SSB_E_CLOSED); /* an empty body would end all */
    CHECK(ssb_lane_packet(&to_b[0], 0x0e, (const uint8_t *)"true", 4) == SSB_OK);
    CHECK(ssb_lane_packet(&to_b[0], 0x0e, (const uint8_t *)"", 0) == SSB_E_CLOSED);
    CHECK(ssb_link_control(&b, 0, 0, NULL, 0) == SSB_OK);
    CHECK(flush(&b, &pb, &out_guard, 4130) == SSB_OK);
    expect_packet(&pb, &at, 2, 7, "{}", 2);
    expect_packet(&pb, &at, 0, 0, "", 0);
    expect_packet(&pb, &at, 8, 11, "later", 5);
    expect_packet(&pb, &at, 0x0e, 11, "true", 4);
    CHECK(at == pb.plain_n);
    stop();
}

static void control_waits_for_the_end_of_a_packet(void) {
    static uint8_t body[10000];
    size_t at = 0;
    start();
    CHECK(ssb_lane_packet(&to_b[0], 0x0a, body, sizeof body) == SSB_OK);
    CHECK(flush(&b, &pb, &out_guard, 4130) == SSB_FULL);
    CHECK(ssb_link_control(&b, 2, 7, (const uint8_t *)"{}", 2) == SSB_OK);
    CHECK(ssb_lane_write(&to_b[1], (const uint8_t *)"x", 1) == SSB_OK);
    ssb_lane_clear(&to_b[0]); /* what was begun goes out all the same */
    CHECK(ssb_lane_queued(&to_b[0]) == 10009 - 4096);
    ssb_lane_close(&to_b[0]); /* even now */
    CHECK(ssb_lane_write(&to_b[0], body, 1) == SSB_E_CLOSED);
    CHECK(flush(&b, &pb, &out_guard, 131072) == SSB_OK);
    expect_packet(&pb, &at, 0x0a, 11, body, sizeof body);
    expect_packet(&pb, &at, 2, 7, "{}", 2);
    expect_packet(&pb, &at, 8, 12, "x", 1);
    CHECK(at == pb.plain_n);
    stop();
}

static void split_heads(void) {
    static uint8_t data[5000];
    size_t at = 0;
    start_with(SSB_SLAB_RESERVE + 100, &LIMITS, 262144, 1);
    CHECK(ssb_lane_write(&to_b[0], data, sizeof data) == SSB_OK);
    CHECK(ssb_link_control(&b, 2, 7, (const uint8_t *)"{}", 2) == SSB_OK);
    CHECK(ssb_lane_packet(&to_b[1], 0x0a, data, 4500) == SSB_OK);
    while (flush(&b, &pb, &out_guard, 4130) == SSB_FULL) continue;
    const size_t boxes[] = {9, 2, 9, 4096, 9, 4096, 404, 9, 904};
    CHECK(pb.boxes_n == 9 && memcmp(pb.boxes, boxes, sizeof boxes) == 0);
    expect_packet(&pb, &at, 2, 7, "{}", 2);
    expect_packet(&pb, &at, 8, 11, data, 4096);
    expect_packet(&pb, &at, 0x0a, 12, data, 4500);
    expect_packet(&pb, &at, 8, 11, data, 904);
    CHECK(at == pb.plain_n);
    stop();
}

static void turns_are_fair(void) {
    static uint8_t data[200000];
    start();
    CHECK(ssb_lane_write(&to_b[0], data, sizeof data) == SSB_OK);
    CHECK(ssb_lane_write(&to_b[1], data, 50000) == SSB_OK);
    for (int i = 0; i < 20; i++) {
        CHECK(flush(&b, &pb, &out_guard, 4130) == SSB_FULL);
        const uint64_t one = ssb_lane_taken(&to_b[0]), two = ssb_lane_taken(&to_b[1]);
        CHECK((one > two ? one - two : two - one) <= 2 * 4096);
    }
    stop();
}

static void events(void) {
    size_t at = 0;
    ssb_inlet deliver;
    start();
    ssb_inlet_init(&deliver, &a, 5, NULL);
    say(0x0e, 1, "true", 4);  /* an end: for Python, inlet or not */
    say(8, 5, "ab", 2);       /* delivered, and merged */
    say(8, 5, "cd", 2);
    say(0xf8, 5, "ef", 2);    /* unused bits are ignored */
    say(8, 9, "stray", 5);    /* nobody's */
    say(2, -3, "answer", 6);
    say(0x0c, 1, "", 0);      /* an empty end becomes a proper one */
    say(8, 1, "", 0);         /* dropped inside an inlet */
    say(1, 9, "", 0);         /* an empty item elsewhere */
    say(2, 0, "skipped", 7);
    say(0x0e, 0, "", 0);
    say(0, 0, "", 0);
    CHECK(hear() == SSB_OK);
    expect_event(&at, SSB_EV_PACKET, 0x0e, 1, "true");
    expect_event(&at, SSB_EV_CHUNK, 8, 5, "abcdef");
    expect_event(&at, SSB_EV_PACKET, 8, 9, "stray");
    expect_event(&at, SSB_EV_PACKET, 2, -3, "answer");
    expect_event(&at, SSB_EV_PACKET, 0x0e, 1, "true");
    expect_event(&at, SSB_EV_PACKET, 1, 9, "");
    expect_event(&at, SSB_EV_GOODBYE, 0, 0, "");
    CHECK(at == ev_n && ssb_link_queued(&b) == 0);
    stop();
}

static void a_stream_that_opens_gets_its_inlet_in_time(void) {
    size_t at = 0;
    ssb_lane lane;
    ssb_inlet inlet;
    start();
    say(0x0a, 3, "{open}", 6);
    say(8, 3, "hello", 5);
    CHECK(hear() == SSB_AGAIN);
    expect_event(&at, SSB_EV_PACKET, 0x0a, 3, "{open}");
    CHECK(at == ev_n);
    uint8_t none[1] = {0};
    size_t n = EVENTS;
    CHECK(ssb_link_receive(&a, none, 0, ev, &n, &need) == SSB_E_CLOSED && n == 0); /* proceed is due */
    ssb_lane_init(&lane, &b, 13, 1000);
    ssb_inlet_init(&inlet, &a, 3, &lane);
    CHECK(proceed() == SSB_OK && ev_n == 0);
    CHECK(ssb_lane_queued(&lane) == 5);
    ssb_link_close(&b);
    CHECK(ssb_lane_write(&lane, none, 1) == SSB_E_CLOSED && ssb_lane_queued(&lane) == 0);
    say(8, 3, "dropped", 7);
    say(0x0a, 3, "dropped too", 11);
    CHECK(hear() == SSB_OK && ev_n == 0);
    stop();
}

static void little_room_for_events(void) {
    static uint8_t body[3000];
    size_t at = 0;
    ssb_inlet deliver;
    start();
    ssb_inlet_init(&deliver, &a, 5, NULL);
    random_fill(body, sizeof body);
    say(2, 9, body, sizeof body);
    CHECK(hear_in(100) == SSB_AGAIN && ev_n == 0 && need == SSB_EVENT_HEAD + sizeof body);
    CHECK(proceed() == SSB_OK);
    CHECK(next_event(ev, &at).n == sizeof body && at == ev_n);
    say(8, 5, body, sizeof body);
    size_t got = 0;
    int code = hear_in(40);
    const uint8_t *where = guard_end(&ev_guard, 40);
    for (;; code = ssb_link_proceed(&a, guard_end(&ev_guard, 40), &ev_n, &need)) {
        at = 0;
        if (ev_n > 0) {
            const event e = next_event(where, &at);
            CHECK(e.kind == SSB_EV_CHUNK && e.n <= 28 && memcmp(e.body, body + got, e.n) == 0 && at == ev_n);
            got += e.n;
        }
        if (code != SSB_AGAIN) break;
        ev_n = 40;
    }
    CHECK(code == SSB_OK && got == sizeof body);
    stop();
}

static void back_pressure(void) {
    static uint8_t data[4087];
    start_with(SSB_SLAB_RESERVE + 100, &LIMITS, 10000, 0);
    for (int i = 0; i < 8; i++) say(8, 1 + i % 2, data, sizeof data);
    CHECK(hear() == SSB_BLOCKED);
    CHECK(ssb_link_blocked(&a) == &to_b[0]);
    CHECK(ssb_lane_full(&to_b[0]) == 1 && ssb_lane_write(&to_b[0], data, 1) == SSB_FULL);
    CHECK(ssb_lane_queued(&to_b[0]) < 10000 + 4096);
    CHECK(ssb_link_held(&a) > 0);
    const size_t held = ssb_link_held(&a);
    CHECK(proceed() == SSB_BLOCKED && ssb_link_held(&a) == held);
    while (flush(&b, &pb, &out_guard, 131072) == SSB_FULL) continue;
    CHECK(proceed() == SSB_OK && ssb_link_held(&a) == 0);
    while (flush(&b, &pb, &out_guard, 131072) == SSB_FULL) continue;
    CHECK(ssb_lane_taken(&to_b[0]) == 4 * 4087 && ssb_lane_taken(&to_b[1]) == 4 * 4087);
    CHECK(ssb_hub_lent(&hub) == 0);
    stop();
}

/* One lane drains, the other never does: what waits for the second must not grow. */
static void one_stalled_lane_stays_bounded(void) {
    static uint8_t data[2000];
    start_with(SSB_SLAB_RESERVE + 400, &LIMITS, 10000, 0);
    for (int round = 0; round < 40; round++) {
        say(8, 2, data, sizeof data);
        say(8, 1, data, sizeof data);
        int code = hear();
        ssb_lane_clear(&to_b[0]); /* as if it had left */
        if (code == SSB_BLOCKED) code = proceed();
        CHECK(ssb_lane_queued(&to_b[1]) < 10000 + 4096);
        CHECK(code == SSB_OK || ssb_link_blocked(&a) == &to_b[1]);
    }
    stop();
}

/* Ten bytes of wire must not take 4096 bytes of memory for long. */
static void many_small_whole_packets(void) {
    start_with(SSB_SLAB_RESERVE + 3000, &LIMITS, 262144, 0);
    int code = SSB_OK;
    for (int round = 0; round < 100 && code == SSB_OK; round++) {
        for (int i = 0; i < 400; i++) say(0x0a, 1, "1", 1);
        code = hear();
    }
    CHECK(code == SSB_BLOCKED && ssb_hub_lent(&hub) < 4 * 65 + 420);
    stop();
}

static void pool_used_up(void) {
    static uint8_t data[4000];
    start_with(SSB_SLAB_RESERVE + 2, &LIMITS, 262144, 0);
    for (int i = 0; i < 10; i++) say(8, 1, data, sizeof data);
    CHECK(hear() == SSB_BLOCKED && ssb_link_blocked(&a) == &to_b[0] && ssb_hub_left(&hub) == 0);
    CHECK(ssb_lane_write(&to_b[1], data, 1) == SSB_FULL && ssb_lane_full(&to_b[1]));
    CHECK(ssb_lane_packet(&to_b[1], 0x0e, (const uint8_t *)"true", 4) == SSB_OK); /* an end may use the reserve */
    while (ssb_lane_packet(&to_b[1], 0x0a, data, sizeof data) == SSB_OK) continue;
    CHECK(ssb_hub_lent(&hub) == SSB_SLAB_RESERVE + 2 - 1); /* but not the last slab */
    CHECK(ssb_link_control(&a, 2, 1, data, 5000) == SSB_FULL);
    plain_n = 0;
    for (int i = 0; i < 3; i++) say(8, 1, data, sizeof data);
    CHECK(hear() == SSB_E_MEMORY);
    CHECK(proceed() == SSB_E_MEMORY && ev_n == 0);
    stop();
}

static void closing_in_the_middle(void) {
    static uint8_t data[6000];
    start();
    for (int what = 0; what < 2; what++) { /* an inlet in the middle of bytes, and of a packet that must be whole */
        plain_n = packet(plain, what ? 0x0a : 8, 1 + what, data, sizeof data);
        const size_t all = plain_n;
        plain_n = 3000;
        CHECK(hear() == SSB_OK && ev_n == 0);
        ssb_inlet_close(&from_a[what]);
        ssb_inlet_close(&from_a[what]); /* twice is fine */
        CHECK(ssb_lane_queued(&to_b[what]) == (what ? 0 : 2991));
        memcpy(plain, data, all - 3000);
        plain_n = all - 3000;
        say(2, 9, "next", 4);
        CHECK(hear() == SSB_OK);
        size_t at = 0;
        expect_event(&at, SSB_EV_PACKET, 2, 9, "next");
    }
    plain_n = packet(plain, 8, 1, data, 6000); /* now nobody's: an event, */
    CHECK(hear() == SSB_OK && ev_n == SSB_EVENT_HEAD + 6000);
    stop();
}

static void limits(void) {
    static uint8_t data[66000];
    start();
    say(8, 7, data, 65537); /* longer than a whole packet may be, but bytes of a stream: skipped */
    say(2, 7, data, 65536);
    say(2, -7, data, 65537);
    CHECK(hear() == SSB_AGAIN);
    ev_n = EVENTS;
    CHECK(proceed() == SSB_OK && ev_n == SSB_EVENT_HEAD + 65537);
    say(2, 8, "good", 4);
    ssb_write_head(plain + plain_n, 2, 65537, 7);
    plain_n += 9;
    size_t at = 0;
    CHECK(hear() == SSB_E_PACKET);
    expect_event(&at, SSB_EV_PACKET, 2, 8, "good");
    CHECK(proceed() == SSB_E_PACKET && ev_n == 0);
    stop();
    start();
    say(7, 1, "x", 1);
    CHECK(hear() == SSB_E_TYPE);
    stop();
}

static void goodbyes(void) {
    uint8_t wire[SSB_BOX_HEADER + 1];
    start();
    CHECK(ssb_lane_write(&to_b[0], (const uint8_t *)"last", 4) == SSB_OK);
    ssb_link_goodbye(&b);
    CHECK(ssb_lane_write(&to_b[0], (const uint8_t *)"late", 4) == SSB_E_CLOSED);
    CHECK(ssb_link_control(&b, 0, 0, NULL, 0) == SSB_E_CLOSED);
    CHECK(flush(&b, &pb, &out_guard, 4130) == SSB_ENDED);
    CHECK(pb.ended && pb.plain_n == 13);
    CHECK(flush(&b, &pb, &out_guard, 4130) == SSB_ENDED); /* nothing twice */
    CHECK(ssb_seal_goodbye(&pa.sealer, wire) == SSB_OK);
    ev_n = EVENTS;
    CHECK(ssb_link_receive(&a, wire, SSB_BOX_HEADER, ev, &ev_n, &need) == SSB_ENDED);
    ev_n = EVENTS;
    CHECK(ssb_link_receive(&a, wire, 1, ev, &ev_n, &need) == SSB_E_AFTER);
    stop();
    CHECK(ssb_link_flush(&b, wire, sizeof wire, &ev_n) == SSB_E_CLOSED);
}

static void dirty_list(void) {
    start();
    for (int order = 0; order < 2; order++) {
        ssb_link *first = order ? &b : &a, *second = order ? &a : &b;
        CHECK(ssb_link_control(first, 2, 1, (const uint8_t *)"1", 1) == SSB_OK);
        CHECK(ssb_link_control(second, 2, 1, (const uint8_t *)"1", 1) == SSB_OK);
        CHECK(ssb_link_control(first, 2, 1, (const uint8_t *)"1", 1) == SSB_OK);
        CHECK(ssb_hub_next_dirty(&hub) == (order ? 2 : 1));
        CHECK(ssb_hub_next_dirty(&hub) == (order ? 1 : 2));
        CHECK(ssb_hub_next_dirty(&hub) == -1);
    }
    ssb_link_goodbye(&a);
    ssb_link_goodbye(&b);
    ssb_link_close(&a);
    CHECK(ssb_hub_next_dirty(&hub) == 2);
    stop();
}

int main(void) {
    crypto_begin();
    in_guard = guard_new(WIRE);
    out_guard = guard_new(WIRE);
    ev_guard = guard_new(EVENTS);
    splices_merge_and_keep_order();
    full_boxes();
    control_goes_first();
    control_waits_for_the_end_of_a_packet();
    split_heads();
    turns_are_fair();
    events();
    a_stream_that_opens_gets_its_inlet_in_time();
    little_room_for_events();
    back_pressure();
    one_stalled_lane_stays_bounded();
    many_small_whole_packets();
    pool_used_up();
    closing_in_the_middle();
    limits();
    goodbyes();
    dirty_list();
    return 0;
}
