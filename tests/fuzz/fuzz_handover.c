/* fuzz_handover.c: limits and a handover of any numbers. They are refused, or make an engine that keeps to its memory and
 * adds up, whatever is asked of it and said to it for a while. */
#include "quic_null.h"

#define MEMORY (1u << 18)
#define STEPS 24

static uint8_t memory[MEMORY] __attribute__((aligned(4096)));
static uint8_t in[2048], out[20000], got[5000];
static ssb_quic_range received[12];
static ssb_quic_stream streams[12];

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    random_fill(text, sizeof text);
    return 0;
}

/* Mostly the usual, or near it; else any. */
static uint64_t number(choices *c, uint64_t usual) {
    static const uint64_t FAR[] = {0, 1, 255, 65535, UINT32_MAX, QUIC_NUMBER_MAX, QUIC_NUMBER_MAX + 1, UINT64_MAX - 1, UINT64_MAX};
    const uint32_t how = choose(c, 256);
    if (how < 160) return usual;
    if (how < 224) return usual + how - 192;
    if (how < 240) return (uint64_t)choose(c, 65536) << choose(c, 48);
    return FAR[how % 9];
}

static ssb_quic_limits choose_limits(choices *c) {
    ssb_quic_limits l = {0};
    l.packets = (uint32_t)number(c, 64);
    l.streams = (uint32_t)number(c, 6);
    l.segments = (uint32_t)number(c, 4);
    l.window = (uint32_t)number(c, 4) * SSB_QUIC_PAGE;
    l.window_all = number(c, 8 * SSB_QUIC_PAGE);
    l.window_most = (uint32_t)number(c, 0);
    l.window_all_most = number(c, 0);
    l.peer_bidi = (uint32_t)number(c, 2);
    l.peer_uni = (uint32_t)number(c, 1);
    l.datagram = (uint32_t)number(c, 1200);
    l.datagram_most = (uint32_t)number(c, 1400);
    l.datagrams = (uint32_t)number(c, 256);
    l.forged = number(c, 3);
    return l;
}

static void choose_ids(choices *c, ssb_quic_id *ids, uint32_t *n, int fill) {
    *n = (uint32_t)number(c, 2);
    for (unsigned i = 0; i < 8; i++) {
        memset(&ids[i], fill + (int)i, sizeof ids[i]);
        ids[i].number = number(c, i);
        ids[i].n = (uint8_t)number(c, 4);
    }
}

static ssb_quic_handover choose_handover(choices *c) {
    static ssb_quic_handover h;
    memset(&h, 0, sizeof h);
    h.keys.receive_key[0] = 1;
    h.next.receive_key[0] = 2;
    h.caller = choose(c, 2) != 0;
    h.streams = streams;
    h.streams_n = choose(c, 12);
    for (uint32_t i = 0; i < h.streams_n; i++) {
        ssb_quic_stream *s = &streams[i];
        const uint32_t how = choose(c, 16);
        *s = (ssb_quic_stream){number(c, i), number(c, 10), number(c, 100), number(c, 10), number(c, 60), how == 1, how == 2};
    }
    choose_ids(c, h.remote, &h.remote_n, 0xa0);
    choose_ids(c, h.local, &h.local_n, 0xb0);
    h.received = received;
    h.received_n = choose(c, 9);
    for (uint32_t i = 0; i < h.received_n; i++) {
        received[i].first = number(c, 10 * i);
        received[i].end = number(c, 10 * i + 5);
    }
    uint64_t *const fields[] = {&h.number, &h.newest, &h.next_bidi, &h.next_uni, &h.send_bidi, &h.send_uni, &h.peer_bidi,
                                &h.peer_uni, &h.receive_bidi, &h.receive_uni, &h.sent, &h.send_max, &h.received_all,
                                &h.receive_max, &h.send_max_local, &h.send_max_remote, &h.send_max_uni,
                                &h.receive_max_local, &h.receive_max_remote, &h.receive_max_uni, &h.datagram_send,
                                &h.datagram_receive, &h.idle, &h.rtt, &h.rtt_variance, &h.rtt_least, &h.congestion_window};
    static const uint64_t USUAL[] = {200, 99, 12, 15, 8, 8, 1, 1, 3, 2, 30, 1000, 30, 200, 100, 100, 100,
                                     60, 60, 60, 1200, 200, 30000000, 20000, 5000, 18000, 14000};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) *fields[i] = number(c, USUAL[i]);
    h.id_limit = (uint32_t)number(c, 3);
    h.delay_exponent = (uint32_t)number(c, 3);
    h.delay_max = (uint32_t)number(c, 25000);
    h.own_delay_max = (uint32_t)number(c, 25000);
    h.phase = (uint8_t)choose(c, 3);
    return h;
}

