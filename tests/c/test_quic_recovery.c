/* test_quic_recovery.c: round trips, losses, time-outs and acknowledgements, rule by rule (RFC 9002; RFC 9000, 13). */
#include "quic_peer.h"

static uint8_t text[65536];

/* An engine with `packets` full packets of stream 0 on the way, numbered from 200 on; its own frames are done with. */
static void begin(wire *w, unsigned packets) {
    ssb_quic_handover h = handover_new(1);
    ssb_quic_stream streams[2];
    memcpy(streams, h.streams, sizeof streams);
    streams[0].send_max = h.send_max = 1 << 20;
    streams[0].receive_max = streams[1].receive_max = 10 + WINDOW;
    h.receive_max = 20 + 2 * WINDOW;
    h.receive_bidi = 4;
    h.receive_uni = 4;
    h.streams = streams;
    h.congestion_window = 1 << 20;
    wire_open(w, &h);
    CHECK(!hear(w));
    w->got = 199;
    CHECK(ssb_quic_lend(w->q, 0, text, packets * 1300u, 0) == packets * 1300u);
    for (unsigned i = 0; i < packets; i++) {
        CHECK(hear(w));
        w->now += 1;
    }
}

static void packet_threshold(void) {
    wire w;
    begin(&w, 8);
    acknowledge_range(&w, 202, 202);
    CHECK(look(&w).lost == 0);
    acknowledge_range(&w, 203, 203);
    CHECK(look(&w).lost == 1);
    acknowledge_range(&w, 206, 206);
    CHECK(look(&w).lost == 2); /* 201, and of 204 and 205 none */
    wire_close(&w);
}

static void time_threshold(void) {
    wire w;
    begin(&w, 4);
    const uint64_t sent = w.now - 4;
    w.now = sent + 80 * MS;
    acknowledge_range(&w, 201, 201);
    CHECK(look(&w).lost == 0);
    const uint64_t rtt = look(&w).rtt; /* more than the latest */
    CHECK(ssb_quic_next(w.q) == sent + rtt * 9 / 8);
    w.now = sent + rtt * 9 / 8 - 1;
    ssb_quic_timer(w.q, w.now);
    CHECK(look(&w).lost == 0);
    ssb_quic_timer(w.q, ++w.now);
    CHECK(look(&w).lost == 1);
    wire_close(&w);
}

static void round_trips(void) {
    wire w;
    ssb_quic_handover h = handover_new(1);
    h.rtt = 0;
    wire_open(&w, &h);
    ssb_quic_ping(w.q);
    CHECK(hear(&w));
    w.now += 50 * MS;
    acknowledge_range(&w, 200, 200); /* the first sample */
    CHECK(look(&w).rtt == 50 * MS && look(&w).rtt_variance == 25 * MS && look(&w).rtt_least == 50 * MS);
    ssb_quic_ping(w.q);
    CHECK(hear(&w));
    w.now += 90 * MS;
    SAY(&w, 0x02, 0x40, 201, 0x44, 0xe2, 0, 0); /* delayed by 1250 * 8 us */
    CHECK(look(&w).rtt == (7 * 50 + 80) * MS / 8 && look(&w).rtt_variance == (3 * 25 + 30) * MS / 4);
    CHECK(look(&w).rtt_least == 50 * MS);
    const ssb_quic_figures before = look(&w);
    ssb_quic_ping(w.q);
    CHECK(hear(&w));
    w.now += 90 * MS;
    SAY(&w, 0x02, 0x40, 202, 0xbf, 0xff, 0xff, 0xff, 0, 0); /* more than the peer's max_ack_delay counts as that */
    CHECK(look(&w).rtt == (7 * before.rtt + 65 * MS) / 8);
    ssb_quic_ping(w.q);
    CHECK(hear(&w));
    const ssb_quic_figures last = look(&w);
    w.now += 55 * MS;
    SAY(&w, 0x02, 0x40, 203, 0x44, 0xe2, 0, 0); /* it would be less than the least: as measured */
    CHECK(look(&w).rtt == (7 * last.rtt + 55 * MS) / 8);
    wire_close(&w);
}

static void old_acks_say_nothing(void) {
    wire w;
    begin(&w, 3);
    w.now += 40 * MS;
    acknowledge_range(&w, 201, 201);
    const ssb_quic_figures f = look(&w);
    w.now += 400 * MS;
    acknowledge_range(&w, 200, 201); /* the largest was acknowledged before: no sample */
    CHECK(look(&w).rtt == f.rtt && look(&w).in_flight < f.in_flight);
    acknowledge_range(&w, 100, 150); /* what was sent before the handover */
    CHECK(look(&w).in_flight > 0);
    wire_close(&w);
}

