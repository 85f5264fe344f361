/* test_quic_abuse.c: what a peer that has the keys, or a host on the way that has not, could try to make the engine
 * spend or believe. */
#include "quic_peer.h"

static uint8_t text[65536];

/* ---------------------------------------------------------------- work */

/* A timer that was followed is not due at once again, whatever is left to be sent. */
static void no_timer_spins(void) {
    wire w;
    ssb_quic_handover h = handover_new(1);
    h.congestion_window = 26000;
    wire_open(&w, &h);
    while (!w.q->congestion.held) {
        CHECK(ssb_quic_datagram(w.q, text, 1197) == SSB_OK);
        hear_all(&w);
    }
    while (w.q->congestion.in_flight + 1400 <= w.q->congestion.window) { /* while pacing holds, others fill the window */
        SAY(&w, 0x1a, 1, 2, 3, 4, 5, 6, 7, 8);
        hear_all(&w);
    }
    CHECK(w.q->congestion.held && ssbi_fifo_front(&w.q->datagrams_out) == SIZE_MAX);
    for (int i = 0; i < 6; i++) {
        w.now = ssb_quic_next(w.q);
        ssb_quic_timer(w.q, w.now);
        hear_all(&w);
        CHECK(ssb_quic_next(w.q) > w.now);
    }
    CHECK(look(&w).probes > 0);
    wire_close(&w);
}

/* An ACK of the engine's ACKs alone tells of losses as well: no packet in flight holds on to all that were sent since,
 * for each further ACK to walk over. */
static void acks_of_acks(void) {
    wire w;
    wire_new(&w, 1);
    CHECK(ssb_quic_write(w.q, 0, text, 10, 0) == 10);
    hear_all(&w);
    const uint64_t data = w.got;
    for (int i = 0; i < 12; i++) {
        SAY(&w, FRAME_PING);
        SAY(&w, FRAME_PING);
        hear_all(&w);
    }
    CHECK(w.got == data + 12 && w.q->oldest <= data && look(&w).lost == 0);
    acknowledge_range(&w, data + 1, data + 2);
    CHECK(look(&w).lost == 0);
    acknowledge_range(&w, data + 3, data + 12);
    CHECK(look(&w).lost == 1 && w.q->oldest > data);
    CHECK(hear(&w) && heard(&w, FRAME_STREAM)->offset == 10);
    wire_close(&w);
}

/* ---------------------------------------------------------------- bookkeeping that is full */

/* Every fourth packet is acknowledged, until both sets of a stream are full. What then is acknowledged finds room in
 * neither; all the same it is not forgotten. */
static void no_byte_is_forgotten(void) {
    ssb_quic_limits limits = BOUNDS;
    ssb_quic_handover h = handover_new(1);
    wire w;
    limits.packets = 4096;
    h.congestion_window = 1 << 20;
    wire_open_with(&w, &h, &limits);
    hear_all(&w);
    const uint64_t first = w.q->number;
    for (int i = 0; i < 1200; i++) {
        CHECK(ssb_quic_write(w.q, 0, text, 1, 0) == 1);
        w.now += MS;
        hear_all(&w);
    }
    CHECK(w.q->number == first + 1200);
    for (uint64_t n = first + 3; n < first + 1200; n += 4) acknowledge_range(&w, n, n);
    for (int i = 0; i < 20; i++) {
        hear_all(&w);
        acknowledge_range(&w, first, w.q->number - 1);
        w.now += MS;
    }
    CHECK(look(&w).in_flight == 0 && ssb_quic_waiting(w.q, 0) == SSB_QUIC_NEVER);
    wire_close(&w);
}

/* ---------------------------------------------------------------- paths */

/* Let a target have `packets` full packets on the way, and its caller say something by another path. */
static void look_elsewhere(wire *w, size_t packets) {
    static ssb_quic_stream streams[2];
    ssb_quic_handover h = handover_new(0);
    ssb_quic_event e;
    memcpy(streams, h.streams, sizeof streams);
    streams[1].send_max = h.send_max = 1 << 20;
    h.streams = streams;
    h.congestion_window = 30000;
    wire_open(w, &h);
    hear_all(w);
    acknowledge_range(w, 200, w->got);
    hear_all(w);
    CHECK(ssb_quic_write(w->q, 1, text, packets * 1371u, 0) == packets * 1371u);
    hear_all(w);
    uint8_t ping[1000] = {FRAME_PING};
    w->path = 5;
    say(w, ping, sizeof ping);
    CHECK(event_of(w, SSB_QUIC_PATH, &e));
    ssb_quic_challenge(w->q, 5, (const uint8_t *)"random!!");
    CHECK(hear(w) && w->path == 5 && heard(w, FRAME_PATH_CHALLENGE));
}

/* Copies that somebody sends from elsewhere make for challenges there, whose loss does not slow the path in use, and
 * whose answers do not measure it. */
static void other_paths_say_nothing(void) {
    wire w;
    look_elsewhere(&w, 0);
    const uint64_t asked = w.got;
    for (int i = 0; i < 4; i++) {
        ssb_quic_ping(w.q);
        CHECK(hear(&w));
        w.now += MS;
    }
    CHECK(w.path == 0);
    acknowledge_range(&w, asked + 1, w.got);
    const ssb_quic_figures f = look(&w);
    CHECK(f.congestion_window >= 30000 && f.in_flight == 0 && f.lost == 0 && f.threshold == QUIC_NONE);
    wire_close(&w);
    look_elsewhere(&w, 0);
    const uint64_t rtt = look(&w).rtt;
    w.now += 700 * MS;
    w.path = 0;
    acknowledge_range(&w, w.got, w.got);
    CHECK(look(&w).rtt == rtt && look(&w).in_flight == 0);
    wire_close(&w);
}

/* What was sent by the path before says nothing of the new one: RFC 9000, section 9.4. */
static void the_path_before_says_nothing(void) {
    const uint8_t response[9] = {FRAME_PATH_RESPONSE, 'r', 'a', 'n', 'd', 'o', 'm', '!', '!'};
    wire w;
    ssb_quic_event e;
    look_elsewhere(&w, 6);
    const uint64_t before = w.got;
    w.now += 10 * MS;
    w.path = 5;
    say(&w, response, sizeof response);
    CHECK(event_of(&w, SSB_QUIC_MOVED, &e) && e.value == 5);
    const ssb_quic_figures f = look(&w);
    CHECK(f.congestion_window == 12000);
    w.now += 3000 * MS;
    w.path = 5;
    acknowledge_range(&w, before - 1, before - 1); /* the last but one: others are lost, far apart in time */
    CHECK(look(&w).lost > 2 && look(&w).rtt == f.rtt && look(&w).congestion_window == 12000);
    CHECK(look(&w).persistent == 0 && ssb_quic_mtu(w.q) == 1200);
    wire_close(&w);
}

int main(void) {
    crypto_begin();
    no_timer_spins();
    acks_of_acks();
    no_byte_is_forgotten();
    other_paths_say_nothing();
    the_path_before_says_nothing();
    return 0;
}