/* A packet of the peer with any frames; its number follows the newest. */
static void receive(ssb_quic *q, choices *c, uint64_t now) {
    const uint64_t as = q->newest + 1 + choose(c, 2);
    const unsigned phase = choose(c, 8) == 1 ? !q->phase : q->phase;
    const size_t most = choose(c, 24), n = smaller(most, c->n), head = 1u + q->local_size + 4, all = head + n + 3 + 16;
    uint8_t *to = in + sizeof in - all;
    memset(to, 0, all);
    to[0] = (uint8_t)(0x43 | (phase ? 4 : 0));
    memcpy(to + 1, q->local[0].id, q->local_size);
    for (unsigned i = 0; i < 4; i++) to[1 + q->local_size + i] = (uint8_t)(as >> (24 - 8 * i));
    if (n > 0) memcpy(to + head, c->at, n);
    c->at += n;
    c->n -= n;
    memset(to + all - 16, phase == q->phase ? 1 + (int)q->updates : 2, 16);
    (void)ssb_quic_receive(q, choose(c, 3), to, all, all, now);
}

static void step(ssb_quic *q, choices *c, uint64_t *now) {
    const uint32_t what = choose(c, 12), id = choose(c, 16);
    ssb_quic_event e;
    size_t segment;
    uint32_t path;
    int end;
    switch (what) {
    case 0: (void)ssb_quic_open(q, id & 1); break;
    case 1: (void)ssb_quic_lend(q, id, text, choose(c, 1000), choose(c, 2) != 0); break;
    case 2: (void)ssb_quic_read(q, id, got, choose(c, 1000), &end); break;
    case 3: ssb_quic_reset(q, id, 1); break;
    case 4: ssb_quic_stop(q, id, 2); break;
    case 5: (void)ssb_quic_datagram(q, text, choose(c, 1300)); break;
    case 6: (void)ssb_quic_take_datagram(q, got, sizeof got); break;
    case 7: *now = ssb_quic_next(q) < *now + (UINT64_C(1) << 40) ? greater(*now, ssb_quic_next(q)) : *now; break;
    case 8: receive(q, c, *now); break;
    default:
        for (int i = 0; ssb_quic_send(q, out, sizeof out, &segment, &path, *now) > 0; i++) CHECK(i < 1000);
    }
    if (what == 7) ssb_quic_timer(q, *now);
    while (what == 6 && ssb_quic_take_event(q, &e))
        if (e.kind == SSB_QUIC_PATH) ssb_quic_challenge(q, (uint32_t)e.value, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    choices c = {data, n};
    const ssb_quic_limits limits = choose_limits(&c);
    const size_t size = ssb_quic_size(&limits);
    uint64_t now = 1000000000;
    if (size > sizeof memory) return 0;
    const ssb_quic_handover h = choose_handover(&c);
    memset(memory, 0, size);
    ssb_quic *q = ssb_quic_init(memory, &NULL_AEAD, &limits, &h, now);
    CHECK(size > 0 || q == NULL);
    if (q == NULL) return 0;
    check_engine(q);
    for (int i = 0; i < STEPS && c.n > 0; i++) {
        step(q, &c, &now);
        check_engine(q);
    }
    check_pages(q);
    ssb_quic_wipe(q);
    CHECK(q->in_pages.lent == 0);
    return 0;
}
