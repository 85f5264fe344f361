/* fuzz_quic.c: an engine, and the application and the peer that the input makes: what the peer says is well made or not,
 * new or said before, at any time. What the engine sends is read by a parser of its own and is never above the peer's
 * credit; what the application reads is what the peer has sent, at its place; memory and packets in flight add up after
 * each step. In the end a peer that behaves takes all that was written.
 *
 * A run neither encrypts nor allocates: quic_null.h, and static memory that is used anew. */
#include "quic_null.h"

#define MS 1000u
#define STEPS 60
#define IDS 32u /* streams whose ids are below are followed */
#define ID 4u   /* bytes of a connection id */
#define KNOWN 32u
#define NUMBERS 400u
#define PATTERN 8192u
#define MEMORY 49152u
#define BEGIN (1000u * 1000u * MS)
#define RECEIVE_KEY 0x80u /* first bytes of the keys; the generation is added */
#define SEND_KEY 0x40u

typedef struct { /* a stream, as its two ends have to see it */
    uint64_t credit, heard, final; /* what the peer lets the engine send; what the engine has sent; where it ends */
    uint64_t written, read, told;  /* by the application; credit that the engine gave */
    uint64_t said;                 /* by the peer in order */
    uint64_t ends[4];              /* that the peer has named */
    uint32_t ends_n;
    uint8_t over, reset;           /* the application's end was taken; the engine has reset */
    uint8_t spoken, opened, odd;   /* odd: the peer has said bytes that are not the pattern's */
} stream;

static ssb_quic *q;
static ssb_quic_limits limits;
static uint64_t now;
static uint8_t memory[MEMORY] __attribute__((aligned(4096)));
static uint8_t in[8192], out[8192], bytes[6000];

static uint64_t numbers[NUMBERS]; /* of packets, that the engine may acknowledge */
static uint8_t heard_numbers[1024];  /* whether a packet of the engine came, from the first number on */
static struct { /* what the peer has said, and heard */
    stream streams[IDS];
    size_t numbers_n;
    struct {
        uint64_t number;
        uint8_t id[SSB_QUIC_ID];
        size_t n;
        int retired;
    } ids[KNOWN];
    uint32_t ids_n;
    uint64_t next, engine_next, engine_first;
    uint64_t credit, heard, told, streams_told[2], streams_credit[2];
    uint64_t came[4], went[4]; /* bytes by path */
    uint8_t challenges[256];   /* first bytes of those that the peer has asked with */
    uint8_t asked;             /* and the engine */
    int odd_datagrams;
} peer;
static uint32_t seed, path, given; /* given: generations of keys */
static int closed, by_us, late, farewells;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    random_fill(text, PATTERN);
    for (size_t i = PATTERN; i < sizeof text; i++) text[i] = text[i - PATTERN];
    return 0;
}

/* The bytes of a stream from `offset` on; each end's are others. */
UNCHECKED static const uint8_t *pattern(uint64_t id, uint64_t offset, int peers) {
    return text + (offset + id * 997 + seed * 131 + (peers ? 4001 : 0)) % PATTERN;
}

UNCHECKED static int is_same(const uint8_t *a, const uint8_t *b, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t x, y;
        memcpy(&x, a + i, 8);
        memcpy(&y, b + i, 8);
        if (x != y) return 0;
    }
    for (; i < n; i++)
        if (a[i] != b[i]) return 0;
    return 1;
}

static stream *of(uint64_t id) { return id < IDS ? &peer.streams[id] : NULL; }

static int ours(uint64_t id) { return (id & 1) == (q->caller ? 0u : 1u); }

/* ---------------------------------------------------------------- a parser of its own */

typedef struct {
    const uint8_t *at, *end;
    int bad;
} view;

typedef struct {
    uint64_t type, a[4];
    const uint8_t *data;
    uint64_t n;
    view ranges; /* of an ACK */
} said;

/* n: a number; d: a length and bytes; r: all that is left; 8: bytes; i: a connection id and a token; A: ranges. */
static const char *const SHAPES[] = {
    "", "", "nnnA", "nnnAnnn", "nnn", "nn", "nd", "d", "nr", "nr", "nd", "nd", "nnr", "nnr", "nnd", "nnd", "n",
    "nn", "n", "n", "n", "nn", "n", "n", "nni", "n", "8", "8", "nnd", "nd", ""};

UNCHECKED static uint64_t number(view *v) {
    const size_t left = (size_t)(v->end - v->at);
    if (left == 0 || left < (size_t)1 << (v->at[0] >> 6)) {
        v->bad = 1;
        v->at = v->end;
        return 0;
    }
    const size_t n = (size_t)1 << (v->at[0] >> 6);
    uint64_t value = *v->at++ & 0x3f;
    for (size_t i = 1; i < n; i++) value = value << 8 | *v->at++;
    return value;
}

UNCHECKED static void skip(view *v, said *f, uint64_t n) {
    if (n > (uint64_t)(v->end - v->at)) {
        v->bad = 1;
        v->at = v->end;
        return;
    }
    f->data = v->at;
    f->n = n;
    v->at += n;
}