static void timeouts(void) {
    wire w;
    begin(&w, 4);
    const uint64_t pto = 100 * MS + 40 * MS + 25 * MS;
    uint64_t last = w.now - 1;
    CHECK(ssb_quic_next(w.q) == last + pto);
    for (unsigned round = 0; round < 4; round++) {
        w.now = last + (pto << round) - 1;
        ssb_quic_timer(w.q, w.now);
        CHECK(!hear(&w) && look(&w).probes == round);
        ssb_quic_timer(w.q, ++w.now);
        CHECK(hear(&w) && heard(&w, FRAME_STREAM)->offset == 10); /* the oldest once more */
        CHECK(hear(&w) && look(&w).lost == 0);
        CHECK(!hear(&w) || round > 0); /* then datagrams are shorter, and there are more of them */
        while (hear(&w)) continue;
        last = w.now;
        CHECK(ssb_quic_next(w.q) == last + (pto << (round + 1)));
    }
    w.now += 10 * MS;
    acknowledge_range(&w, w.got, w.got); /* it answers: all before is lost, and the count begins anew */
    CHECK(look(&w).lost > 0);
    hear_all(&w);
    CHECK(ssb_quic_next(w.q) - w.now < 2 * pto);
    wire_close(&w);
}

static void back_off_ends(void) {
    wire w;
    begin(&w, 0);
    ssb_quic_ping(w.q);
    CHECK(hear(&w));
    for (int i = 0; i < 3; i++) {
        w.now = ssb_quic_next(w.q);
        ssb_quic_timer(w.q, w.now);
        CHECK(hear(&w) && heard(&w, FRAME_PING) && !hear(&w)); /* there is nothing else */
    }
    acknowledge_range(&w, 200, w.got);
    CHECK(look(&w).in_flight == 0);
    ssb_quic_ping(w.q);
    CHECK(hear(&w));
    CHECK(ssb_quic_next(w.q) == w.now + look(&w).rtt + 4 * look(&w).rtt_variance + 25 * MS);
    wire_close(&w);
}

static void probes_pass_the_window(void) {
    wire w;
    ssb_quic_handover h = handover_new(1);
    h.congestion_window = 3 * 1400;
    wire_open(&w, &h);
    CHECK(ssb_quic_lend(w.q, 0, text, 20000, 0) == 20000);
    hear_all(&w);
    const uint64_t full = look(&w).in_flight;
    CHECK(full > 2 * 1400 && full <= 3 * 1400);
    w.now += 50 * MS;
    CHECK(!hear(&w));
    w.now = ssb_quic_next(w.q);
    ssb_quic_timer(w.q, w.now);
    CHECK(hear(&w) && hear(&w) && !hear(&w) && look(&w).in_flight > full);
    wire_close(&w);
}

/* Two packets lost so far apart, with nothing acknowledged between: persistent or not. */
static uint64_t persistent_after(uint64_t apart, int between) {
    wire w;
    begin(&w, 0);
    ssb_quic_ping(w.q);
    w.now += 1;
    CHECK(hear(&w)); /* 200 */
    w.now += 100 * MS;
    acknowledge_range(&w, 200, 200);
    ssb_quic_ping(w.q);
    w.now += 1;
    CHECK(hear(&w)); /* 201 */
    w.now += apart / 2;
    ssb_quic_ping(w.q);
    CHECK(hear(&w)); /* 202 */
    w.now += apart - apart / 2;
    ssb_quic_ping(w.q);
    CHECK(hear(&w)); /* 203 */
    for (int i = 0; i < 3; i++) {
        ssb_quic_ping(w.q);
        CHECK(hear(&w));
    }
    const uint64_t duration = 3 * (look(&w).rtt + 4 * look(&w).rtt_variance + 25 * MS);
    w.now += 100 * MS;
    if (between) SAY(&w, 0x02, 0x40, 206, 0, 1, 0, 0x02, 0x00); /* 206, 202 */
    else acknowledge_range(&w, 206, 206);
    CHECK(look(&w).lost == (between ? 2 : 3));
    const uint64_t found = look(&w).persistent, window = look(&w).congestion_window;
    CHECK(found ? window == 2 * 1400 : window > 2 * 1400);
    wire_close(&w);
    return found ? duration : 0;
}

static void persistent_congestion(void) {
    CHECK(persistent_after(200 * MS, 0) == 0);
    CHECK(persistent_after(900 * MS, 0) > 0);
    CHECK(persistent_after(900 * MS, 1) == 0);
}

static void windows(void) {
    wire w;
    begin(&w, 16);
    const uint64_t before = look(&w).congestion_window;
    w.now += 100 * MS;
    acknowledge_range(&w, 208, 215); /* 200 .. 207 are lost: one cut for all */
    CHECK(look(&w).congestion_window == before * 7 / 10 && look(&w).in_flight == 0);
    w.now += 20 * MS;
    hear_all(&w);
    w.now += 100 * MS;
    acknowledge_range(&w, w.got, w.got);
    CHECK(look(&w).lost > 8 && look(&w).congestion_window == before * 7 / 10 * 85 / 100); /* of what was sent after */
    wire_close(&w);
}

