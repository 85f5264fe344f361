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
    CHECK(ssb_quic_lend(w.q, 0, text, 10, 0) == 10);
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

/* Where what is in flight carries as much as can be noted, and no answer comes, probes are sent all the same. */
static void silence_with_all_noted(void) {
    wire w;
    wire_new(&w, 1);
    for (int i = 0; i < 150; i++) {
        CHECK(ssb_quic_datagram(w.q, text, 1) == SSB_OK);
        if (i % 60 == 59) hear_all(&w);
    }
    hear_all(&w);
    CHECK(w.q->item_next - w.q->item_first == 2 * BOUNDS.packets);
    for (int i = 0; i < 4; i++) {
        w.now = ssb_quic_next(w.q);
        ssb_quic_timer(w.q, w.now);
        CHECK(hear(&w));
        hear_all(&w);
        CHECK(ssb_quic_next(w.q) > w.now && w.q->item_next - w.q->item_first <= 2 * BOUNDS.packets);
    }
    wire_close(&w);
}

/* A size that is tried when its packet has to make room for others is tried again. */
static void a_size_that_makes_room(void) {
    wire w;
    ssb_quic_limits limits = BOUNDS;
    const ssb_quic_handover h = handover_new(1);
    uint8_t out[1500];
    size_t segment;
    uint32_t path;
    limits.datagram_most = 1440;
    wire_open_with(&w, &h, &limits);
    CHECK(ssb_quic_send(w.q, out, sizeof out, &segment, &path, w.now) == 1440 && w.q->mtu.flying);
    for (unsigned i = 0; i <= limits.packets; i++) { /* ACKs alone */
        SAY(&w, FRAME_PING);
        SAY(&w, FRAME_PING);
        CHECK(ssb_quic_send(w.q, out, sizeof out, &segment, &path, w.now) > 0);
    }
    CHECK(!w.q->mtu.flying || w.q->mtu.tries > 0);
    wire_close(&w);
}

/* Of a stream whose end is known no further credit is told. */
static void no_credit_behind_an_end(void) {
    wire w;
    int told = 0;
    wire_new(&w, 1); /* credit of both streams is due */
    SAY(&w, FRAME_RESET_STREAM, 0, 0, 10);
    while (hear(&w)) {
        const ssbi_frame *f = heard(&w, FRAME_MAX_STREAM_DATA);
        told += f != NULL;
        CHECK(f == NULL || f->stream == 1);
    }
    CHECK(told == 1);
    wire_close(&w);
}

/* ---------------------------------------------------------------- packet numbers that are left out */

/* Send until `count` numbers were left out: which ones. */
static void left_out_numbers(wire *w, uint8_t seed, uint64_t *found, unsigned count) {
    ssb_quic_limits limits = BOUNDS;
    ssb_quic_handover h = handover_new(1);
    limits.packets = 4096;
    h.congestion_window = 1 << 20;
    memset(h.random, seed, sizeof h.random);
    wire_open_with(w, &h, &limits);
    w->got = 199;
    for (uint64_t before = 199; count > 0; before = w->got) {
        ssb_quic_ping(w->q);
        CHECK(hear(w) && w->got - before <= 2);
        w->now += MS;
        if (w->got == before + 1) continue;
        *found++ = before + 1;
        count--;
    }
}

static void acks_of_what_was_left_out(void) {
    wire w;
    ssb_quic_event e;
    uint64_t numbers[3], others[3];
    left_out_numbers(&w, 1, numbers, 3);
    CHECK(numbers[0] >= 200 + 32 && numbers[2] < 200 + 96 + 256 + 512 + 1024 && look(&w).sent == w.got + 1 - 200 - 3);
    CHECK(acknowledge_range(&w, 200, numbers[0] - 1) == SSB_OK);
    CHECK(acknowledge_range(&w, numbers[0] + 1, numbers[1] - 1) == SSB_OK);
    CHECK(acknowledge_range(&w, numbers[1] + 1, numbers[1] + 2) == SSB_OK && look(&w).lost == 0);
    CHECK(acknowledge_range(&w, numbers[2] - 3, numbers[2] + 1) == SSB_ENDED);
    CHECK(event_of(&w, SSB_QUIC_CLOSED, &e) && e.stream == SSB_QUIC_BY_ERROR && e.value == QUIC_PROTOCOL);
    wire_close(&w);
    left_out_numbers(&w, 2, others, 3);
    CHECK(memcmp(numbers, others, sizeof numbers) != 0);
    wire_close(&w);
}

