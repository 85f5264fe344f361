/* test_quic_lending.c: memory that streams borrow. Each piece is a block of its own, freed as soon as the engine gives it
 * back: one read behind that, or beside a piece, is the sanitizers' to find. What is read in time has to be right. */
#include "quic_peer.h"

#define STREAMS 12u
#define PIECES_MOST 64u /* BOUNDS.segments */

typedef struct {
    uint8_t *pieces[PIECES_MOST];
    size_t n;
    uint64_t written; /* offset */
} borrowed;

static borrowed lent[STREAMS];

static uint8_t byte_at(uint64_t stream, uint64_t offset) {
    return (uint8_t)((offset * UINT64_C(2654435761) >> 12) + stream * 71);
}

/* Lend a piece; how much of it was taken. What was not taken is freed at once. */
static size_t lend(wire *w, uint64_t stream, size_t n, int end) {
    borrowed *b = &lent[stream];
    uint8_t *piece = malloc(n > 0 ? n : 1);
    CHECK(piece != NULL);
    for (size_t i = 0; i < n; i++) piece[i] = byte_at(stream, b->written + i);
    const size_t taken = ssb_quic_lend(w->q, stream, piece, n, end);
    CHECK(taken <= n);
    if (taken == 0) {
        free(piece);
    } else {
        CHECK(b->n < PIECES_MOST);
        b->pieces[b->n++] = piece;
        b->written += taken;
    }
    return taken;
}

static void take_back(uint64_t stream, uint64_t count) {
    borrowed *b = &lent[stream];
    CHECK(count > 0 && count <= b->n);
    for (size_t i = 0; i < count; i++) free(b->pieces[i]);
    b->n -= (size_t)count;
    memmove(b->pieces, b->pieces + count, b->n * sizeof b->pieces[0]);
}

static size_t borrowed_all(void) {
    size_t n = 0;
    for (size_t i = 0; i < STREAMS; i++) n += lent[i].n;
    return n;
}

/* Take all events; which ones came of this stream. */
static unsigned events_of(wire *w, uint64_t stream) {
    ssb_quic_event e;
    unsigned found = 0;
    while (ssb_quic_take_event(w->q, &e)) {
        if (e.kind == SSB_QUIC_RETURNED) take_back(e.stream, e.value);
        if (e.kind <= SSB_QUIC_RETURNED && e.stream == stream) found |= 1u << e.kind;
    }
    CHECK(look(w).segments == borrowed_all());
    return found;
}

/* Take one datagram; what it carries of streams is what was lent. */
static int hear_right(wire *w) {
    if (!hear(w)) return 0;
    for (size_t i = 0; i < w->count; i++) {
        const ssbi_frame *f = &w->frames[i];
        if (f->type < FRAME_STREAM || f->type >= FRAME_MAX_DATA) continue;
        for (size_t j = 0; j < f->n; j++) CHECK(f->data[j] == byte_at(f->stream, f->offset + j));
    }
    return 1;
}

static void begin(wire *w) {
    ssb_quic_handover h = handover_new(1);
    ssb_quic_stream streams[2];
    memcpy(streams, h.streams, sizeof streams);
    streams[0].send_max = streams[1].send_max = h.send_max = 1 << 20;
    h.send_max_local = h.send_max_uni = 1 << 20;
    h.streams = streams;
    h.congestion_window = 1 << 20;
    wire_open(w, &h);
    w->q->skip = QUIC_NONE; /* no number is left out: all may be acknowledged */
    memset(lent, 0, sizeof lent);
    lent[0].written = lent[1].written = 10;
}

/* The engine is wiped before its memory goes: nothing of it is read any more, whatever is asked of it. */
static void end(wire *w) {
    ssb_quic_wipe(w->q);
    for (size_t i = 0; i < STREAMS; i++)
        if (lent[i].n > 0) take_back(i, lent[i].n);
    CHECK(!hear(w) && lend(w, 0, 100, 0) == 0 && !ssb_quic_is_open(w->q, 0) && look(w).segments == 0);
    ssb_quic_reset(w->q, 0, 1);
    ssb_quic_timer(w->q, w->now + 1000000 * MS);
    CHECK(!hear(w));
    free(w->mem);
}