UNCHECKED static said read_said(view *v) {
    said f = {number(v), {0, 0, 0, 0}, NULL, 0, {NULL, NULL, 0}};
    while (f.type == 0 && v->at < v->end && *v->at == 0) v->at++;
    const char *shape = f.type == 0x30 ? "r" : f.type == 0x31 ? "d" : f.type <= 0x1e ? SHAPES[f.type] : NULL;
    if (shape == NULL) v->bad = 1;
    for (int i = 0; shape != NULL && *shape != 0 && !v->bad; shape++) {
        if (*shape == 'n' && i < 4) f.a[i++] = number(v);
        else if (*shape == 'n') (void)number(v);
        else if (*shape == 'd') skip(v, &f, number(v));
        else if (*shape == 'r') skip(v, &f, (uint64_t)(v->end - v->at));
        else if (*shape == '8') skip(v, &f, 8);
        else if (*shape == 'i') skip(v, &f, v->at < v->end ? 17u + *v->at : UINT64_MAX);
        else {
            f.a[3] = number(v); /* a: largest, delay, further ranges, first range */
            f.ranges = *v;
            for (uint64_t k = 0; k < 2 * f.a[2] && !v->bad; k++) (void)number(v);
            i = 4;
        }
    }
    if (f.type >= 0x08 && f.type < 0x10 && !(f.type & 4)) f.a[1] = 0;
    return f;
}

/* ---------------------------------------------------------------- what the engine sends */

UNCHECKED static void hear_ack(const said *f) {
    view v = f->ranges;
    uint64_t high = f->a[0], length = f->a[3], covered = 0, known = 0;
    for (uint64_t left = f->a[2];; left--) {
        CHECK(length <= high && length < NUMBERS);
        for (size_t i = 0; i < peer.numbers_n; i++)
            known += numbers[i] <= high && numbers[i] >= high - length;
        covered += length + 1;
        if (left == 0) break;
        high -= length;
        const uint64_t gap = number(&v) + 2;
        CHECK(high >= gap);
        high -= gap;
        length = number(&v);
    }
    CHECK(covered == known || peer.numbers_n == NUMBERS); /* never what the peer has not sent */
}

UNCHECKED static void hear_stream(const said *f) {
    const uint64_t id = f->a[0], end = f->a[1] + f->n;
    stream *s = of(id);
    CHECK(ours(id) ? id / 4 < peer.streams_credit[(id & 2) != 0] : !(id & 2));
    if (s == NULL) return;
    CHECK(end <= s->credit && end <= s->written && !s->reset && end <= s->final);
    CHECK(is_same(f->data, pattern(id, f->a[1], 0), (size_t)f->n));
    if (end > s->heard) peer.heard += end - s->heard;
    s->heard = greater(s->heard, end);
    s->spoken = 1;
    CHECK(peer.heard <= peer.credit);
    if (!(f->type & 1)) return;
    CHECK(s->over && end == s->written);
    s->final = end;
}

UNCHECKED static void hear_credit(const said *f) {
    stream *s = of(f->a[0]);
    CHECK(ours(f->a[0]) ? !(f->a[0] & 2) : 1);
    if (s == NULL) return;
    CHECK(f->a[1] >= s->told && f->a[1] <= s->read + limits.window);
    CHECK(!ours(f->a[0]) || s->spoken);
    s->told = f->a[1];
}

UNCHECKED static void hear_reset(const said *f) {
    stream *s = of(f->a[0]);
    CHECK(ours(f->a[0]) || !(f->a[0] & 2));
    if (s == NULL) return;
    CHECK(f->a[2] == s->heard && (s->final == QUIC_NONE || f->a[2] == s->final));
    s->reset = s->spoken = 1;
    s->final = f->a[2];
}

UNCHECKED static void hear_retired(uint64_t number_of) {
    int known = 0;
    for (uint32_t i = 0; i < peer.ids_n; i++) {
        if (peer.ids[i].number != number_of) continue;
        known = peer.ids[i].retired = 1;
    }
    CHECK(known || peer.ids_n == KNOWN);
}

typedef struct {
    int elicits, close, on_its_own;
} heard;

UNCHECKED static void hear_frame(const said *f, heard *h) {
    if (f->type == 0x00) return;
    h->elicits |= f->type != 0x02 && f->type != 0x1c && f->type != 0x1d;
    switch (f->type) {
    case 0x01:
        break;
    case 0x02:
        hear_ack(f);
        break;
    case 0x04:
        hear_reset(f);
        break;
    case 0x05:
        CHECK(!ours(f->a[0]) || (!(f->a[0] & 2) && (of(f->a[0]) == NULL || of(f->a[0])->spoken)));
        break;
    case 0x10:
        CHECK(f->a[0] >= peer.told);
        peer.told = f->a[0];
        break;
    case 0x11:
        hear_credit(f);
        break;
    case 0x12:
    case 0x13:
        CHECK(f->a[0] >= peer.streams_told[f->type & 1]);
        peer.streams_told[f->type & 1] = f->a[0];
        break;
    case 0x18:
        CHECK(f->a[1] == 0 && f->n == 17u + ID && f->a[0] >= 2);
        break;
    case 0x19:
        hear_retired(f->a[0]);
        break;
    case 0x1a:
    case 0x1b:
        CHECK(f->type == 0x1a ? f->data[0] == peer.asked : peer.challenges[f->data[0]]);
        h->on_its_own = 1;
        break;
    case 0x1c:
    case 0x1d:
        CHECK((f->type == 0x1d) == by_us);
        h->close = 1;
        break;
    case 0x31:
        CHECK(is_same(f->data, text + f->n, (size_t)f->n));
        break;
    default:
        CHECK(f->type >= 0x08 && f->type < 0x10);
        hear_stream(f);
    }
}