/* ---------------------------------------------------------------- acknowledgements */

static void when_to_acknowledge(void) {
    wire w;
    begin(&w, 0);
    SAY(&w, 0x01);
    CHECK(!hear(&w) && ssb_quic_next(w.q) == w.now + 25 * MS);
    w.now += 25 * MS;
    ssb_quic_timer(w.q, w.now);
    CHECK(hear(&w) && w.count == 1 && w.frames[0].offset == 25 * MS / 8 && w.frames[0].value == 100);
    SAY(&w, 0x01);
    SAY(&w, 0x01); /* the second */
    CHECK(hear(&w) && w.count == 1 && w.frames[0].value == 102);
    w.number++;
    SAY(&w, 0x01); /* behind a gap */
    CHECK(hear(&w) && w.frames[0].value == 104 && w.frames[0].first == 0);
    say_as(&w, (const uint8_t[]){0x01}, 1, 103); /* what was late */
    CHECK(hear(&w) && w.frames[0].first == 104 - 90);
    SAY(&w, 0x02, 0x40, 200, 0, 0, 0);
    w.now += 1000 * MS;
    ssb_quic_timer(w.q, w.now);
    CHECK(!hear(&w)); /* an ACK wants none */
    SAY(&w, 0x01);
    CHECK(ssb_quic_lend(w.q, 0, text, 10, 0) == 10);
    CHECK(hear(&w) && w.count == 2 && heard(&w, FRAME_ACK)); /* with what goes anyway */
    wire_close(&w);
}

static void acknowledged_acks(void) {
    wire w;
    begin(&w, 0);
    for (int i = 0; i < 600; i++) {
        w.number++; /* every second one is lost */
        SAY(&w, 0x01);
    }
    CHECK(hear(&w) && w.frames[0].count == 64);
    ssb_quic_ping(w.q);
    SAY(&w, 0x01);
    CHECK(hear(&w) && heard(&w, FRAME_ACK) && heard(&w, FRAME_PING));
    const uint64_t largest = heard(&w, FRAME_ACK)->value, duplicates = look(&w).duplicates;
    acknowledge_range(&w, w.got, w.got);
    SAY(&w, 0x01);
    SAY(&w, 0x01);
    CHECK(hear(&w) && heard(&w, FRAME_ACK)->count == 0); /* the older ones are known */
    say_as(&w, (const uint8_t[]){0x01}, 1, largest - 300);
    CHECK(look(&w).duplicates == duplicates + 1);
    wire_close(&w);
}

static void acks_alone_never_stop(void) {
    wire w;
    begin(&w, 0);
    ssb_quic_ping(w.q);
    CHECK(hear(&w)); /* never acknowledged */
    for (unsigned i = 0; i < 3 * BOUNDS.packets; i++) {
        SAY(&w, 0x01);
        SAY(&w, 0x01);
        CHECK(hear(&w) && heard(&w, FRAME_ACK));
    }
    CHECK(look(&w).lost == 1 && look(&w).in_flight == 0);
    wire_close(&w);
}

/* ---------------------------------------------------------------- what is lost is said again */