static void pieces_come_back_in_order(void) {
    wire w;
    begin(&w);
    CHECK(lend(&w, 0, 1000, 0) == 1000 && lend(&w, 0, 5000, 0) == 5000 && lend(&w, 0, 1, 0) == 1);
    while (hear_right(&w)) {
    }
    CHECK(events_of(&w, 0) == 0 && lent[0].n == 3);
    acknowledge_range(&w, 201, w.got); /* all but the first packet */
    CHECK(events_of(&w, 0) == 0 && lent[0].n == 3);
    w.now += 300 * MS;
    ssb_quic_timer(w.q, w.now);
    CHECK(hear_right(&w)); /* again, of the first two pieces */
    acknowledge_range(&w, w.got, w.got);
    CHECK(events_of(&w, 0) == 1u << SSB_QUIC_RETURNED && lent[0].n == 0);
    CHECK(lend(&w, 0, 0, 0) == 0 && look(&w).segments == 0);
    end(&w);
}

static void a_part_of_a_piece_is_kept(void) {
    wire w;
    begin(&w);
    CHECK(lend(&w, 0, 3000, 0) == 3000 && hear_right(&w));
    acknowledge_range(&w, 200, 200);
    CHECK(events_of(&w, 0) == 0 && lent[0].n == 1);
    end(&w);
}

static void a_full_ring_says_when_it_has_room(void) {
    wire w;
    begin(&w);
    for (unsigned i = 0; i < PIECES_MOST; i++) CHECK(ssb_quic_room(w.q, 0) > 0 && lend(&w, 0, 20, 0) == 20);
    CHECK(ssb_quic_room(w.q, 0) == 0 && lend(&w, 0, 20, 0) == 0 && lend(&w, 1, 20, 0) == 20);
    for (unsigned i = 0; i < 10; i++) { /* 65 pieces in order: a packet may hold many */
        if (!hear_right(&w)) break;
    }
    CHECK(events_of(&w, 0) == 0);
    acknowledge_range(&w, 200, w.got);
    CHECK(events_of(&w, 0) == (1u << SSB_QUIC_RETURNED | 1u << SSB_QUIC_WRITABLE) && borrowed_all() == 0);
    for (unsigned i = 0; i < 4; i++) CHECK(lend(&w, 0, WINDOW / 4, 0) == WINDOW / 4);
    CHECK(lend(&w, 0, 1, 0) == 0); /* the window is full */
    end(&w);
}

static void who_waits_is_told_at_half(void) {
    wire w;
    begin(&w);
    for (unsigned i = 0; i < PIECES_MOST / 2; i++) { /* two in a packet */
        w.now += MS; /* as the pace wants it */
        CHECK(lend(&w, 0, 20, 0) == 20 && lend(&w, 0, 20, 0) == 20 && hear_right(&w));
    }
    CHECK(lend(&w, 0, 20, 0) == 0);
    acknowledge_range(&w, 200, 200 + PIECES_MOST / 4 - 1);
    CHECK(events_of(&w, 0) == 1u << SSB_QUIC_RETURNED && lent[0].n == PIECES_MOST / 2);
    acknowledge_range(&w, 200, 200 + PIECES_MOST / 4);
    CHECK(events_of(&w, 0) == (1u << SSB_QUIC_RETURNED | 1u << SSB_QUIC_WRITABLE));
    CHECK(lend(&w, 0, 20, 0) == 20);
    end(&w);
}