UNCHECKED static void hear_head(const uint8_t *at, size_t n) {
    const ssb_quic_id *id = &q->remote[0];
    const uint8_t tag = at[n - 1];
    uint32_t cut = 0;
    int known = 0;
    CHECK(n > 1u + id->n + 4 + 16 && n <= limits.datagram_most);
    CHECK((at[0] & 0xfb) == 0x43 && ((at[0] & 4) != 0) == (q->updates & 1));
    CHECK(is_same(at + 1, id->id, id->n));
    for (uint32_t i = 0; i < peer.ids_n && !known; i++)
        known = peer.ids[i].number == id->number && peer.ids[i].n == id->n && is_same(peer.ids[i].id, id->id, id->n) &&
                !peer.ids[i].retired;
    CHECK(known || peer.ids_n == KNOWN);
    for (unsigned i = 0; i < 4; i++) cut = cut << 8 | at[1u + id->n + i];
    CHECK(cut - (uint32_t)peer.engine_next < 2); /* one number may be left out */
    peer.engine_next += cut - (uint32_t)peer.engine_next;
    if (peer.engine_next - peer.engine_first < sizeof heard_numbers)
        heard_numbers[peer.engine_next - peer.engine_first] = 1;
    peer.engine_next++;
    CHECK(tag == (uint8_t)(SEND_KEY + q->updates));
    for (unsigned i = 1; i <= 16; i++) CHECK(at[n - i] == tag);
}

UNCHECKED static void hear_packet(const uint8_t *at, size_t n, uint32_t to, heard *h) {
    hear_head(at, n);
    view v = {at + 1 + q->remote[0].n + 4, at + n - 16, 0};
    while (v.at < v.end) {
        const said f = read_said(&v);
        CHECK(!v.bad);
        hear_frame(&f, h);
    }
    if (to == q->path) return;
    peer.went[to] += n;
    CHECK((h->on_its_own && peer.went[to] <= 3 * peer.came[to]) || h->close);
}

/* One train; 0 where the engine sends none. */
static size_t hear(size_t room) {
    const uint64_t flight = q->congestion.in_flight;
    const uint32_t probes = q->probes;
    const int alive = q->state == QUIC_ALIVE;
    size_t segment = 0;
    uint32_t to = 99;
    heard h = {0, 0, 0};
    uint8_t *train = out + sizeof out - room;
    const size_t n = ssb_quic_send(q, train, room, &segment, &to, now);
    CHECK(n <= room);
    if (n == 0) return 0;
    CHECK(segment > 0 && segment <= n && to < 4 && n <= segment * SSB_QUIC_TRAIN);
    for (size_t at = 0; at < n; at += segment) hear_packet(train + at, smaller(segment, n - at), to, &h);
    if (alive) {
        CHECK(!h.close && q->state == QUIC_ALIVE);
        CHECK(probes > 0 || h.on_its_own || q->congestion.in_flight <= greater(flight, q->congestion.window));
    } else {
        CHECK(h.close && !h.elicits && n == segment && farewells-- > 0);
    }
    return n;
}

static void hear_all(size_t room) {
    for (int i = 0; hear(room) > 0; i++) CHECK(i < 100);
}

/* ---------------------------------------------------------------- what the peer says */

static void believe_stream(const said *f) {
    stream *s = of(f->a[0]);
    if (s == NULL) return;
    s->spoken = 1;
    if (!is_same(f->data, pattern(f->a[0], f->a[1], 1), smaller((size_t)f->n, PATTERN))) s->odd = 1;
    if (f->a[1] <= s->said) s->said = greater(s->said, f->a[1] + f->n);
    if (!(f->type & 1)) return;
    if (s->ends_n < 4) s->ends[s->ends_n] = f->a[1] + f->n;
    s->ends_n++;
}

static void believe_id(const said *f) {
    if (peer.ids_n == KNOWN || f->n < 17 || f->n > 17 + SSB_QUIC_ID) return;
    peer.ids[peer.ids_n].number = f->a[0];
    peer.ids[peer.ids_n].n = (size_t)f->n - 17;
    peer.ids[peer.ids_n].retired = 0;
    for (uint32_t i = 0; i < peer.ids_n; i++)
        if (peer.ids[i].number == f->a[0] && peer.ids[i].retired) peer.ids[peer.ids_n].retired = 1;
    memcpy(peer.ids[peer.ids_n++].id, f->data + 1, (size_t)f->n - 17);
}

/* The number that ends so and is the nearest to the one that is expected. */
static uint64_t whole_number(uint64_t cut, unsigned size, uint64_t expected) {
    const uint64_t window = UINT64_C(1) << 8 * size;
    uint64_t as = expected / window * window + cut;
    if (as + window / 2 <= expected) as += window;
    else if (as > expected + window / 2 && as >= window) as -= window;
    return as;
}

/* What a packet allows the engine, should it take it. */
static void believe(const uint8_t *at, size_t n) {
    const unsigned size = (at[0] & 3) + 1;
    uint64_t cut = 0;
    if (n <= 1 + ID + size + 16) return;
    for (unsigned i = 0; i < size; i++) cut = cut << 8 | at[1 + ID + i];
    const uint64_t as = whole_number(cut, size, q->newest + 1);
    int known = peer.numbers_n == NUMBERS;
    for (size_t i = 0; i < peer.numbers_n && !known; i++) known = numbers[i] == as;
    if (!known) numbers[peer.numbers_n++] = as;
    view v = {at + 1 + ID + size, at + n - 16, 0};
    while (v.at < v.end) {
        const said f = read_said(&v);
        stream *s = of(f.a[0]);
        if (v.bad) return;
        if (f.type >= 0x08 && f.type < 0x10) believe_stream(&f);
        if (f.type == 0x04 && s != NULL) s->spoken = 1;
        if (f.type == 0x10) peer.credit = greater(peer.credit, f.a[0]);
        if (f.type == 0x11 && s != NULL) s->credit = greater(s->credit, f.a[1]);
        if (f.type == 0x12 || f.type == 0x13)
            peer.streams_credit[f.type & 1] = greater(peer.streams_credit[f.type & 1], f.a[0]);
        if (f.type == 0x18) believe_id(&f);
        if (f.type == 0x1a) peer.challenges[f.data[0]] = 1;
        if ((f.type == 0x30 || f.type == 0x31) && f.n < 2000 && !is_same(f.data, text + 9000 + f.n, (size_t)f.n))
            peer.odd_datagrams = 1;
    }
}

