/* quic_congestion.c: the congestion window, by CUBIC (RFC 9438) with HyStart++ (RFC 9406), and pacing (RFC 9002, 7.7).
 *
 *   slow start     window grows by what is acknowledged, until the RTT of a round rises: then
 *   conservative   a quarter of that for five rounds, and, unless the RTT falls again, the end of slow start
 *   avoidance      W(t) = C (t - K)^3 + W_max, or what Reno would have if that is more
 *   loss           window * 0.7, once for all packets that were sent before it was noticed; window * 0.85 where the
 *                  round trips say that nothing waits at a bottleneck
 *
 * The last is not in RFC 9438. A radio loses packets that no queue had to drop; there a window cut by 0.7 each time
 * carries less than quic-go, which is Reno with 0.7. TCP Veno tells such losses by the same sign: the part of the window
 * by which the least RTT of a round is longer than the least ever, here less than a datagram. Behind a queue that
 * fills before it drops, two flows and more share as the RFC has it.
 *
 * Numbers are whole: bytes, and microseconds or milliseconds. C is 0.4 datagrams / s^3. */
#include "quic.h"

#include <string.h>

#define LEAST_DATAGRAMS 2u
#define BETA 70u               /* parts of a hundred */
#define BETA_CALM 85u
#define QUEUED_DATAGRAMS 1u    /* as many as that waiting: the loss was for want of room */
#define FRIENDLY_UNIT 1024u    /* parts of a byte */
#define ALPHA_TOP 9u           /* 3 (1 - beta) / (1 + beta) = 9/17 */
#define ALPHA_BOTTOM 17u
#define CURVE_MOST 100000      /* ms from K, for the cube to fit */
#define PER_MS_CUBED 2500000000u /* 10^9 / 0.4: (ms)^3 / C */

#define ROUND_SAMPLES 8u
#define RISE_LEAST 4000u /* us */
#define RISE_MOST 16000u
#define SLOW_GROWTH 4u
#define SLOW_ROUNDS 5u

#define TRAIN_US 1000u
#define TRAIN_PACKETS 16u
#define TRAIN_PART 4u /* of the window: a short queue has room for a train, and one lost ACK is not that of a round */

void ssbi_congestion_init(ssbi_congestion *c, uint64_t window, uint64_t most, uint32_t datagram) {
    memset(c, 0, sizeof *c);
    c->datagram = datagram;
    c->most = greater(most, LEAST_DATAGRAMS * datagram);
    c->window = lesser(greater(window, LEAST_DATAGRAMS * datagram), c->most);
    c->threshold = c->recovery_from = c->epoch = QUIC_NONE;
    c->least = c->round_least = c->last_least = c->base_least = QUIC_NONE;
}

/* ---------------------------------------------------------------- slow start */

static void next_round(ssbi_congestion *c, uint64_t next) {
    c->last_least = c->round_least;
    c->round_least = QUIC_NONE;
    c->samples = 0;
    c->round_end = next;
    if (!c->conservative || ++c->slow_rounds < SLOW_ROUNDS) return;
    c->threshold = c->window;
    c->conservative = 0;
}

static void look_at_round(ssbi_congestion *c) {
    if (++c->samples < ROUND_SAMPLES) return;
    if (c->conservative) {
        if (c->round_least < c->base_least) c->conservative = 0;
    } else if (c->last_least != QUIC_NONE) {
        const uint64_t rise = lesser(greater(c->last_least / 8, RISE_LEAST), RISE_MOST);
        if (c->round_least < c->last_least + rise) return;
        c->base_least = c->round_least;
        c->conservative = 1;
        c->slow_rounds = 0;
    }
}

/* ---------------------------------------------------------------- avoidance */

static uint64_t cube_root(uint64_t v) {
    uint64_t root = 0;
    for (uint64_t step = UINT64_C(1) << 20; step > 0; step /= 2) {
        const uint64_t r = root + step;
        if (r * r * r <= v) root = r;
    }
    return root;
}

/* W(t), t in ms since the epoch. */
static uint64_t curve(const ssbi_congestion *c, uint64_t t) {
    const uint64_t away = lesser(t > c->peak_after ? t - c->peak_after : c->peak_after - t, CURVE_MOST);
    const uint64_t height = away * away * away / PER_MS_CUBED * c->datagram +
                            away * away * away % PER_MS_CUBED * c->datagram / PER_MS_CUBED;
    if (t > c->peak_after) return c->peak + height;
    return c->peak > height ? c->peak - height : 0;
}

static void begin_curve(ssbi_congestion *c, uint64_t now) {
    c->epoch = now;
    c->friendly = c->window * FRIENDLY_UNIT;
    c->remainder = 0;
    if (c->peak <= c->window) {
        c->peak = c->window;
        c->peak_after = 0;
    } else {
        c->peak_after = cube_root((c->peak - c->window) / c->datagram * PER_MS_CUBED);
    }
}