static void resets_and_stops_give_all_back(void) {
    for (int stopped = 0; stopped < 2; stopped++) {
        wire w;
        begin(&w);
        CHECK(lend(&w, 0, 5000, 0) == 5000 && lend(&w, 1, 5000, 0) == 5000 && hear_right(&w));
        if (stopped) SAY(&w, FRAME_STOP_SENDING, 0, 5);
        else ssb_quic_reset(w.q, 0, 5);
        const unsigned told = 1u << SSB_QUIC_RETURNED | (stopped ? 1u << SSB_QUIC_STOPPED : 0);
        CHECK(events_of(&w, 0) == told && lent[0].n == 0 && lent[1].n == 1);
        CHECK(lend(&w, 0, 10, 0) == 0);
        while (hear_right(&w)) {
        }
        w.now += 500 * MS; /* the lost packet has bytes of it */
        ssb_quic_timer(w.q, w.now);
        while (hear_right(&w)) {
        }
        end(&w);
    }
}

static void a_slot_waits_until_all_is_told(void) {
    wire w;
    ssb_quic_event e;
    begin(&w);
    CHECK(ssb_quic_open(w.q, 1) == 2 && lend(&w, 2, 100, 1) == 100 && hear_right(&w));
    acknowledge_range(&w, w.got, w.got);
    CHECK(ssb_quic_is_open(w.q, 2) && ssb_quic_take_event(w.q, &e) && e.kind == SSB_QUIC_RETURNED);
    CHECK(e.stream == 2 && e.value == 1 && !ssb_quic_is_open(w.q, 2));
    take_back(2, 1);
    end(&w);
}

/* Pieces of any length, lost packets, ACKs in any order, resets and stops: what is on its way is always right. */
static void anything(void) {
    wire w;
    begin(&w);
    CHECK(ssb_quic_open(w.q, 1) == 2 && ssb_quic_open(w.q, 0) == 4 && ssb_quic_open(w.q, 0) == 8);
    static const uint64_t OURS[] = {0, 1, 2, 4, 8};
    for (int i = 0; i < 300; i++) {
        const uint64_t stream = OURS[random_below(5)];
        const size_t n = random_below(4) ? random_below(200) : random_below(9000);
        switch (random_below(8)) {
        case 0:
            if (random_below(30) == 0) ssb_quic_reset(w.q, stream, 1);
            if (random_below(30) == 0) SAY(&w, FRAME_STOP_SENDING, (uint8_t)stream, 1);
            break;
        case 1: {
            const uint64_t first = 200 + random_below((uint32_t)(w.q->number - 200) + 1);
            if (first < w.q->number) acknowledge_range(&w, first, lesser(first + random_below(8), w.q->number - 1));
            break;
        }
        case 2:
            w.now += random_below(200 * MS);
            if (ssb_quic_next(w.q) <= w.now) ssb_quic_timer(w.q, w.now);
            break;
        case 3:
        case 4:
            (void)hear_right(&w);
            break;
        default:
            (void)lend(&w, stream, n, random_below(60) == 0);
        }
        if (random_below(2)) (void)events_of(&w, 0);
        CHECK(w.q->state == QUIC_ALIVE);
    }
    for (int i = 0; i < 400 && borrowed_all() > 0; i++) { /* all that is left arrives in the end */
        while (hear_right(&w)) {
        }
        if (w.q->number > 200) acknowledge_range(&w, 200, w.q->number - 1);
        w.now += 200 * MS;
        if (ssb_quic_next(w.q) <= w.now) ssb_quic_timer(w.q, w.now);
        (void)events_of(&w, 0);
    }
    CHECK(borrowed_all() == 0 && w.q->state == QUIC_ALIVE);
    end(&w);
}

int main(void) {
    crypto_begin();
    pieces_come_back_in_order();
    a_part_of_a_piece_is_kept();
    a_full_ring_says_when_it_has_room();
    who_waits_is_told_at_half();
    resets_and_stops_give_all_back();
    a_slot_waits_until_all_is_told();
    for (int i = 0; i < 100; i++) anything();
    return 0;
}
