/* test_quic_hostile.c: a peer that has the keys and says anything, in any order, while the engine is used. Memory is the
 * sanitizers' to judge; here what is bounded has to stay so, and an end has to be told once. */
#include "quic_peer.h"

static uint8_t text[20000];

static uint64_t some_number(void) {
    static const uint64_t EDGES[] = {0, 1, 10, 63, 64, 199, 200, 201, 1000, 2000, 3000, 5000, 16383, 16384, WINDOW, WINDOW + 10};
    if (random_below(4) == 0) return (UINT64_C(1) << random_below(62)) - random_below(2);
    if (random_below(2)) return EDGES[random_below(sizeof EDGES / sizeof *EDGES)] + random_below(3);
    return random_below(250);
}

/* A stream that a frame of this type may name: opened by the peer, or the one of ours that is open. */
static uint64_t fitting_stream(const wire *peer, uint8_t type) {
    static const uint8_t SENDS[] = {1, 5, 3, 7, 0}, READS[] = {1, 5, 0};
    const int reads = type == 0x05 || type == 0x11;
    const uint64_t stream = reads ? READS[random_below(3)] : SENDS[random_below(5)];
    return peer->q->caller ? stream : stream ^ 1;
}

/* A frame that is well made, of numbers that may mean something; mild: nearly all may come. */
static void write_frame(ssbi_writer *w, const wire *peer, int mild) {
    static const uint8_t TYPES[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15,
                                    0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1e, 0x31};
    uint8_t type = TYPES[random_below(sizeof TYPES)];
    if (random_below(2)) type = random_below(3) ? (uint8_t)(0x08 | random_below(8)) : 0x02;
    if (ssbi_left(w) < 120) return;
    mild = mild && random_below(400) > 0;
    if (mild && (type == 0x06 || type == 0x18 || type == 0x19 || type == 0x04)) type = random_below(60) ? 0x10 : type;
    if (mild && !peer->q->caller && (type == 0x07 || type == 0x1e)) type = 0x01;
    *w->at++ = type;
    const uint64_t stream = mild ? fitting_stream(peer, type) : random_below(16);
    if (type == 0x02 || type == 0x03) {
        const uint64_t sent = peer->got > 200 ? peer->got - 200 : 0;
        const uint64_t largest = mild || random_below(50) ? 199 + random_below((uint32_t)sent + 1) : some_number();
        ssbi_write_number(w, largest);
        ssbi_write_number(w, some_number());
        const uint32_t count = random_below(4);
        ssbi_write_number(w, count);
        for (uint32_t i = 0; i < 2 * count + 1; i++) ssbi_write_number(w, random_below(6));
        for (int i = 0; type == 0x03 && i < 3; i++) ssbi_write_number(w, some_number());
    } else if (type >= 0x08 && type < 0x10) {
        const size_t n = random_below(80);
        if (mild && random_below(80) > 0) w->at[-1] = type &= (uint8_t)~STREAM_FIN;
        ssbi_write_number(w, stream);
        if (type & STREAM_OFFSET) ssbi_write_number(w, mild || random_below(8) ? random_below(900) : some_number());
        if (type & STREAM_LENGTH) ssbi_write_number(w, n);
        random_fill(w->at, n);
        w->at += n;
    } else if (type == 0x18) {
        const uint64_t number = random_below(6);
        ssbi_write_number(w, number);
        ssbi_write_number(w, random_below((uint32_t)number + 1));
        *w->at++ = 8;
        memset(w->at, (int)number, 24);
        w->at += 24;
    } else if (type == 0x1a || type == 0x1b) {
        random_fill(w->at, 8);
        w->at += 8;
    } else if (type == 0x06 || type == 0x07 || type == 0x31) {
        if (type == 0x06) ssbi_write_number(w, some_number());
        const size_t n = 1 + random_below(80);
        ssbi_write_number(w, n);
        w->at += n;
    } else if (type != 0x01 && type != 0x1e) {
        const int streams = type == 0x04 || type == 0x05 || type == 0x11 || type == 0x15;
        if (streams) ssbi_write_number(w, stream);
        ssbi_write_number(w, mild && type >= 0x12 ? random_below(60) : some_number());
        if (type == 0x04) ssbi_write_number(w, mild ? 900 + random_below(3) : some_number());
    }
}