/* ---------------------------------------------------------------- ids that the peer retires */

static void ids_are_replaced(void) {
    wire w;
    ssb_quic_event e;
    uint8_t random[SSB_QUIC_NEW_ID], retire[2] = {FRAME_RETIRE_CONNECTION_ID, 1};
    wire_new(&w, 0);
    hear_all(&w);
    memset(random, 9, sizeof random);
    ssb_quic_new_id(w.q, random); /* none is wanted */
    CHECK(w.q->local_n == 2);
    for (uint64_t number = 2; number < 40; number++) {
        CHECK(say(&w, retire, 2) == SSB_OK && event_of(&w, SSB_QUIC_ID_SHORT, &e));
        CHECK(!event_of(&w, SSB_QUIC_ID_SHORT, &e));
        memset(random, (int)number + 100, SSB_QUIC_ID);
        memset(random + SSB_QUIC_ID, (int)number, 16);
        ssb_quic_new_id(w.q, random);
        ssb_quic_new_id(w.q, random);
        CHECK(!event_of(&w, SSB_QUIC_ID_SHORT, &e) && hear(&w));
        const uint64_t lost = w.got;
        for (int again = 0; again < 2; again++) { /* the packet with it is lost once */
            const ssbi_frame *f = heard(&w, FRAME_NEW_CONNECTION_ID);
            CHECK(f != NULL && f->stream == number && f->offset == 0 && f->value == ID);
            CHECK(memcmp(f->data, random, ID) == 0 && memcmp(f->data + ID, random + SSB_QUIC_ID, 16) == 0);
            for (int i = 0; !again && i < 3; i++) {
                ssb_quic_ping(w.q);
                CHECK(hear(&w) && heard(&w, FRAME_NEW_CONNECTION_ID) == NULL);
            }
            acknowledge_range(&w, w.got, w.got);
            w.now += MS;
            CHECK(again ? !hear(&w) || heard(&w, FRAME_NEW_CONNECTION_ID) == NULL : hear(&w) && w.got > lost);
        }
        retire[1] = (uint8_t)number;
    }
    wire_close(&w);
}

/* One that was retired before the handover and is said again is retired again, and takes no place. */
static void ids_of_before(void) {
    wire w;
    ssb_quic_event e;
    ssb_quic_handover h = handover_new(1);
    uint8_t frame[4 + ID + 16] = {FRAME_NEW_CONNECTION_ID, 1, 0, ID, 0xad};
    h.remote[0].number = 5;
    h.remote[1].number = 6;
    h.id_limit = 2;
    wire_open(&w, &h);
    CHECK(say(&w, frame, sizeof frame) == SSB_OK && !event_of(&w, SSB_QUIC_CLOSED, &e));
    CHECK(hear(&w) && heard(&w, FRAME_RETIRE_CONNECTION_ID)->stream == 1 && w.q->remote_n == 2);
    wire_close(&w);
}

/* Memory is less than 32 bits hold, or there is none: no sum wraps round to a small one. */
static void sizes_fit_32_bits(void) {
    ssb_quic_limits l = BOUNDS;
    uint64_t before = ssb_quic_size(&l), size;
    CHECK(before > 0);
    for (l.packets *= 2; (size = ssb_quic_size(&l)) > 0; l.packets *= 2) {
        CHECK(size + SSB_QUIC_PAGE - before >= (uint64_t)l.packets / 2 * (sizeof(ssbi_sent) + 2 * sizeof(ssbi_item)));
        before = size;
    }
    CHECK(before < UINT32_MAX && l.packets <= UINT32_C(1) << 28);
    l = BOUNDS;
    l.datagrams = UINT32_C(1) << 30;
    l.packets = UINT32_C(1) << 26; /* each is allowed */
    CHECK(ssb_quic_size(&l) == 0);
    l.packets = BOUNDS.packets;
    CHECK(ssb_quic_size(&l) > l.datagrams);
}