static void what_is_lost_comes_again(void) {
    wire w;
    wire_new(&w, 1);
    const int64_t uni = ssb_quic_open(w.q, 1);
    CHECK(uni == 2 && ssb_quic_open(w.q, 0) == 4);
    CHECK(ssb_quic_lend(w.q, 2, text, 100, 1) == 100 && ssb_quic_lend(w.q, 4, text, 100, 0) == 100);
    ssb_quic_reset(w.q, 0, 77);
    ssb_quic_stop(w.q, 1, 78);
    SAY(&w, 0x18, 2, 1, 8, 0xac, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
    static const uint64_t WANTED[] = {FRAME_MAX_DATA, FRAME_MAX_STREAMS_BIDI,
                                      FRAME_RETIRE_CONNECTION_ID, FRAME_RESET_STREAM, FRAME_STOP_SENDING, FRAME_STREAM};
    for (int round = 0; round < 3; round++) {
        CHECK(hear(&w));
        for (size_t i = 0; i < sizeof WANTED / sizeof *WANTED; i++) CHECK(heard(&w, WANTED[i]));
        CHECK(heard(&w, FRAME_RESET_STREAM)->value == 77 && heard(&w, FRAME_RESET_STREAM)->offset == 10);
        CHECK(heard(&w, FRAME_STOP_SENDING)->value == 78 && heard(&w, FRAME_STREAM)->n == 100);
        CHECK((w.frames[w.count - 2].type | w.frames[w.count - 1].type) & STREAM_FIN);
        w.now += 10 * MS;
        uint64_t last = 0;
        for (int i = 0; i < 3; i++) {
            ssb_quic_ping(w.q);
            CHECK(hear(&w));
            last = w.got;
        }
        w.now += 100 * MS;
        acknowledge_range(&w, last, last);
    }
    hear_all(&w);
    acknowledge_range(&w, 200, w.got);
    ssb_quic_event e;
    CHECK(event_of(&w, SSB_QUIC_RETURNED, &e) && event_of(&w, SSB_QUIC_RETURNED, &e));
    CHECK(look(&w).in_flight == 0 && !ssb_quic_is_open(w.q, 2) && ssb_quic_is_open(w.q, 4));
    wire_close(&w);
}

static void an_end_alone(void) {
    wire w;
    begin(&w, 0);
    CHECK(ssb_quic_lend(w.q, 0, text, 100, 0) == 100 && hear(&w));
    acknowledge_range(&w, w.got, w.got);
    CHECK(ssb_quic_lend(w.q, 0, text, 0, 1) == 0);
    for (int round = 0; round < 3; round++) {
        CHECK(hear(&w) && (heard(&w, FRAME_STREAM)->type & STREAM_FIN) && heard(&w, FRAME_STREAM)->n == 0);
        for (int i = 0; i < 3; i++) {
            ssb_quic_ping(w.q);
            CHECK(hear(&w));
        }
        w.now += 10 * MS;
        acknowledge_range(&w, w.got, w.got);
    }
    wire_close(&w);
}

/* ---------------------------------------------------------------- silence, pace */

static void silence(void) {
    wire w;
    ssb_quic_event e;
    begin(&w, 0);
    CHECK(ssb_quic_next(w.q) == BEGIN + 30000 * MS);
    w.now += 20000 * MS;
    SAY(&w, 0x01);
    const uint64_t heard_at = w.now;
    w.now += 25 * MS;
    ssb_quic_timer(w.q, w.now);
    CHECK(hear(&w) && ssb_quic_next(w.q) == heard_at + 30000 * MS); /* an ACK of ours says nothing */
    w.now += 1000 * MS;
    ssb_quic_ping(w.q);
    CHECK(hear(&w)); /* the first that wants an answer counts */
    const uint64_t asked_at = w.now;
    w.now += 1000 * MS;
    ssb_quic_ping(w.q);
    CHECK(hear(&w)); /* and no other */
    while (ssb_quic_next(w.q) < asked_at + 30000 * MS) {
        w.now = ssb_quic_next(w.q);
        ssb_quic_timer(w.q, w.now);
        hear_all(&w);
    }
    CHECK(ssb_quic_next(w.q) == asked_at + 30000 * MS && !event_of(&w, SSB_QUIC_CLOSED, &e));
    ssb_quic_timer(w.q, asked_at + 30000 * MS);
    CHECK(event_of(&w, SSB_QUIC_CLOSED, &e) && e.stream == SSB_QUIC_BY_SILENCE && !hear(&w));
    CHECK(ssb_quic_next(w.q) == SSB_QUIC_NEVER);
    wire_close(&w);
}

static void pace(void) {
    wire w;
    ssb_quic_handover h = handover_new(1);
    ssb_quic_stream streams[2];
    memcpy(streams, h.streams, sizeof streams);
    streams[0].send_max = h.send_max = 1 << 20;
    h.streams = streams;
    h.congestion_window = 45 * 1400;
    wire_open(&w, &h);
    CHECK(ssb_quic_lend(w.q, 0, text, 60000, 0) == 60000);
    size_t sent = 0;
    uint64_t bursts = 0, last = 0;
    while (look(&w).in_flight + 1400 <= 45 * 1400 && look(&w).unsent > 0) {
        size_t burst = 0;
        while (hear(&w)) burst += w.n;
        CHECK(burst <= 20 * 1400);
        sent += burst;
        bursts++;
        last = w.now - BEGIN;
        CHECK(ssb_quic_next(w.q) > w.now);
        w.now = ssb_quic_next(w.q);
        ssb_quic_timer(w.q, w.now);
    }
    const uint64_t most = 100 * MS * 4 / 5; /* a window in 0.8 round trips, but for what went at once */
    CHECK(bursts > 2 && last < most && last > most / 3 && sent > 60000);
    wire_close(&w);
}

int main(void) {
    crypto_begin();
    random_fill(text, sizeof text);
    packet_threshold();
    time_threshold();
    round_trips();
    old_acks_say_nothing();
    timeouts();
    back_off_ends();
    probes_pass_the_window();
    persistent_congestion();
    windows();
    when_to_acknowledge();
    acknowledged_acks();
    acks_alone_never_stop();
    what_is_lost_comes_again();
    an_end_alone();
    silence();
    pace();
    return 0;
}