static void use(wire *w) {
    uint8_t out[3000];
    int end;
    const uint64_t stream = random_below(12);
    switch (random_below(8)) {
    case 0:
        (void)ssb_quic_open(w->q, (int)random_below(2));
        break;
    case 1:
        (void)ssb_quic_lend(w->q, stream, text, random_below(sizeof text), random_below(4) == 0);
        break;
    case 2:
    case 3:
        (void)ssb_quic_read(w->q, stream, out, random_below(sizeof out), &end);
        break;
    case 4:
        if (random_below(10) == 0) ssb_quic_reset(w->q, stream, 1);
        if (random_below(10) == 0) ssb_quic_stop(w->q, stream, 1);
        break;
    case 5:
        w->now += random_below(60 * MS);
        if (ssb_quic_next(w->q) <= w->now) ssb_quic_timer(w->q, w->now);
        break;
    case 6:
        (void)ssb_quic_datagram(w->q, text, random_below(200));
        (void)ssb_quic_take_datagram(w->q, out, sizeof out);
        break;
    default:
        w->path = random_below(8) == 0;
    }
}

static void bounds(const wire *w) {
    const ssb_quic_figures f = look(w);
    const ssb_quic *q = w->q;
    CHECK(q->received.n <= SSBI_RANGES && q->retires_n <= RETIRES && q->remote_n <= SSB_QUIC_IDS && q->remote_n > 0);
    CHECK(f.unread <= BOUNDS.window_all && q->in_pages.lent <= q->in_pages.count);
    CHECK(q->item_next - q->item_first <= 2 * BOUNDS.packets && q->number - q->oldest <= BOUNDS.packets);
    CHECK((f.in_flight > 0) == (q->flying > 0) && q->sent_all <= greater(q->send_max, 20));
    CHECK(q->received_all <= q->receive_max && q->delivered_all <= q->received_all);
    for (uint32_t i = 0; i < BOUNDS.streams; i++) {
        const ssbi_stream *s = &q->streams[i];
        if (q->ids[i] == QUIC_NONE) continue;
        CHECK(s->base <= s->next && s->next <= s->written && s->written - s->base <= BOUNDS.window);
        CHECK(s->delivered <= s->ready && s->ready <= s->highest && s->highest <= s->receive_max);
    }
}

static void attack(int garbage) {
    wire w;
    ssb_quic_event e;
    int ended = 0;
    wire_new(&w, (int)random_below(2));
    for (int i = 0; i < 400 && !ended; i++) {
        uint8_t frames[1300];
        ssbi_writer out = {frames, frames + sizeof frames};
        memset(frames, 0, sizeof frames);
        for (uint32_t j = 0, count = 1 + random_below(4); j < count; j++) write_frame(&out, &w, garbage == 0);
        size_t n = (size_t)(out.at - frames);
        for (int j = 0; j < garbage && n > 0; j++)
            if (random_below(3) == 0) frames[random_below((uint32_t)n)] = (uint8_t)random_below(256);
        if (random_below(6) == 0) w.number += random_below(3);
        const int answer = random_below(8) ? say(&w, frames, n) : say_as(&w, frames, n, w.number - random_below(30));
        for (int j = 0; j < 3; j++) use(&w);
        if (random_below(3) == 0 && w.q->state == QUIC_ALIVE) hear_all(&w);
        while (ssb_quic_take_event(w.q, &e)) {
            CHECK(!ended);
            if (e.kind == SSB_QUIC_CLOSED) ended = 1;
            if (e.kind == SSB_QUIC_PATH) ssb_quic_challenge(w.q, (uint32_t)e.value, text);
            if (e.kind == SSB_QUIC_ID_SHORT) ssb_quic_new_id(w.q, text);
        }
        CHECK((answer == SSB_OK) >= (w.q->state == QUIC_ALIVE) && ended == (w.q->state != QUIC_ALIVE));
        bounds(&w);
    }
    wire_close(&w);
}

int main(void) {
    crypto_begin();
    for (int i = 0; i < 1500; i++) attack(i % 3);
    for (int i = 0; i < 60; i++) attack(0);
    return 0;
}