/* The peer's id that is in use grows: what still fits is told. */
static void room_for_datagrams(void) {
    wire w;
    uint8_t frame[4 + 20 + 16] = {FRAME_NEW_CONNECTION_ID, 2, 2, 20, 0xac};
    ssb_quic_handover h = handover_new(1);
    h.datagram_send = 65535;
    wire_open(&w, &h);
    CHECK(ssb_quic_datagram_room(w.q) == 1400 - 13 - 16 - 3);
    say(&w, frame, sizeof frame);
    CHECK(ssb_quic_datagram_room(w.q) == 1400 - 25 - 16 - 3);
    CHECK(ssb_quic_datagram(w.q, text, 1400 - 25 - 16 - 2) == SSB_E_PACKET);
    CHECK(ssb_quic_datagram(w.q, text, 1400 - 25 - 16 - 3) == SSB_OK);
    size_t segment, longest = 0, n;
    uint32_t path;
    while ((n = ssb_quic_send(w.q, w.datagram, BOUNDS.datagram, &segment, &path, w.now)) > 0)
        longest = n > longest ? n : longest;
    CHECK(longest == 1400 && look(&w).dropped == 0);
    wire_close(&w);
}

/* ---------------------------------------------------------------- turns */

static uint64_t bytes_in(const wire *w, uint64_t first, uint64_t last) {
    uint64_t n = 0;
    for (size_t i = 0; i < w->count; i++)
        if (w->frames[i].type >= first && w->frames[i].type <= last) n += w->frames[i].n;
    return n;
}

/* Datagrams that never end leave streams half of the packets, and take the other half. */
static void streams_beside_datagrams(void) {
    static ssb_quic_stream streams[2];
    ssb_quic_handover h = handover_new(1);
    wire w;
    uint64_t datagrams = 0, bytes = 0;
    memcpy(streams, h.streams, sizeof streams);
    streams[0].send_max = h.send_max = 1 << 20;
    h.streams = streams;
    h.datagram_send = 65535;
    wire_open(&w, &h);
    w.q->skip = QUIC_NONE;
    hear_all(&w);
    CHECK(ssb_quic_lend(w.q, 0, text, 60000, 0) == 60000);
    for (int i = 0; i < 60; i++) {
        while (ssb_quic_datagram(w.q, text, 1360) == SSB_OK) continue;
        w.now += 20 * MS;
        CHECK(hear(&w));
        datagrams += bytes_in(&w, FRAME_DATAGRAM_LENGTH, FRAME_DATAGRAM_LENGTH);
        bytes += bytes_in(&w, FRAME_STREAM, FRAME_MAX_DATA - 1);
        acknowledge_range(&w, 200, w.got);
    }
    CHECK(datagrams >= 25 * 1360 && bytes >= 25 * 1300);
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
    limits.segments = 2048;
    h.congestion_window = 1 << 20;
    wire_open_with(&w, &h, &limits);
    w.q->skip = QUIC_NONE;
    hear_all(&w);
    const uint64_t first = w.q->number;
    for (int i = 0; i < 1200; i++) {
        CHECK(ssb_quic_lend(w.q, 0, text, 1, 0) == 1);
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
    CHECK(ssb_quic_lend(w->q, 1, text, packets * 1371u, 0) == packets * 1371u);
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
    silence_with_all_noted();
    a_size_that_makes_room();
    no_credit_behind_an_end();
    acks_of_what_was_left_out();
    ids_are_replaced();
    ids_of_before();
    sizes_fit_32_bits();
    room_for_datagrams();
    streams_beside_datagrams();
    no_byte_is_forgotten();
    other_paths_say_nothing();
    the_path_before_says_nothing();
    return 0;
}