/* A number near one that means something, or any. */
static uint64_t near(choices *c, uint64_t value) {
    static const uint64_t FAR[] = {0,
                                   63,
                                   64,
                                   16383,
                                   16384,
                                   1u << 30,
                                   UINT64_C(1) << 32,
                                   UINT64_C(1) << 60,
                                   (UINT64_C(1) << 60) + 1,
                                   QUIC_NUMBER_MAX};
    const uint32_t how = choose(c, 256);
    if (how < 100) return value;
    if (how < 228) return value + how < 164 ? 0 : lesser(value + how - 164, QUIC_NUMBER_MAX);
    if (how < 240) return choose(c, 65536);
    return FAR[how % 10];
}

typedef struct {
    uint8_t *at, *end;
} pen;

UNCHECKED static void put(pen *p, uint64_t value) {
    const unsigned n = value < 64 ? 1 : value < 16384 ? 2 : value < 1073741824 ? 4 : 8;
    for (unsigned i = 0; i < n; i++) p->at[i] = (uint8_t)(value >> (8 * (n - 1 - i)));
    p->at[0] |= (uint8_t)(n == 1 ? 0 : n == 2 ? 0x40 : n == 4 ? 0x80 : 0xc0);
    p->at += n;
}

static void put_bytes(pen *p, const uint8_t *data, size_t n) {
    memcpy(p->at, data, n);
    p->at += n;
}

static void say_stream(pen *p, choices *c) {
    const uint32_t how = choose(c, 256);
    const uint64_t id = choose(c, how & 0x80 ? 24 : 8), told = peer.streams[id].said;
    const uint64_t offset = how & 4 ? near(c, told) : told;
    size_t n = choose(c, 256);
    if (how & 0x40) n = smaller(n * 4, (size_t)(p->end - p->at) - 60);
    const unsigned type = 0x08u | (offset > 0 ? 4u : 0) | (how & 2) | ((how & 0x38) == 0x38);
    put(p, type);
    put(p, id);
    if (type & 4) put(p, offset);
    if (type & 2) put(p, n);
    put_bytes(p, pattern(id, offset, 1), n);
    if (!(type & 2)) p->end = p->at; /* the last of its packet */
}

/* All that came, or 0 where that is nothing. */
static int put_ack(pen *p) {
    uint64_t runs[40][2], at = peer.engine_next;
    size_t n = 0;
    for (; at > peer.engine_first && n < 40; at--) {
        const uint64_t i = at - 1 - peer.engine_first;
        if (i < sizeof heard_numbers && !heard_numbers[i]) continue;
        if (n > 0 && runs[n - 1][0] == at) runs[n - 1][0]--;
        else runs[n][0] = runs[n][1] = at - 1, n++;
    }
    if (n == 0) return 0;
    put(p, 0x02), put(p, runs[0][1]), put(p, 0), put(p, n - 1), put(p, runs[0][1] - runs[0][0]);
    for (size_t i = 1; i < n; i++) put(p, runs[i - 1][0] - runs[i][1] - 2), put(p, runs[i][1] - runs[i][0]);
    return 1;
}

/* Of the newest packets all, some, or what never was. */
static void say_ack(pen *p, choices *c) {
    const uint32_t how = choose(c, 256), ranges = how & 0x30 ? choose(c, 13) : 0;
    uint64_t newest = peer.engine_next - 1;
    if (how < 64 && put_ack(p)) return;
    if (how & 2) newest = near(c, newest);
    else if (how & 4) newest -= lesser(choose(c, 8), newest);
    put(p, how & 1 ? 0x03 : 0x02);
    put(p, newest);
    put(p, how & 8 ? near(c, 100) : 0);
    put(p, ranges);
    if (how & 0x30) {
        for (uint32_t i = 0; i < 2 * ranges + 1; i++) put(p, how & 0x80 ? 0 : choose(c, 6)); /* 0: every second one */
    } else {
        put(p, how & 0x40 ? lesser(newest, choose(c, 256)) : newest - lesser(newest, peer.engine_first));
    }
    for (int i = 0; (how & 1) && i < 3; i++) put(p, choose(c, 100));
}

static void say_id(pen *p, choices *c) {
    const uint32_t n = choose(c, 16), how = choose(c, 256);
    uint8_t id[SSB_QUIC_ID + 16];
    memset(id, 0xa0 + (int)(how & 0x80 ? how & 7 : n), sizeof id);
    put(p, 0x18);
    put(p, n);
    put(p, how & 0x40 ? near(c, n) : lesser(n, how & 7));
    *p->at++ = (how & 0x3f) == 0x3f ? 19 : ID;
    put_bytes(p, id, p->at[-1] + 16u);
}

