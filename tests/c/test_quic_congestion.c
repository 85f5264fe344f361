/* test_quic_congestion.c: CUBIC's window against its formulas in doubles, slow start and its end, pacing. */
#include "check.h"

#include "quic.h"

#include <math.h>

#define DATAGRAM 1400u
#define MS 1000u

/* One round trip: all of the window is acknowledged, packet by packet. */
static uint64_t round_trip(ssbi_congestion *c, uint64_t number, uint64_t rtt, uint64_t *now, uint64_t sent) {
    const uint64_t window = c->window, packets = window / DATAGRAM;
    c->full = 1;
    for (uint64_t i = 0; i < packets; i++)
        ssbi_congestion_acked(c, DATAGRAM, sent, number + i, number + packets, window, rtt, rtt,
                              *now + i * rtt / packets);
    *now += rtt;
    return number + packets;
}

static void slow_start(void) {
    ssbi_congestion c;
    uint64_t now = 1000 * MS, number = 0;
    ssbi_congestion_init(&c, 10 * DATAGRAM, 1 << 30, DATAGRAM);
    for (int i = 0; i < 6; i++) {
        const uint64_t before = c.window;
        number = round_trip(&c, number, 50 * MS, &now, now);
        CHECK(c.window == 2 * before);
    }
    const uint64_t before = c.window;
    for (int full = 0; full < 2; full++) { /* the window does not hold the sender back: nothing is known of more */
        c.full = (uint8_t)full;
        for (int i = 0; i < 100; i++)
            ssbi_congestion_acked(&c, DATAGRAM, now, number, number, before / (1 + 2 * (uint64_t)full), 50 * MS, 50 * MS,
                                  now);
    }
    CHECK(c.window == before);
}

/* HyStart++: the RTT rises, so growth slows down; then it stays, so slow start is over, or falls, so it goes on. */
static void rising_rtt(int falls) {
    ssbi_congestion c;
    uint64_t now = 1000 * MS, number = 0;
    ssbi_congestion_init(&c, 10 * DATAGRAM, 1 << 30, DATAGRAM);
    for (int i = 0; i < 3; i++) number = round_trip(&c, number, 40 * MS, &now, now);
    uint64_t before = c.window;
    number = round_trip(&c, number, 44 * MS, &now, now); /* less than 40/8 = 5 ms more */
    CHECK(c.window == 2 * before && !c.conservative);
    number = round_trip(&c, number, 50 * MS, &now, now);
    CHECK(c.conservative);
    before = c.window;
    number = round_trip(&c, number, falls ? 39 * MS : 50 * MS, &now, now);
    if (falls) {
        CHECK(!c.conservative && c.window > before + before / 2);
        return;
    }
    CHECK(c.window - before <= before / 4 + DATAGRAM && c.window - before >= before / 4 - 8 * DATAGRAM);
    CHECK(c.threshold == QUIC_NONE);
    for (int i = 0; i < 5; i++) number = round_trip(&c, number, 50 * MS, &now, now);
    CHECK(c.threshold != QUIC_NONE && c.threshold <= c.window);
}

/* RFC 9438, section 4, in datagrams and seconds. */
typedef struct {
    double window, peak, k, friendly;
} model;

static double cubic(const model *m, double t) { return 0.4 * pow(t - m->k, 3) + m->peak; }

static void model_acked(model *m, double t, double rtt) {
    const double target = fmin(fmax(cubic(m, t + rtt), m->window), 1.5 * m->window);
    m->friendly += (m->friendly < m->peak ? 9.0 / 17 : 1) / m->window;
    if (cubic(m, t) < m->friendly) m->window = fmax(m->window, m->friendly);
    else m->window += (target - m->window) / m->window;
}

