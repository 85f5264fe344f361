/* test_quic_frames.c: numbers and frames, whole and cut anywhere; what has no sense is refused. */
#include "check.h"

#include "quic.h"

static guarded edge;

/* ---------------------------------------------------------------- numbers */

static void numbers(void) {
    /* RFC 9000, A.1 */
    static const struct {
        uint8_t bytes[8];
        size_t n;
        uint64_t value;
    } known[] = {{{0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c}, 8, 151288809941952652u},
                 {{0x9d, 0x7f, 0x3e, 0x7d}, 4, 494878333},
                 {{0x7b, 0xbd}, 2, 15293},
                 {{0x25}, 1, 37},
                 {{0x40, 0x25}, 2, 37}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        for (size_t cut = 0; cut <= known[i].n; cut++) {
            const uint8_t *at = guard_put(&edge, known[i].bytes, cut);
            ssbi_reader r = {at, at + cut};
            uint64_t value = 0;
            CHECK(ssbi_read_number(&r, &value) == (cut == known[i].n));
            if (cut == known[i].n) CHECK(value == known[i].value && r.at == r.end);
        }
    for (int shift = 0; shift < 62; shift++)
        for (int around = -1; around < 2; around++) {
            const uint64_t value = (UINT64_C(1) << shift) + (uint64_t)around;
            uint8_t *at = guard_end(&edge, ssbi_number_size(value));
            ssbi_writer w = {at, at + ssbi_number_size(value)};
            ssbi_write_number(&w, value);
            CHECK(ssbi_left(&w) == 0);
            ssbi_reader r = {at, w.end};
            uint64_t got = 0;
            CHECK(ssbi_read_number(&r, &got) && got == value && r.at == r.end);
        }
}

static void packet_numbers(void) {
    CHECK(ssbi_whole_number(0x9b32, 2, 0xa82f30eb) == 0xa82f9b32); /* RFC 9000, A.3: largest 0xa82f30ea */
    CHECK(ssbi_whole_number(0x00, 1, 0x100) == 0x100);
    CHECK(ssbi_whole_number(0xff, 1, 0x100) == 0xff);
    CHECK(ssbi_whole_number(0x00, 1, 0x1ff) == 0x200);
    CHECK(ssbi_whole_number(0xff, 1, 0) == 0xff); /* there is nothing below */
    CHECK(ssbi_whole_number(0, 4, QUIC_NUMBER_MAX) == (QUIC_NUMBER_MAX & ~UINT64_C(0xffffffff)));
    for (size_t bytes = 1; bytes <= 4; bytes++) {
        const uint64_t window = UINT64_C(1) << (8 * bytes);
        for (int i = 0; i < 20000; i++) {
            const uint64_t expected = (uint64_t)random_below(UINT32_MAX) << random_below(20);
            const uint64_t half = window / 2 - 1, low = expected > half ? expected - half : 0;
            const uint64_t number = low + random_below((uint32_t)(window > UINT32_MAX ? UINT32_MAX : window - 1));
            if (number > expected + window / 2) continue;
            CHECK(ssbi_whole_number(number & (window - 1), bytes, expected) == number);
        }
    }
}

/* ---------------------------------------------------------------- frames */

static uint64_t read_at_edge(const uint8_t *bytes, size_t n, ssbi_frame *f, size_t *used) {
    const uint8_t *at = guard_put(&edge, bytes, n);
    ssbi_reader r = {at, at + n};
    const uint64_t code = ssbi_read_frame(&r, f);
    *used = (size_t)(r.at - at);
    return code;
}

typedef struct {
    const char *what;
    uint8_t bytes[40];
    size_t n;
    int open; /* it goes as far as the packet does: no cut shows */
} example;

static const example GOOD[] = {
    {"ping", {0x01}, 1, 0},
    {"ack", {0x02, 0x0a, 0x03, 0x02, 0x01, 0x00, 0x01, 0x02, 0x00}, 9, 0},
    {"ack ecn", {0x03, 0x0a, 0x03, 0x00, 0x01, 0x01, 0x02, 0x03}, 8, 0},
    {"reset stream", {0x04, 0x04, 0x05, 0x06}, 4, 0},
    {"stop sending", {0x05, 0x04, 0x05}, 3, 0},
    {"crypto", {0x06, 0x00, 0x02, 0xaa, 0xbb}, 5, 0},
    {"new token", {0x07, 0x01, 0xaa}, 3, 0},
    {"stream", {0x08, 0x04, 0xaa, 0xbb}, 4, 2},
    {"stream, end", {0x09, 0x04}, 2, 1},
    {"stream, length", {0x0a, 0x04, 0x01, 0xaa}, 4, 0},
    {"stream, offset", {0x0c, 0x04, 0x40, 0x80, 0xaa}, 5, 3},
    {"stream, all", {0x0f, 0x04, 0x05, 0x02, 0xaa, 0xbb}, 6, 0},
    {"max data", {0x10, 0x05}, 2, 0},
    {"max stream data", {0x11, 0x04, 0x05}, 3, 0},
    {"max streams", {0x12, 0x05}, 2, 0},
    {"max streams uni", {0x13, 0x05}, 2, 0},
    {"data blocked", {0x14, 0x05}, 2, 0},
    {"stream data blocked", {0x15, 0x04, 0x05}, 3, 0},
    {"streams blocked", {0x16, 0x05}, 2, 0},
    {"streams blocked uni", {0x17, 0x05}, 2, 0},
    {"new id", {0x18, 0x02, 0x01, 0x04, 1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, 24, 0},
    {"retire id", {0x19, 0x01}, 2, 0},
    {"path challenge", {0x1a, 1, 2, 3, 4, 5, 6, 7, 8}, 9, 0},
    {"path response", {0x1b, 1, 2, 3, 4, 5, 6, 7, 8}, 9, 0},
    {"close", {0x1c, 0x0a, 0x08, 0x02, 'n', 'o'}, 6, 0},
    {"close, application", {0x1d, 0x0a, 0x00}, 3, 0},
    {"handshake done", {0x1e}, 1, 0},
    {"datagram", {0x30, 0xaa}, 2, 1},
    {"datagram, length", {0x31, 0x01, 0xaa}, 3, 0},
};

static const example BAD[] = {
    {"unknown", {0x1f}, 1, 0},
    {"unknown, two bytes", {0x40, 0xff}, 2, 0},
    {"ack below zero", {0x02, 0x03, 0x00, 0x00, 0x04}, 5, 0},
    {"ack, range below zero", {0x02, 0x0a, 0x00, 0x01, 0x01, 0x05, 0x03}, 7, 0},
    {"new id, prior above it", {0x18, 0x01, 0x02, 0x01, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, 21, 0},
    {"new id, empty", {0x18, 0x02, 0x01, 0x00, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, 20, 0},
    {"new id, 21 bytes", {0x18, 0x02, 0x01, 0x15, 0}, 40, 0},
    {"new token, empty", {0x07, 0x00}, 2, 0},
    {"max streams", {0x12, 0xd0, 0, 0, 0, 0, 0, 0, 1}, 9, 0},
    {"streams blocked", {0x16, 0xd0, 0, 0, 0, 0, 0, 0, 1}, 9, 0},
    {"stream beyond 2^62", {0x0e, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0xaa}, 12, 0},
    {"crypto beyond 2^62", {0x06, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0xaa}, 11, 0},
};

static void frames(void) {
    ssbi_frame f;
    size_t used;
    for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) {
        const example *e = &GOOD[i];
        CHECK(read_at_edge(e->bytes, e->n, &f, &used) == QUIC_OK);
        CHECK(used == e->n && f.type == e->bytes[0]);
        for (size_t cut = 1; cut < e->n; cut++) {
            const int whole = e->open && cut + (size_t)e->open >= e->n && read_at_edge(e->bytes, cut, &f, &used) == QUIC_OK;
            CHECK(whole || read_at_edge(e->bytes, cut, &f, &used) == QUIC_FRAME_ENCODING);
        }
    }
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        CHECK(read_at_edge(BAD[i].bytes, BAD[i].n, &f, &used) == QUIC_FRAME_ENCODING);
    const uint8_t padding[4] = {0, 0, 0, 1}, long_type[2] = {0x40, 0x01};
    CHECK(read_at_edge(padding, 4, &f, &used) == QUIC_OK && used == 3);
    CHECK(read_at_edge(long_type, 2, &f, &used) == QUIC_PROTOCOL); /* RFC 9000, 12.4 */
    CHECK(read_at_edge(padding, 0, &f, &used) == QUIC_FRAME_ENCODING);
}

/* ---------------------------------------------------------------- ACK */

static void acks(void) {
    ssbi_ranges set, got;
    for (int round = 0; round < 2000; round++) {
        uint8_t *at = guard_end(&edge, 300);
        const size_t room = 5 + random_below(295);
        ssbi_writer w = {at, at + room};
        uint64_t value = random_below(1u << random_below(31));
        set.n = got.n = 0;
        for (uint32_t i = 0, count = 1 + random_below(90); i < count; i++) {
            const uint64_t first = value + 1 + random_below(1u << random_below(15));
            value = first + 1 + random_below(1u << random_below(15));
            CHECK(ssbi_ranges_add(&set, first, value) == SSB_OK);
        }
        const uint64_t delay = random_below(70000);
        if (!ssbi_write_ack(&w, &set, delay)) {
            CHECK(room < 1 + 4 + 4 + 2 + 4 && w.at == at);
            continue;
        }
        ssbi_reader r = {at, w.at};
        ssbi_frame f;
        uint64_t low = 0, high = QUIC_NONE;
        CHECK(ssbi_read_frame(&r, &f) == QUIC_OK && r.at == r.end && f.offset == delay);
        while (ssbi_next_acked(&f, &low, &high)) CHECK(ssbi_ranges_add(&got, low, high + 1) == SSB_OK);
        CHECK(got.n > 0 && got.n <= set.n);
        for (uint32_t i = 1; i <= got.n; i++) { /* the newest, as many as have room */
            CHECK(got.at[got.n - i].first == set.at[set.n - i].first && got.at[got.n - i].end == set.at[set.n - i].end);
        }
        CHECK(got.n == set.n || got.n > 64 || room < (size_t)(w.at - at) + 8);
    }
    set.n = 0;
    uint8_t *at = guard_end(&edge, 40);
    ssbi_writer w = {at, at + 40};
    CHECK(!ssbi_write_ack(&w, &set, 0));
}

static void any_bytes(void) {
    uint8_t bytes[64];
    for (int i = 0; i < 200000; i++) {
        const size_t n = random_below(sizeof bytes);
        random_fill(bytes, n);
        if (n > 0) bytes[0] &= 0x3f;
        const uint8_t *at = guard_put(&edge, bytes, n);
        ssbi_reader r = {at, at + n};
        ssbi_frame f = {0, 0, 0, 0, 0, 0, NULL, 0};
        while (r.at < r.end && ssbi_read_frame(&r, &f) == QUIC_OK) {
            uint64_t low = 0, high = QUIC_NONE, last = QUIC_NONE;

            if (f.type == FRAME_ACK || f.type == FRAME_ACK_ECN)
                for (; ssbi_next_acked(&f, &low, &high); last = low) CHECK(low <= high && high < last);
        }
    }
}

int main(void) {
    edge = guard_new(4096);
    numbers();
    packet_numbers();
    frames();
    acks();
    any_bytes();
    return 0;
}