static void avoid(ssbi_congestion *c, uint64_t bytes, uint64_t smoothed, uint64_t now) {
    if (c->epoch == QUIC_NONE) begin_curve(c, now);
    const uint64_t t = (now - c->epoch) / 1000, seen = curve(c, t);
    uint64_t gain = FRIENDLY_UNIT * bytes * c->datagram / c->window;
    if (c->friendly < c->before * FRIENDLY_UNIT) gain = gain * ALPHA_TOP / ALPHA_BOTTOM;
    c->friendly += gain;
    if (seen < c->friendly / FRIENDLY_UNIT) {
        c->window = greater(c->window, c->friendly / FRIENDLY_UNIT);
        return;
    }
    const uint64_t target = lesser(curve(c, t + smoothed / 1000), c->window + c->window / 2);
    if (target <= c->window) return;
    c->remainder += (target - c->window) * bytes;
    c->window += c->remainder / c->window;
    c->remainder %= c->window;
}

/* ---------------------------------------------------------------- what happens */

/* Whether the window is what holds the sender back; else nothing is known of more. Pacing leaves some of it unused. */
static int is_used(const ssbi_congestion *c, uint64_t flight) { return c->full && flight >= c->window / 2; }

void ssbi_congestion_acked(ssbi_congestion *c, uint64_t bytes, uint64_t sent, uint64_t number, uint64_t next,
                           uint64_t flight, uint64_t rtt, uint64_t smoothed, uint64_t now) {
    const int starting = c->window < c->threshold;
    if (number >= c->round_end) next_round(c, next);
    if (rtt != QUIC_NONE) {
        c->least = lesser(c->least, rtt);
        c->round_least = lesser(c->round_least, rtt);
        if (starting) look_at_round(c);
    }
    if (c->recovery_from != QUIC_NONE && sent <= c->recovery_from) return;
    if (!is_used(c, flight)) {
        c->epoch = QUIC_NONE;
        return;
    }
    if (!starting) avoid(c, bytes, smoothed, now);
    else c->window += c->conservative ? bytes / SLOW_GROWTH : bytes;
    c->window = lesser(c->window, c->most);
}

/* Whether less than QUEUED_DATAGRAMS of the window wait on their way, by the last round trips. Slow start knows nothing:
 * its window doubles in the time that a queue takes to be seen. */
static int is_calm(const ssbi_congestion *c) {
    const uint64_t round = lesser(c->round_least, c->last_least);
    if (c->window < c->threshold || round == QUIC_NONE) return 0;
    return c->window * (round - c->least) < QUEUED_DATAGRAMS * c->datagram * round;
}

void ssbi_congestion_lost(ssbi_congestion *c, uint64_t sent, uint64_t now) {
    if (c->recovery_from != QUIC_NONE && sent <= c->recovery_from) return;
    c->recovery_from = now;
    /* Fast convergence: a flow that had to give way before it came back to its peak gives way to others. */
    c->peak = c->window < c->peak ? c->window * (100 + BETA) / 200 : c->window;
    c->before = c->window;
    c->window = greater(c->window * (is_calm(c) ? BETA_CALM : BETA) / 100, LEAST_DATAGRAMS * c->datagram);
    c->threshold = c->window;
    c->epoch = QUIC_NONE;
    c->conservative = 0;
}

void ssbi_congestion_persistent(ssbi_congestion *c) {
    c->window = LEAST_DATAGRAMS * c->datagram;
    c->recovery_from = QUIC_NONE;
    c->epoch = QUIC_NONE;
    c->least = c->round_least = c->last_least = QUIC_NONE;
    c->conservative = 0;
}

void ssbi_congestion_idle(ssbi_congestion *c) { c->epoch = QUIC_NONE; }

/* ---------------------------------------------------------------- pacing */

/* Time that n bytes take at 1.25 windows in a round trip. */
static uint64_t span(const ssbi_congestion *c, uint64_t n, uint64_t smoothed) {
    return n * smoothed * 4 / (c->window * 5);
}

static uint64_t train_span(const ssbi_congestion *c, uint64_t most, uint64_t smoothed) {
    return greater(TRAIN_US, span(c, lesser(TRAIN_PACKETS * (uint64_t)c->datagram, most), smoothed));
}

/* Of a small window a train is a part; all of it after a round trip without any. */
void ssbi_paced(ssbi_congestion *c, size_t n, uint64_t smoothed, uint64_t now) {
    if (now > c->paced + smoothed) c->rested_until = now + TRAIN_US;
    const uint64_t most = train_span(c, now < c->rested_until ? c->window : c->window / TRAIN_PART, smoothed);
    c->paced = greater(c->paced, now > most ? now - most : 0) + span(c, n, smoothed);
}

int ssbi_pace_allows(ssbi_congestion *c, uint64_t smoothed, uint64_t now) {
    if (c->paced > now) c->held = 1;
    else if (c->held && now >= ssbi_pace_next(c, smoothed)) c->held = 0;
    return !c->held;
}

uint64_t ssbi_pace_next(const ssbi_congestion *c, uint64_t smoothed) {
    return c->paced + train_span(c, c->window / TRAIN_PART, smoothed) / 2;
}