/* After a loss the window goes as the formulas say, down to the peak and beyond it. */
static void curve(uint64_t window, uint64_t rtt, double seconds) {
    ssbi_congestion c;
    uint64_t now = 1000 * MS, number = 0;
    ssbi_congestion_init(&c, window, 1 << 30, DATAGRAM);
    ssbi_congestion_lost(&c, now, now);
    CHECK(c.window == window * 7 / 10 && c.threshold == c.window);
    ssbi_congestion_lost(&c, now, now); /* sent before: the same loss */
    CHECK(c.window == window * 7 / 10);
    const double peak = (double)window / DATAGRAM;
    model m = {peak * 0.7, peak, cbrt(peak * 0.3 / 0.4), peak * 0.7};
    now += rtt;
    const uint64_t begin = now;
    while ((double)(now - begin) < seconds * 1e6) {
        const uint64_t sent = now, packets = c.window / DATAGRAM;
        for (uint64_t i = 0; i < packets; i++)
            model_acked(&m, (double)(now + i * rtt / packets - begin) / 1e6, (double)rtt / 1e6);
        number = round_trip(&c, number, rtt, &now, sent);
        const double got = (double)c.window / DATAGRAM;
        CHECK(got > 0.97 * m.window - 1 && got < 1.03 * m.window + 1);
    }
    CHECK((double)c.window > 1.1 * (double)window);
}

static void fast_convergence(void) {
    ssbi_congestion c;
    ssbi_congestion_init(&c, 1000 * DATAGRAM, 1 << 30, DATAGRAM);
    ssbi_congestion_lost(&c, 10, 10);
    CHECK(c.peak == 1000 * DATAGRAM);
    ssbi_congestion_lost(&c, 20, 20); /* below the peak already: it gives way */
    CHECK(c.peak == 700 * DATAGRAM * 17 / 20 && c.window == 490 * DATAGRAM);
    for (uint64_t i = 3; i < 40; i++) ssbi_congestion_lost(&c, 10 * i, 10 * i);
    CHECK(c.window == 2 * DATAGRAM);
    ssbi_congestion_init(&c, 1000 * DATAGRAM, 1 << 30, DATAGRAM);
    ssbi_congestion_persistent(&c);
    CHECK(c.window == 2 * DATAGRAM);
}

/* The window after a loss, in avoidance with 20 datagrams: `rounds` of `rtt` behind one of 20 ms, and one late sample. */
static uint64_t after_loss(uint64_t rtt, int rounds, int anew) {
    ssbi_congestion c;
    uint64_t now = 1000 * MS, number = 0;
    ssbi_congestion_init(&c, 20 * DATAGRAM, 1 << 30, DATAGRAM);
    c.threshold = 0;
    c.most = c.window; /* it stays as it is */
    number = round_trip(&c, number, 20 * MS, &now, now);
    if (anew) {
        ssbi_congestion_persistent(&c);
        c.window = 20 * DATAGRAM;
    }
    for (int i = 0; i < rounds; i++) number = round_trip(&c, number, rtt, &now, now);
    ssbi_congestion_acked(&c, DATAGRAM, now, number, number + 20, c.window, 90 * MS, rtt, now);
    ssbi_congestion_lost(&c, now, now);
    return c.window;
}