/* Any bytes of the input. */
static void say_anything(pen *p, choices *c) {
    const size_t n = smaller(1 + choose(c, 16), c->n);
    if (n > 0) put_bytes(p, c->at, n);
    c->at += n;
    c->n -= n;
}

static void say_8(pen *p, uint64_t type, uint8_t fill) {
    put(p, type);
    memset(p->at, fill, 8);
    p->at += 8;
}

static void say_frame(pen *p, choices *c) {
    const uint32_t what = choose(c, 48);
    const uint64_t id = what >= 22 && what < 34 ? choose(c, 16) : 0;
    const stream *s = &peer.streams[id];
    size_t n;
    if (p->end - p->at < 400) return;
    if (what < 14) return say_stream(p, c);
    if (what < 21) return say_ack(p, c);
    switch (what) {
    case 21: put(p, 0x01); break;
    case 22: put(p, 0x04), put(p, id), put(p, choose(c, 256)), put(p, near(c, s->said)); break;
    case 23: put(p, 0x05), put(p, id), put(p, near(c, 7)); break;
    case 24: case 25: case 26: put(p, 0x11), put(p, id), put(p, near(c, s->credit + 60)); break;
    case 27: put(p, 0x15), put(p, id), put(p, near(c, s->said)); break;
    case 28: case 29: put(p, 0x10), put(p, near(c, peer.credit + 200)); break;
    case 30: put(p, 0x12), put(p, near(c, peer.streams_credit[0])); break;
    case 31: put(p, 0x13), put(p, near(c, peer.streams_credit[1])); break;
    case 32: put(p, 0x14), put(p, near(c, 0)); break;
    case 33: put(p, 0x16 + choose(c, 2)), put(p, near(c, 1)); break;
    case 34: case 35: say_id(p, c); break;
    case 36: put(p, 0x19), put(p, near(c, 1)); break;
    case 37: case 38: say_8(p, 0x1a, (uint8_t)choose(c, 256)); break;
    case 39: say_8(p, 0x1b, choose(c, 4) ? peer.asked : 1); break;
    case 40: n = choose(c, 130), put(p, 0x31), put(p, n), put_bytes(p, text + 9000 + n, n); break;
    case 41: n = choose(c, 256), put(p, 0x30), put_bytes(p, text + 9000 + n, n), p->end = p->at; break;
    case 42: n = choose(c, 256), put(p, 0x06), put(p, near(c, 0)), put(p, n), put_bytes(p, text, n); break;
    case 43: n = choose(c, 40), put(p, 0x07), put(p, n), put_bytes(p, text, n); break;
    case 44: put(p, choose(c, 8) ? 0x01 : 0x1e); break;
    case 45:
        if (choose(c, 4)) break;
        put(p, n = 0x1c + choose(c, 2)), put(p, near(c, 9));
        if (n == 0x1c) put(p, 8);
        put(p, 3), put_bytes(p, text, 3);
        break;
    default: say_anything(p, c);
    }
}

/* The peer's part of a packet behind its head; how many bytes. */
static size_t say_frames(uint8_t *to, choices *c, uint32_t how) {
    pen p = {to, to + 1300};
    for (uint32_t i = 0, count = 1 + (how & 3); i < count && p.at < p.end; i++) say_frame(&p, c);
    size_t n = (size_t)(p.at - to);
    if ((how & 0x7c) == 0x7c && n > 0) to[choose(c, (uint32_t)n)] ^= (uint8_t)(1u << choose(c, 8));
    for (; n < 3 && !(how & 0x80); n++) to[n] = 0;
    return n;
}

/* The head and the tag of a packet whose frames lie between them; its length. */
static size_t wrap(uint8_t *to, size_t head, size_t n, uint64_t as, unsigned size, uint32_t keys, unsigned bits) {
    const uint8_t *id = q->local[0].id;
    to[0] = (uint8_t)(0x40 | (size - 1) | bits);
    memcpy(to + 1, id, ID);
    for (unsigned i = 0; i < size; i++) to[1 + ID + i] = (uint8_t)(as >> (8 * (size - 1 - i)));
    memset(to + head + n, (int)((RECEIVE_KEY + keys) & 0xff), 16);
    return head + n + 16;
}

/* A packet as the input wants it. */
static size_t say_packet(uint8_t *to, choices *c) {
    const uint32_t how = choose(c, 256), odd = how & 0x80 ? choose(c, 256) : 0;
    uint64_t as = peer.next;
    uint32_t keys = (uint32_t)q->updates;
    unsigned bits = 0, size = 4;
    if (odd & 1) as += choose(c, 6);
    if (odd & 2) as = peer.next - lesser(choose(c, 32), peer.next - 1);
    if ((odd & 0x0c) == 0x0c) keys++;
    else if ((odd & 0x0c) == 0x08) keys--;
    if (odd & 0x10) size = 1 + choose(c, 4);
    bits = keys & 1 ? 4 : 0;
    if ((odd & 0x60) == 0x60) bits ^= choose(c, 64);
    peer.next = greater(peer.next, as + 1);
    const size_t head = 1 + ID + size, n = say_frames(to + head, c, how);
    const size_t all = wrap(to, head, n, as, size, keys, bits);
    if ((odd & 0xe0) == 0x80) to[choose(c, (uint32_t)all)] ^= 0x10;
    if ((odd & 0xe0) == 0xa0) memset(to + all - 16, 7, 16);
    return all;
}

