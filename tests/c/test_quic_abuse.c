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

int main(void) {
    crypto_begin();
    no_timer_spins();
    acks_of_acks();
    no_byte_is_forgotten();
    return 0;
}