/* A loss behind which no datagram waits, by the least of a round, is none for want of room. */
static void calm_loss(void) {
    const uint64_t little = 20 * DATAGRAM * 85 / 100, much = 20 * DATAGRAM * 7 / 10;
    CHECK(after_loss(20 * MS, 2, 0) == little);
    CHECK(after_loss(21 * MS, 2, 0) == little); /* 0.95 of a datagram */
    CHECK(after_loss(22 * MS, 2, 0) == much);   /* 1.8 */
    CHECK(after_loss(40 * MS, 2, 0) == much);
    CHECK(after_loss(40 * MS, 2, 1) == little); /* the way may be longer now */
    ssbi_congestion c;
    uint64_t now = 1000 * MS, number = 0;
    ssbi_congestion_init(&c, 20 * DATAGRAM, 1 << 30, DATAGRAM);
    ssbi_congestion_lost(&c, now, now);
    CHECK(c.window == much); /* nothing is known */
    ssbi_congestion_init(&c, 5 * DATAGRAM, 1 << 30, DATAGRAM);
    for (int i = 0; i < 2; i++) number = round_trip(&c, number, 20 * MS, &now, now);
    CHECK(c.window == 20 * DATAGRAM);
    ssbi_congestion_lost(&c, now, now);
    CHECK(c.window == much); /* slow start */
    ssbi_congestion_init(&c, 20 * DATAGRAM, 1 << 30, DATAGRAM);
    c.threshold = 0;
    c.most = c.window;
    for (int i = 0; i < 3; i++) number = round_trip(&c, number, (i == 1 ? 20 : 40) * MS, &now, now);
    ssbi_congestion_lost(&c, now, now);
    CHECK(c.window == little); /* the round before was shorter */
    now++;
    c.window = c.most = 20 * DATAGRAM;
    for (int i = 0; i < 2; i++) number = round_trip(&c, number, 40 * MS, &now, now);
    ssbi_congestion_lost(&c, now, now);
    CHECK(c.window == much); /* what was earlier counts no more */
    now++;
    c.window = c.most = 20 * DATAGRAM;
    for (int i = 0; i < 2; i++) number = round_trip(&c, number, 40 * MS, &now, now);
    for (uint64_t i = 0; i < 2; i++)
        ssbi_congestion_acked(&c, DATAGRAM, now, number + i, number + 20, c.window, (i ? 90 : 20) * MS, 40 * MS, now);
    ssbi_congestion_lost(&c, now, now);
    CHECK(c.window == little); /* of one round the least counts, and not the latest */
}

/* Trains are a quarter of a small window at most, but for the first after a round trip without any. */
static void small_trains(void) {
    ssbi_congestion c;
    ssbi_congestion_init(&c, 16 * DATAGRAM, 1 << 30, DATAGRAM);
    const uint64_t rtt = 100 * MS;
    uint64_t now = 1000 * MS;
    for (int i = 0; i < 40; i++) {
        int burst = 0;
        for (; ssbi_pace_allows(&c, rtt, now); burst++) ssbi_paced(&c, DATAGRAM, rtt, now);
        CHECK(i % 10 == 0 ? burst > 10 : burst > 1 && burst <= 5);
        now = i % 10 == 9 ? c.paced + rtt + 1 : i % 10 == 8 ? c.paced + rtt * 9 / 10 : ssbi_pace_next(&c, rtt);
    }
}

static void pacing(void) {
    ssbi_congestion c;
    ssbi_congestion_init(&c, 100 * DATAGRAM, 1 << 30, DATAGRAM);
    uint64_t now = 1000 * MS, sent = 0;
    const uint64_t rtt = 100 * MS, begin = now;
    while (now < begin + 8 * rtt) {
        size_t burst = 0;
        while (ssbi_pace_allows(&c, rtt, now)) {
            ssbi_paced(&c, DATAGRAM, rtt, now);
            burst++;
            CHECK(burst < 40);
        }
        CHECK(burst > 0 && (now == begin || burst >= 7)); /* never packet by packet */
        sent += burst;
        CHECK(ssbi_pace_next(&c, rtt) > now);
        now = ssbi_pace_next(&c, rtt);
    }
    CHECK(sent > 8 * 125 - 20 && sent < 8 * 125 + 40); /* 1.25 windows in a round trip */
}

int main(void) {
    slow_start();
    rising_rtt(0);
    rising_rtt(1);
    curve(100 * DATAGRAM, 100 * MS, 12);
    curve(2000 * DATAGRAM, 20 * MS, 20);
    curve(20 * DATAGRAM, 5 * MS, 8);
    curve(5000 * DATAGRAM, 200 * MS, 30);
    fast_convergence();
    calm_loss();
    small_trains();
    pacing();
    return 0;
}