static void receive(uint8_t *from, size_t n, size_t segment) {
    const int before = q->state;
    peer.came[path] += n;
    const int code = ssb_quic_receive(q, path, from, n, segment, now);
    CHECK((code == SSB_OK) == (q->state == QUIC_ALIVE) && (code == SSB_OK || code == SSB_ENDED));
    CHECK(q->state >= before);
    if (q->state == QUIC_CLOSING && n > 0) farewells = 1;
}

static void say_train(choices *c) {
    uint8_t *to = bytes;
    const uint32_t count = 1 + choose(c, 8) % 5 % 4;
    size_t n[4], most = 0, all = 0;
    for (uint32_t i = 0; i < count; i++) {
        n[i] = say_packet(to, c);
        if (i + 1 < count) most = greater(most, n[i]);
        to += 1500 > n[i] ? n[i] : 1500;
    }
    if (count == 1) most = n[0];
    /* All are as long as the longest: what is shorter gets PADDING in front of its tag. */
    uint8_t *at = in;
    const uint8_t *from = bytes;
    for (uint32_t i = 0; i < count; from += n[i++]) {
        const size_t size = i + 1 < count ? most : smaller(n[i], most);
        memcpy(at, from, n[i] - 16);
        memset(at + n[i] - 16, 0, size > n[i] ? size - n[i] : 0);
        memcpy(at + size - 16, from + n[i] - 16, 16);
        believe(at, size);
        at += size;
        all += size;
    }
    uint8_t *end = in + sizeof in - all;
    memmove(end, in, all);
    receive(end, all, most);
}

/* Any datagram. */
static void say_garbage(choices *c) {
    const size_t n = 1 + choose(c, 80), some = smaller(n, c->n);
    uint8_t *to = in + sizeof in - n;
    memset(to, 0x5a, n);
    if (some > 0) memcpy(to, c->at, some);
    c->at += some;
    c->n -= some;
    if (n > 16 && (n & 1)) memset(to + n - 16, 7 + (int)(n & 2), 16);
    receive(to, n, n);
}

/* A packet of a peer that behaves. */
static void say_well(const pen *p) {
    const size_t head = 1 + ID + 4, n = (size_t)(p->at - bytes) - head;
    peer.next = greater(peer.next, q->newest + 1);
    path = q->path;
    const size_t all = wrap(bytes, head, n, peer.next++, 4, (uint32_t)q->updates, q->updates & 1 ? 4 : 0);
    believe(bytes, all);
    uint8_t *to = in + sizeof in - all;
    memcpy(to, bytes, all);
    receive(to, all, all);
}

static pen begin_well(void) { return (pen){bytes + 1 + ID + 4, bytes + 1400}; }

static void acknowledge_all(void) {
    pen p = begin_well();
    if (put_ack(&p)) say_well(&p);
}

/* ---------------------------------------------------------------- the application */

static void give_keys(void) {
    ssb_quic_secrets keys;
    memset(&keys, 0, sizeof keys);
    given = (uint32_t)q->updates + 1;
    keys.send_key[0] = (uint8_t)(SEND_KEY + given);
    keys.receive_key[0] = (uint8_t)(RECEIVE_KEY + given);
    ssb_quic_keys(q, &keys);
}

static void take_events(uint32_t most) {
    ssb_quic_event e;
    while (most-- > 0 && ssb_quic_take_event(q, &e)) {
        stream *s = of(e.stream);
        if (e.kind == SSB_QUIC_CLOSED) {
            CHECK(!closed && q->state != QUIC_ALIVE);
            closed = 1;
        } else if (e.kind == SSB_QUIC_KEYS) {
            give_keys();
        } else if (e.kind == SSB_QUIC_ID_SHORT) {
            uint8_t random[SSB_QUIC_NEW_ID];
            memset(random, 0xc0 + (int)(q->local_issued & 0x1f), sizeof random);
            ssb_quic_new_id(q, random);
        } else if (e.kind == SSB_QUIC_PATH) {
            uint8_t random[8];
            memset(random, peer.asked = (uint8_t)(e.value + 0x30), sizeof random);
            ssb_quic_challenge(q, (uint32_t)e.value, random);
        } else if (e.kind == SSB_QUIC_OPENED && s != NULL) {
            CHECK(!s->opened && !ours(e.stream));
            s->opened = 1;
        } else {
            CHECK(e.kind >= SSB_QUIC_OPENED && e.kind <= SSB_QUIC_CLOSED);
        }
    }
}

static void write_some(uint64_t id, size_t n, int end) {
    stream *s = of(id);
    const size_t room = ssb_quic_room(q, id);
    const size_t taken = ssb_quic_lend(q, id, pattern(id, s->written, 0), n, end);
    CHECK(taken <= n && taken <= room);
    if (q->state != QUIC_ALIVE) CHECK(taken == 0);
    s->written += taken;
    const ssbi_stream *of_engine = ssbi_find(q, id);
    if (of_engine != NULL && of_engine->fin) s->over = 1;
}

static void read_some(uint64_t id, size_t room) {
    static uint8_t got[4096];
    stream *s = of(id);
    int end = 2;
    uint8_t *to = got + sizeof got - room;
    const size_t n = ssb_quic_read(q, id, to, room, &end);
    CHECK(n <= room && (end == 0 || end == 1));
    CHECK(s->odd || is_same(to, pattern(id, s->read, 1), n));
    s->read += n;
    if (!end) return;
    int named = s->ends_n > 4;
    for (uint32_t i = 0; i < s->ends_n && i < 4; i++) named |= s->ends[i] == s->read;
    CHECK(named);
}

