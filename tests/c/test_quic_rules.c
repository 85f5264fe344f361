/* test_quic_rules.c: what a peer may not do ends the connection with the code of RFC 9000, and what it may does not. */
#include "quic_peer.h"

typedef struct {
    const char *what;
    uint8_t frames[64];
    size_t n;
    int code; /* -1: it goes on */
} rule;

#define V4(v) 0x80 | ((v) >> 24), ((v) >> 16) & 0xff, ((v) >> 8) & 0xff, (v)&0xff

/* The engine is the caller: its streams are 0 (open), 4, 2, the peer's 1 (open), 5, 3, 7. */
static const rule RULES[] = {
    {"ack of what was not sent", {0x02, 0x40, 200, 0, 0, 0}, 6, QUIC_PROTOCOL},
    {"ack of what was sent before", {0x02, 0x40, 199, 0, 0, 0}, 6, -1},
    {"reset of a stream that only we send", {0x04, 0x02, 0, 0}, 4, QUIC_STREAM_STATE},
    {"reset of a stream of ours that is not open", {0x04, 0x04, 0, 0}, 4, QUIC_STREAM_STATE},
    {"reset below what came", {0x04, 0x01, 0, 9}, 4, QUIC_FINAL_SIZE},
    {"reset beyond the credit", {0x04, 0x01, 0, V4(1001u)}, 7, QUIC_FLOW_CONTROL},
    {"reset within", {0x04, 0x01, 0, V4(1000u)}, 7, -1},
    {"stop of a stream that only the peer sends", {0x05, 0x03, 0}, 3, QUIC_STREAM_STATE},
    {"stop of a stream of ours that is not open", {0x05, 0x04, 0}, 3, QUIC_STREAM_STATE},
    {"stop", {0x05, 0x00, 0}, 3, -1},
    {"token", {0x07, 1, 0}, 3, -1},
    {"stream beyond the credit", {0x0c, 0x01, V4(1000u), 0xaa}, 7, QUIC_FLOW_CONTROL},
    {"stream to the credit", {0x0c, 0x01, V4(999u), 0xaa}, 7, -1},
    {"two streams beyond the credit of all",
     {0x0e, 0x05, V4(1999u), 1, 0xaa, 0x0e, 0x01, V4(999u), 1, 0xaa, 0x0c, 0x03, V4(10u), 0xaa},
     23,
     QUIC_FLOW_CONTROL},
    {"two streams within", {0x0e, 0x05, V4(1979u), 1, 0xaa, 0x0c, 0x01, V4(999u), 0xaa}, 15, -1},
    {"stream that only we send", {0x08, 0x02, 0xaa}, 3, QUIC_STREAM_STATE},
    {"stream of ours that is not open", {0x08, 0x04, 0xaa}, 3, QUIC_STREAM_STATE},
    {"third stream", {0x08, 0x09, 0xaa}, 3, QUIC_STREAM_LIMIT},
    {"third stream that only the peer sends", {0x08, 0x0b, 0xaa}, 3, QUIC_STREAM_LIMIT},
    {"second stream", {0x08, 0x05, 0xaa}, 3, -1},
    {"two final sizes", {0x0f, 0x01, 20, 0, 0x0f, 0x01, 21, 0}, 8, QUIC_FINAL_SIZE},
    {"a smaller final size", {0x0f, 0x01, 20, 0, 0x0f, 0x01, 19, 0}, 8, QUIC_FINAL_SIZE},
    {"the same final size", {0x0f, 0x01, 20, 0, 0x0f, 0x01, 20, 0}, 8, -1},
    {"beyond the final size", {0x0f, 0x01, 20, 0, 0x0e, 0x01, 20, 1, 0xaa}, 9, QUIC_FINAL_SIZE},
    {"final size below what came", {0x0e, 0x01, 20, 1, 0xaa, 0x0f, 0x01, 12, 0}, 9, QUIC_FINAL_SIZE},
    {"credit for a stream that only the peer sends", {0x11, 0x03, 9}, 3, QUIC_STREAM_STATE},
    {"credit for a stream that is not open", {0x11, 0x04, 9}, 3, QUIC_STREAM_STATE},
    {"credit that opens one", {0x11, 0x05, 9}, 3, -1},
    {"blocked, a stream that only we send", {0x15, 0x02, 9}, 3, QUIC_STREAM_STATE},
    {"blocked", {0x14, 9, 0x15, 0x01, 9, 0x16, 9, 0x17, 9}, 9, -1},
    {"new id, another one of the same number",
     {0x18, 1, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
     28,
     QUIC_PROTOCOL},
    {"new id", {0x18, 2, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, 28, -1},
    {"too many ids",
     {0x18, 2, 0, 2, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
      0x18, 3, 0, 2, 1, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
     44,
     QUIC_ID_LIMIT},
    {"as many, with others retired",
     {0x18, 2, 0, 2, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
      0x18, 3, 1, 2, 1, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
     44,
     -1},
    {"retired the id in use", {0x19, 0}, 2, QUIC_PROTOCOL},
    {"retired an id that was not given", {0x19, 2}, 2, QUIC_PROTOCOL},
    {"retired", {0x19, 1}, 2, -1},
    {"handshake done", {0x1e}, 1, -1},
    {"response to nothing", {0x1b, 1, 2, 3, 4, 5, 6, 7, 8}, 9, -1},
    {"no such frame", {0x1f}, 1, QUIC_FRAME_ENCODING},
    {"frame that is cut off", {0x10}, 1, QUIC_FRAME_ENCODING},
};

static void judge(const rule *r) {
    wire w;
    ssb_quic_event e;
    wire_new(&w, 1);
    const int answer = say(&w, r->frames, r->n);
    if (r->code < 0) {
        if (answer != SSB_OK) fprintf(stderr, "%s\n", r->what);
        CHECK(answer == SSB_OK && !event_of(&w, SSB_QUIC_CLOSED, &e));
    } else {
        if (answer != SSB_ENDED) fprintf(stderr, "%s\n", r->what);
        CHECK(answer == SSB_ENDED && event_of(&w, SSB_QUIC_CLOSED, &e));
        if ((int)e.value != r->code) fprintf(stderr, "%s: %d\n", r->what, (int)e.value);
        CHECK(e.stream == SSB_QUIC_BY_ERROR && (int)e.value == r->code);
        CHECK(hear(&w) && w.count == 1 && w.frames[0].type == FRAME_CLOSE && (int)w.frames[0].value == r->code);
        CHECK(!hear(&w)); /* once for each that comes */
        SAY(&w, 0x01);
        CHECK(hear(&w) && w.frames[0].type == FRAME_CLOSE);
        CHECK(ssb_quic_lend(w.q, 0, (const uint8_t *)"x", 1, 0) == 0 && ssb_quic_open(w.q, 0) < 0);
        w.now = ssb_quic_next(w.q);
        ssb_quic_timer(w.q, w.now);
        CHECK(ssb_quic_next(w.q) == SSB_QUIC_NEVER);
    }
    wire_close(&w);
}

/* ---------------------------------------------------------------- rules that a packet alone does not show */

static void targets(void) { /* what only a target may say */
    static const uint8_t all[][3] = {{0x1e}, {0x07, 1, 0}};
    for (size_t i = 0; i < 2; i++) {
        wire w;
        ssb_quic_event e;
        wire_new(&w, 0);
        CHECK(say(&w, all[i], 1 + 2 * i) == SSB_ENDED && event_of(&w, SSB_QUIC_CLOSED, &e) && e.value == QUIC_PROTOCOL);
        wire_close(&w);
    }
}

static void tickets(void) {
    wire w;
    ssb_quic_event e;
    uint8_t frame[1100] = {0x06, 0, 0x44, 0};
    wire_new(&w, 1);
    for (int i = 0; i < 16; i++) CHECK(say(&w, frame, 4 + 1024) == SSB_OK);
    CHECK(say(&w, frame, 4 + 1024) == SSB_ENDED && event_of(&w, SSB_QUIC_CLOSED, &e) && e.value == QUIC_CRYPTO_BUFFER);
    wire_close(&w);
}

static void datagrams(void) {
    wire w;
    ssb_quic_event e;
    uint8_t frame[1300] = {0x30, 1, 2, 3}, out[200];
    wire_new(&w, 1);
    CHECK(say(&w, frame, 4) == SSB_OK && event_of(&w, SSB_QUIC_DATAGRAM, &e));
    CHECK(ssb_quic_take_datagram(w.q, out, 2) == -1);
    CHECK(ssb_quic_take_datagram(w.q, out, 3) == 3 && memcmp(out, frame + 1, 3) == 0);
    CHECK(ssb_quic_take_datagram(w.q, out, sizeof out) == -1);
    for (int i = 0; i < 60; i++) CHECK(say(&w, frame, 100) == SSB_OK); /* the queue has 4096 bytes */
    CHECK(look(&w).dropped == 60 - 4096 / 101);
    CHECK(ssb_quic_datagram(w.q, frame, 1197) == SSB_OK && ssb_quic_datagram(w.q, frame, 1198) == SSB_E_PACKET);
    CHECK(hear(&w) && heard(&w, FRAME_DATAGRAM_LENGTH)->n == 1197);
    for (int i = 0; i < 3; i++) CHECK(ssb_quic_datagram(w.q, frame, 1197) == SSB_OK);
    CHECK(ssb_quic_datagram(w.q, frame, 1197) == SSB_FULL);
    CHECK(say(&w, frame, 101) == SSB_ENDED && event_of(&w, SSB_QUIC_CLOSED, &e) && e.value == QUIC_PROTOCOL);
    wire_close(&w);
}

static void packets(void) {
    wire w;
    ssb_quic_event e;
    uint8_t datagram[256];
    const uint8_t ping[] = {0x01}, some[] = {0x08, 0x01, 0xaa};
    wire_new(&w, 1);
    CHECK(say_as(&w, ping, 1, 95) == SSB_OK && look(&w).duplicates == 1); /* older than the handover */
    CHECK(say_as(&w, ping, 1, 105) == SSB_OK && say_as(&w, ping, 1, 105) == SSB_OK && look(&w).duplicates == 2);
    CHECK(say_as(&w, ping, 1, 103) == SSB_OK && say_as(&w, ping, 1, 103) == SSB_OK && look(&w).duplicates == 3);
    for (size_t n = 0; n < 32; n++) { /* cut off */
        size_t size = packet_new(&w, datagram, some, sizeof some, 110, 0);
        if (n < size) size = n;
        CHECK(ssb_quic_receive(w.q, 0, datagram, size, size, w.now) == SSB_OK);
    }
    CHECK(look(&w).received == 5);
    const uint64_t forged = look(&w).forged;
    for (size_t i = 0; i < 32; i++) {
        const size_t size = packet_new(&w, datagram, some, sizeof some, 120 + i, 0);
        datagram[i < size ? i : size - 1] ^= 0x10;
        CHECK(ssb_quic_receive(w.q, 0, datagram, size, size, w.now) == SSB_OK);
    }
    CHECK(look(&w).received == 5 && look(&w).forged > forged + 20);
    size_t size = packet_new(&w, datagram, ping, 1, 200, 0x08); /* a reserved bit */
    CHECK(ssb_quic_receive(w.q, 0, datagram, size, size, w.now) == SSB_ENDED);
    CHECK(event_of(&w, SSB_QUIC_CLOSED, &e) && e.value == QUIC_PROTOCOL);
    wire_close(&w);
    wire_new(&w, 1);
    CHECK(say(&w, ping, 0) == SSB_ENDED && event_of(&w, SSB_QUIC_CLOSED, &e) && e.value == QUIC_PROTOCOL); /* empty */
    wire_close(&w);
}

static void forgeries(void) {
    wire w;
    ssb_quic_event e;
    uint8_t datagram[64] = {0x41, 0xba};
    wire_new(&w, 1);
    for (uint64_t i = 1; i < BOUNDS.forged; i++) {
        datagram[0] = 0x41;
        datagram[40] = (uint8_t)i;
        CHECK(ssb_quic_receive(w.q, 0, datagram, 64, 64, w.now) == SSB_OK);
    }
    while (ssb_quic_receive(w.q, 0, datagram, 64, 64, w.now) == SSB_OK) datagram[41]++;
    CHECK(look(&w).forged == BOUNDS.forged);
    CHECK(event_of(&w, SSB_QUIC_CLOSED, &e) && e.value == QUIC_AEAD_LIMIT);
    wire_close(&w);
}

static void stateless_reset(void) {
    wire w;
    ssb_quic_event e;
    for (int known = 0; known < 2; known++)     /* the id is ours or not */
        for (int token = 7; token < 9; token++) /* of the id in use, of the spare one */
            for (size_t n = 20; n < 60; n += 13) {
                uint8_t datagram[64] = {0x41, known ? 0xba : 0x99};
                wire_new(&w, 1);
                memset(datagram + n - 16, 0, 16);
                memset(datagram + n - 16, token, 3);
                datagram[n - 1] = 1;
                CHECK(ssb_quic_receive(w.q, 0, datagram, n, n, w.now) == SSB_OK);
                datagram[0] = 0x41;
                datagram[1] = known ? 0xba : 0x99;
                memset(datagram + n - 16, token, 3);
                datagram[n - 1] = 0;
                const int ends = n >= 21 && token == 7; /* it has never sent to the spare one */
                CHECK(ssb_quic_receive(w.q, 0, datagram, n, n, w.now) == (ends ? SSB_ENDED : SSB_OK));
                CHECK(event_of(&w, SSB_QUIC_CLOSED, &e) == ends);
                CHECK(!ends || (e.stream == SSB_QUIC_BY_SILENCE && !hear(&w)));
                wire_close(&w);
            }
}

/* ---------------------------------------------------------------- keys */

static void update(wire *w, int fill) {
    w->seals = w->next_seals;
    w->opens = w->next_opens;
    key_of(&w->next_seals, fill, 6);
    key_of(&w->next_opens, fill + 1, 5);
    w->phase ^= 1;
}

static void give_keys(wire *w, int fill) {
    ssb_quic_secrets next;
    memset(&next, 0, sizeof next);
    memset(next.send_key, fill + 1, 32);
    memset(next.receive_key, fill, 32);
    ssb_quic_keys(w->q, &next);
}

static void key_updates(void) {
    wire w, old;
    ssb_quic_event e;
    const uint8_t ping[] = {0x01};
    wire_new(&w, 1);
    SAY(&w, 0x01);
    for (int i = 0; i < 4; i++) {
        old = w;
        update(&w, 10 + 2 * i);
        CHECK(SAY(&w, 0x01) == SSB_OK && look(&w).updates == (uint64_t)i + 1);
        CHECK(event_of(&w, SSB_QUIC_KEYS, &e));
        give_keys(&w, 10 + 2 * i);
        /* What was sent before, and comes late, is still read: for a while. */
        old.now = w.now;
        const uint64_t received = look(&w).received;
        CHECK(say_as(&old, ping, 1, w.number - 2) == SSB_OK && look(&w).duplicates == (uint64_t)i + 1);
        w.now += 2000 * MS;
        hear_all(&w);
        CHECK(w.got > 0);
        ssb_quic_timer(w.q, w.now);
        old.now = w.now;
        CHECK(say_as(&old, ping, 1, w.number - 2) == SSB_OK && look(&w).received == received + 1);
    }
    /* Once more, before an ACK in this phase was sent. */
    CHECK(SAY(&w, 0x01) == SSB_OK);
    w.now += 100 * MS;
    hear_all(&w);
    update(&w, 30);
    CHECK(SAY(&w, 0x01) == SSB_OK && event_of(&w, SSB_QUIC_KEYS, &e));
    give_keys(&w, 30);
    update(&w, 40);
    CHECK(SAY(&w, 0x01) == SSB_ENDED && event_of(&w, SSB_QUIC_CLOSED, &e) && e.value == QUIC_KEY_UPDATE);
    wire_close(&w);
}

static void keys_that_are_late(void) {
    wire w;
    ssb_quic_event e;
    wire_new(&w, 1);
    update(&w, 10);
    CHECK(SAY(&w, 0x01) == SSB_OK && event_of(&w, SSB_QUIC_KEYS, &e));
    w.now += 100 * MS;
    hear_all(&w);
    update(&w, 12); /* the caller has not given the next generation: nothing is taken, nothing breaks */
    CHECK(SAY(&w, 0x01) == SSB_OK && look(&w).updates == 1);
    give_keys(&w, 10);
    CHECK(SAY(&w, 0x01) == SSB_OK && look(&w).updates == 2);
    wire_close(&w);
}

/* ---------------------------------------------------------------- connection ids, paths */

static void retire_in_use(void) {
    wire w;
    wire_new(&w, 1);
    hear_all(&w);
    SAY(&w, 0x18, 2, 2, 8, 0xac, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
    CHECK(hear(&w) && w.datagram[1] == 0xac && w.count == 3); /* ACK, and RETIRE_CONNECTION_ID of both others */
    CHECK(w.frames[1].type == FRAME_RETIRE_CONNECTION_ID && w.frames[2].type == FRAME_RETIRE_CONNECTION_ID);
    CHECK(w.frames[1].stream + w.frames[2].stream == 1);
    /* One that is retired already when it comes. */
    SAY(&w, 0x18, 1, 0, 8, 0xab, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    CHECK(hear(&w) && heard(&w, FRAME_RETIRE_CONNECTION_ID)->stream == 1);
    wire_close(&w);
}

static void challenges(void) {
    wire w;
    wire_new(&w, 1);
    SAY(&w, 0x1a, 1, 2, 3, 4, 5, 6, 7, 8);
    CHECK(hear(&w) && w.n == 1200 && heard(&w, FRAME_PATH_RESPONSE)->data[7] == 8);
    for (int i = 0; i < 40; i++) SAY(&w, 0x1a, 1, 2, 3, 4, 5, 6, 7, 9); /* only some are kept */
    int answers = 0;
    while (hear(&w)) answers += heard(&w, FRAME_PATH_RESPONSE) != NULL;
    CHECK(answers == (int)ANSWERS);
    wire_close(&w);
}

static void a_caller_that_moves(void) {
    wire w;
    ssb_quic_event e;
    uint8_t response[9] = {FRAME_PATH_RESPONSE};
    wire_new(&w, 0);
    w.path = 5;
    SAY(&w, 0x1a, 1, 2, 3, 4, 5, 6, 7, 8); /* it only looks */
    CHECK(!event_of(&w, SSB_QUIC_PATH, &e));
    w.path = 5;
    uint8_t ping[500] = {FRAME_PING};
    say(&w, ping, sizeof ping);
    CHECK(event_of(&w, SSB_QUIC_PATH, &e) && e.value == 5);
    ssb_quic_challenge(w.q, 5, (const uint8_t *)"random!!");
    size_t there = 0, allowed = 3 * (5 + ID + sizeof ping + 16);
    int answers = 0;
    while (hear(&w)) {
        if (w.path != 5) continue;
        there += w.n;
        if (heard(&w, FRAME_PATH_RESPONSE)) answers++;
        if (heard(&w, FRAME_PATH_CHALLENGE)) memcpy(response + 1, heard(&w, FRAME_PATH_CHALLENGE)->data, 8);
    }
    CHECK(answers == 1 && there > 1200 && there <= allowed && memcmp(response + 1, "random!!", 8) == 0);
    response[1] ^= 1;
    say(&w, response, 9);
    CHECK(!event_of(&w, SSB_QUIC_MOVED, &e));
    response[1] ^= 1;
    w.path = 5;
    say(&w, response, 9);
    CHECK(event_of(&w, SSB_QUIC_MOVED, &e) && e.value == 5);
    ssb_quic_ping(w.q);
    CHECK(hear(&w) && w.path == 5);
    wire_close(&w);
}

/* The highest limit of that kind that the engine tells, 0 for none. */
static uint64_t told(wire *w, uint64_t type, uint64_t stream) {
    uint64_t most = 0;
    while (hear(w))
        for (size_t i = 0; i < w->count; i++)
            if (w->frames[i].type == type && (type == FRAME_MAX_DATA || w->frames[i].stream == stream))
                most = greater(most, w->frames[i].value);
    return most;
}

/* A page that is read in part stays until all of it is. */
static void pages_read_in_part(void) {
    static uint8_t out[WINDOW];
    enum { PART = 1000, PARTS = 40 };
    wire w;
    int end;
    wire_new(&w, 1);
    CHECK(told(&w, FRAME_MAX_STREAM_DATA, 1) == 10 + WINDOW);
    for (uint32_t i = 0; i < PARTS; i++) {
        const uint32_t offset = 10 + i * PART;
        uint8_t frame[6 + PART] = {0x0c, 1, (uint8_t)(0x80 | offset >> 24), (uint8_t)(offset >> 16),
                                   (uint8_t)(offset >> 8), (uint8_t)offset};
        memset(frame + 6, (int)(i + 1), PART);
        CHECK(say(&w, frame, sizeof frame) == SSB_OK);
    }
    size_t n = ssb_quic_read(w.q, 1, out, SSB_QUIC_PAGE + PART / 2, &end);
    CHECK(n == SSB_QUIC_PAGE + PART / 2);
    n += ssb_quic_read(w.q, 1, out + n, PART, &end);
    n += ssb_quic_read(w.q, 1, out + n, sizeof out - n, &end);
    CHECK(n == PART * PARTS);
    for (uint32_t i = 0; i < PART * PARTS; i++) CHECK(out[i] == i / PART + 1);
    wire_close(&w);
}

static void windows_that_grow(void) {
    wire w;
    ssb_quic_event e;
    ssb_quic_limits limits = BOUNDS;
    const ssb_quic_handover h = handover_new(1);
    uint8_t frame[103] = {0x0c, 1, 10}, out[200];
    int end;
    limits.window_most = 3 * WINDOW;
    limits.window_all_most = 5 * WINDOW;
    wire_open_with(&w, &h, &limits);
    CHECK(told(&w, FRAME_MAX_STREAM_DATA, 1) == 10 + WINDOW);
    CHECK(say(&w, frame, sizeof frame) == SSB_OK && ssb_quic_read(w.q, 1, out, sizeof out, &end) == 100);
    ssb_quic_credit(w.q, 1, 40, 2 * WINDOW); /* 40 bytes are read and not used up */
    CHECK(told(&w, FRAME_MAX_STREAM_DATA, 1) == 110 - 40 + 2 * WINDOW);
    ssb_quic_credit(w.q, 1, 0, WINDOW); /* what was given stays */
    CHECK(told(&w, FRAME_MAX_STREAM_DATA, 1) == 0);
    ssb_quic_credit(w.q, 1, UINT64_MAX, 3 * WINDOW); /* no more than all can be unread */
    CHECK(told(&w, FRAME_MAX_STREAM_DATA, 1) == 3 * WINDOW);
    ssb_quic_credit(w.q, 1, 0, WINDOW);
    ssb_quic_credit(w.q, 1, 0, 100 * WINDOW); /* a little more than was told waits for a quarter */
    CHECK(told(&w, FRAME_MAX_STREAM_DATA, 1) == 0);
    ssb_quic_credit(w.q, 77, 0, WINDOW); /* there is none of this number */
    ssb_quic_credit_all(w.q, 3 * WINDOW);
    CHECK(told(&w, FRAME_MAX_DATA, 0) == 120 + 3 * WINDOW);
    ssb_quic_credit_all(w.q, 100 * WINDOW);
    CHECK(told(&w, FRAME_MAX_DATA, 0) == 120 + 5 * WINDOW);
    const uint8_t far[] = {0x0c, 0x01, V4(3 * WINDOW - 1), 0xaa}, beyond[] = {0x0c, 0x01, V4(3 * WINDOW), 0xaa};
    CHECK(say(&w, far, sizeof far) == SSB_OK && look(&w).unread == 1);
    CHECK(say(&w, beyond, sizeof beyond) == SSB_ENDED && event_of(&w, SSB_QUIC_CLOSED, &e));
    CHECK(e.value == QUIC_FLOW_CONTROL);
    wire_close(&w);
}

static void limits_without_sense(void) {
    for (int i = 0; i < 4; i++) {
        ssb_quic_limits l = BOUNDS;
        if (i == 1) l.window_most = 3 * WINDOW + 1;
        if (i == 2) l.window_most = 3 * WINDOW; /* more than all have */
        if (i == 3) l.window_all_most = UINT64_C(65536) * SSB_QUIC_PAGE;
        CHECK((ssb_quic_size(&l) > 0) == (i == 0));
    }
}

static void handovers_that_do_not_fit(void) {
    const size_t n = ssb_quic_size(&BOUNDS);
    for (int i = 0; i < 19; i++) {
        ssb_quic_handover h = handover_new(1);
        ssb_quic_limits l = BOUNDS;
        ssb_quic_stream streams[2] = {h.streams[0], h.streams[1]};
        h.streams = streams;
        uint8_t *mem = calloc(1, n);
        if (i == 1) h.remote_n = 0;
        if (i == 2) h.local_n = SSB_QUIC_IDS + 1;
        if (i == 3) h.received_n = SSBI_RANGES + 1;
        if (i == 4) h.receive_max = h.received_all + BOUNDS.window_all + 1;
        if (i == 5) h.receive_max_uni = BOUNDS.window + 1;
        if (i == 6) h.receive_bidi = 100;
        if (i == 7) h.peer_bidi = 0;
        if (i == 8) l.packets = 100;
        if (i == 9) h.newest = 98; /* 99 was received */
        if (i == 10) h.newest = QUIC_NUMBER_MAX;
        if (i == 11) h.sent = h.send_max + 1;
        if (i == 12) h.received_all = h.receive_max + 1;
        if (i == 13) h.send_max_uni = QUIC_NUMBER_MAX + 1;
        if (i == 14) h.receive_bidi = 0; /* the peer has opened one */
        if (i == 15) streams[0].sent = streams[0].send_max + 1;
        if (i == 16) streams[1].received = streams[1].receive_max + 1;
        if (i == 17) streams[1].id = 5; /* which is not open yet */
        if (i == 18) streams[1].id = 0; /* twice the same */
        CHECK((ssb_quic_init(mem, &AEAD, &l, &h, BEGIN) != NULL) == (i == 0));
        free(mem);
    }
}

static void wiped(void) {
    static uint8_t secret[3000];
    wire w;
    wire_new(&w, 1);
    memset(secret, 0x5a, sizeof secret);
    update(&w, 10); /* so that there are previous keys */
    SAY(&w, 0x01);
    give_keys(&w, 10);
    CHECK(ssb_quic_lend(w.q, 0, secret, sizeof secret, 0) == sizeof secret);
    CHECK(ssb_quic_datagram(w.q, secret, 100) == SSB_OK);
    secret[0] = FRAME_DATAGRAM;
    CHECK(say(&w, secret, 50) == SSB_OK);
    ssb_quic_wipe(w.q);
    const ssbi_quic_keys *all[] = {&w.q->send_keys, &w.q->receive_keys, &w.q->next_send, &w.q->next_receive,
                                   &w.q->previous_receive};
    for (size_t i = 0; i < 5; i++) CHECK(sodium_is_zero((const uint8_t *)all[i], sizeof *all[i]));
    for (size_t i = 0, n = ssb_quic_size(&BOUNDS); i + 8 <= n; i++) CHECK(memcmp(w.mem + i, secret + 8, 8) != 0);
    CHECK(!hear(&w) && SAY(&w, 0x01) == SSB_ENDED && ssb_quic_next(w.q) == SSB_QUIC_NEVER);
    free(w.mem);
}

int main(void) {
    crypto_begin();
    wiped();
    for (size_t i = 0; i < sizeof RULES / sizeof *RULES; i++) judge(&RULES[i]);
    targets();
    tickets();
    datagrams();
    packets();
    forgeries();
    stateless_reset();
    key_updates();
    keys_that_are_late();
    retire_in_use();
    challenges();
    a_caller_that_moves();
    pages_read_in_part();
    windows_that_grow();
    limits_without_sense();
    handovers_that_do_not_fit();
    return 0;
}