static void stop(uint64_t id) {
    const ssbi_stream *s = ssbi_find(q, id);
    const int receives = s != NULL && s->receives;
    ssb_quic_stop(q, id, 3);
    if (receives) of(id)->read = UINT32_MAX; /* what comes counts as read */
}

static void take_datagrams(void) {
    static uint8_t got[300];
    const int64_t n = ssb_quic_take_datagram(q, got, sizeof got);
    CHECK(n == -1 || (n >= 0 && (uint64_t)n < q->datagram_receive));
    if (n > 0) CHECK(peer.odd_datagrams || is_same(got, text + 9000 + n, (size_t)n));
}

static void pass(choices *c) {
    static const uint32_t SPANS[] = {0, 1, 100, 1 * MS, 5 * MS, 26 * MS, 100 * MS, 1000 * MS, 31000 * MS, 650000 * MS};
    const uint32_t how = choose(c, 24);
    const uint64_t next = ssb_quic_next(q);
    if (how < 10) now += SPANS[how];
    else if (how < 20 && next != SSB_QUIC_NEVER) now = greater(now, next + (how == 19));
    if (how != 23 && ssb_quic_next(q) <= now) ssb_quic_timer(q, now);
}

/* Many short packets. */
static void trickle(choices *c, uint64_t id) {
    const uint32_t count = 1 + choose(c, 16), n = 1 + choose(c, 80);
    for (uint32_t i = 0; i < count; i++) {
        write_some(id, n, 0);
        (void)hear(1500);
    }
}

/* As a driver does it; then no timer is due. */
static void drive(void) {
    for (int i = 0; i == 0 || ssb_quic_next(q) <= now; i++) {
        CHECK(i < 3);
        if (ssb_quic_next(q) <= now) ssb_quic_timer(q, now);
        hear_all(sizeof out);
    }
}

static void close_it(choices *c) {
    if (choose(c, 8) != 0) return;
    by_us |= q->state == QUIC_ALIVE;
    if (q->state == QUIC_ALIVE) farewells = 1;
    ssb_quic_close(q, choose(c, 256));
}

static void step(choices *c) {
    const uint32_t what = choose(c, 40), id = what >= 16 && what < 26 ? choose(c, 12) : 0;
    switch (what) {
    default: say_train(c); break;
    case 12: path = choose(c, 4); break;
    case 13: say_garbage(c); break;
    case 14: case 15: acknowledge_all(); break;
    case 16: trickle(c, id); break;
    case 17: case 18: write_some(id, choose(c, 256) * 4, (choose(c, 4) == 1)); break;
    case 19: write_some(id, 256 + choose(c, 4096), 0); break;
    case 20: case 21: read_some(id, choose(c, 256)); break;
    case 22: case 23: read_some(id, 4096); break;
    case 24: ssb_quic_reset(q, id, choose(c, 100)); break;
    case 25: stop(id); break;
    case 26: (void)ssb_quic_open(q, 0); break;
    case 27: (void)ssb_quic_open(q, 1); break;
    case 28: { const size_t n = choose(c, 1300); (void)ssb_quic_datagram(q, text + n, n); } break;
    case 29: take_datagrams(); break;
    case 30: ssb_quic_ping(q); break;
    case 31: case 32: (void)hear(1500); break;
    case 33: case 34: drive(); break;
    case 35: case 36: case 37: pass(c); break;
    case 38: close_it(c); break;
    case 39: take_events(choose(c, 3)); break;
    }
}

/* ---------------------------------------------------------------- the run */

static void hand_over(choices *c) {
    static const ssb_quic_limits SMALL = {64, 6, 4, 4 * SSB_QUIC_PAGE, 8 * SSB_QUIC_PAGE, 2, 1, 1200, 1400, 256, 5, 0, 0};
    static const ssb_quic_limits LARGE = {64, 6, 16, 32 * SSB_QUIC_PAGE, 48 * SSB_QUIC_PAGE, 2, 1, 1200, 1452, 2048, 1000, 0, 0};
    static const ssb_quic_range RECEIVED = {90, 100};
    static ssb_quic_handover h;
    static ssb_quic_stream open[2];
    const uint32_t how = choose(c, 256), more = choose(c, 256);
    limits = how & 1 ? SMALL : LARGE;
    memset(&h, 0, sizeof h);
    h.caller = (how & 2) != 0;
    late = how & 4;
    seed = more & 15;
    h.keys.send_key[0] = SEND_KEY;
    h.keys.receive_key[0] = RECEIVE_KEY;
    h.next.send_key[0] = SEND_KEY + 1;
    h.next.receive_key[0] = RECEIVE_KEY + 1;
    h.random[0] = (uint8_t)more;
    h.number = how & 8 ? UINT32_MAX - 20u : 200;
    h.received = &RECEIVED;
    h.received_n = 1;
    h.newest = 99;
    h.remote_n = h.local_n = 2;
    for (unsigned i = 0; i < 2; i++) {
        h.remote[i] = (ssb_quic_id){i, {0}, ID, 1, {0}};
        h.local[i] = (ssb_quic_id){i, {0}, ID, 0, {0}};
        memset(h.remote[i].id, (int)(0xa0 + i), ID);
        memset(h.local[i].id, (int)(0xb0 + i), ID);
        memset(h.remote[i].token, (int)(7 + i), 16);
    }
    h.id_limit = 2 + (more >> 4 & 3);
    open[0] = (ssb_quic_stream){0, 10, 100, 10, 10 + limits.window, 0, 0};
    open[1] = (ssb_quic_stream){1, 10, limits.window * 2, 10, 10 + limits.window / 2, 0, 0};
    h.streams = open;
    h.streams_n = 2;
    h.next_bidi = h.caller ? 4 : 5;
    h.next_uni = h.caller ? 2 : 3;
    h.send_bidi = h.send_uni = 2;
    h.peer_bidi = 1;
    h.receive_bidi = 2;
    h.receive_uni = 1;
    h.sent = h.received_all = 20;
    h.send_max = 20 + (how & 16 ? 100 : limits.window * 3);
    h.receive_max = 20 + limits.window_all - limits.window / 2;
    h.send_max_local = h.send_max_remote = h.send_max_uni = how & 32 ? 5000 : 70;
    h.receive_max_local = h.receive_max_remote = h.receive_max_uni = limits.window / 2;
    h.datagram_send = 1200;
    h.datagram_receive = 100;
    h.delay_exponent = 3;
    h.delay_max = h.own_delay_max = 25 * MS;
    h.idle = how & 64 ? 0 : 30000 * MS;
    h.rtt = how & 128 ? 0 : 20 * MS;
    h.rtt_variance = 5 * MS;
    h.rtt_least = h.rtt > 0 ? 18 * MS : 0;
    h.congestion_window = more & 64 ? 2400 : 14000;
    now = BEGIN;
    const size_t n = ssb_quic_size(&limits);
    CHECK(n > 0 && n <= sizeof memory);
    memset(memory, 0, n - (limits.window_all / SSB_QUIC_PAGE) * SSB_QUIC_PAGE);
    q = ssb_quic_init(memory, &NULL_AEAD, &limits, &h, now);
    CHECK(q != NULL);
    memset(&peer, 0, sizeof peer);
    memset(heard_numbers, 0, sizeof heard_numbers);
    for (uint32_t id = 0; id < IDS; id++) {
        stream *s = &peer.streams[id];
        s->final = QUIC_NONE;
        s->credit = h.send_max_uni;
        s->told = h.receive_max_uni;
        if (id > 1) continue;
        s->credit = open[id].send_max;
        s->told = open[id].receive_max;
        s->heard = s->written = s->read = s->said = 10;
        s->spoken = s->opened = 1;
    }
    for (uint64_t i = RECEIVED.first; i < RECEIVED.end; i++) numbers[peer.numbers_n++] = i;
    for (; peer.ids_n < 2; peer.ids_n++) {
        peer.ids[peer.ids_n].number = peer.ids_n;
        peer.ids[peer.ids_n].n = ID;
        memcpy(peer.ids[peer.ids_n].id, h.remote[peer.ids_n].id, ID);
    }
    peer.next = 100;
    peer.engine_next = peer.engine_first = h.number;
    peer.credit = h.send_max;
    peer.heard = 20;
    peer.told = h.receive_max;
    peer.streams_told[0] = 2;
    peer.streams_told[1] = 1;
    peer.streams_credit[0] = peer.streams_credit[1] = 2;
    path = 0;
    given = 1;
    closed = by_us = farewells = 0;
}

static void give_credit(void) {
    pen p = begin_well();
    put(&p, 0x10), put(&p, UINT64_C(1) << 40);
    for (uint32_t i = 0; i < limits.streams; i++) {
        const ssbi_stream *s = &q->streams[i];
        if (q->ids[i] != QUIC_NONE && s->sends) put(&p, 0x11), put(&p, s->id), put(&p, UINT64_C(1) << 40);
    }
    say_well(&p);
}

static int is_done(void) {
    for (uint32_t i = 0; i < limits.streams; i++) {
        const ssbi_stream *s = &q->streams[i];
        if (q->ids[i] == QUIC_NONE) continue;
        if (s->ready > s->delivered) return 0;
        if (s->sends && (s->resetting || s->fin || s->base < s->written)) return 0;
        if (s->due & (DUE_CREDIT | DUE_RESET)) return 0;
    }
    return q->flying == 0 && !q->due_credit && !q->due_streams[0] && !q->due_streams[1] && q->retires_n == 0;
}

/* A peer that behaves, and an application that reads: all comes to an end. */
static void settle(void) {
    take_events(UINT32_MAX);
    if (q->state == QUIC_ALIVE) give_credit();
    for (int i = 0; q->state == QUIC_ALIVE; i++) {
        CHECK(i < 300 && now < SSB_QUIC_NEVER);
        take_events(UINT32_MAX);
        for (uint32_t j = 0; j < limits.streams; j++)
            if (q->ids[j] < IDS) read_some(q->ids[j], 4096);
            else if (q->ids[j] != QUIC_NONE) return;
        drive();
        if (is_done()) break;
        if (q->flying > 0) now += MS;
        else now = greater(now + MS, ssb_quic_next(q));
        if (q->flying > 0) acknowledge_all();
    }
    for (uint32_t i = 0; q->state == QUIC_ALIVE && i < limits.streams; i++) {
        const stream *s = of(q->ids[i]);
        if (s != NULL && !s->reset) CHECK(s->heard == s->written);
    }
    hear_all(sizeof out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    choices c = {data, n};
    hand_over(&c);
    check_engine(q);
    for (int i = 0; i < STEPS && c.n > 0; i++) {
        step(&c);
        check_engine(q);
        if (!late) take_events(UINT32_MAX);
    }
    check_pages(q);
    settle();
    take_events(UINT32_MAX);
    CHECK(closed == (q->state != QUIC_ALIVE && !by_us));
    check_engine(q);
    check_pages(q);
    ssb_quic_wipe(q);
    CHECK(q->in_pages.lent == 0);
    return 0;
}
