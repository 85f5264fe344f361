/* quic_mtu.c: how long datagrams may be (RFC 8899): longer ones are tried, and shorter ones taken when long ones vanish.
 *
 *   search     one probe at a time, at first as long as may be, then half way; a size that was lost thrice does not pass
 *   found      the search begins anew after ten minutes: the way may have changed
 *   vanished   two time-outs in a row, or ten long packets lost without one that arrived: the shortest that QUIC asks for,
 *              and a new search up to what was in use
 *
 * A probe that is lost says nothing of congestion. */
#include "quic.h"

#define TRIES 3u
#define STEP 16u /* a gain below is not worth a probe */
#define LONG_LOST 10u
#define TIMEOUTS 2u
#define PAUSE UINT64_C(1000000)    /* us, between the end of a size and the next search */
#define RAISE UINT64_C(600000000)

/* Nothing is left to be tried for now. */
static void rest(ssb_quic *q) {
    q->mtu.high = q->mtu.probe = q->limits.datagram_most;
    q->mtu.tries = 0;
    q->mtu.at = q->mtu.high >= q->congestion.datagram + STEP ? q->now + RAISE : SSB_QUIC_NEVER;
}

/* Search up to `high`, from `at` on. */
static void begin(ssb_quic *q, uint32_t high, uint64_t at) {
    rest(q);
    if (high < q->congestion.datagram + STEP) return;
    q->mtu.high = q->mtu.probe = high;
    q->mtu.at = at;
}

/* The next size between what passes and what does not. */
static void go_on(ssb_quic *q) {
    const uint32_t low = q->congestion.datagram, high = q->mtu.high;
    rest(q);
    if (high < low + STEP) return;
    q->mtu.high = high;
    q->mtu.probe = low + (high - low + 1) / 2;
    q->mtu.at = q->now;
}

void ssbi_mtu_init(ssb_quic *q) {
    q->mtu.long_lost = 0;
    q->mtu.flying = 0;
    begin(q, q->limits.datagram_most, q->now);
}

/* NEVER: an ACK has to come first. */
uint64_t ssbi_mtu_next(const ssb_quic *q) {
    const ssbi_congestion *c = &q->congestion;
    const int fits = c->in_flight + q->mtu.probe <= c->window;
    return q->mtu.flying || q->timeouts > 0 || !fits ? SSB_QUIC_NEVER : q->mtu.at;
}

int ssbi_mtu_due(const ssb_quic *q) { return q->now >= ssbi_mtu_next(q); }

void ssbi_mtu_acked(ssb_quic *q, uint64_t size) {
    q->mtu.flying = 0;
    if (size <= q->congestion.datagram) return;
    q->congestion.datagram = (uint32_t)size;
    go_on(q);
}

void ssbi_mtu_lost(ssb_quic *q, uint64_t size) {
    q->mtu.flying = 0;
    if (size != q->mtu.probe || ++q->mtu.tries < TRIES) return;
    q->mtu.high = q->mtu.probe - 1;
    go_on(q);
}

static void shrink(ssb_quic *q) {
    const uint32_t before = q->congestion.datagram;
    q->congestion.datagram = QUIC_DATAGRAM_LEAST;
    q->mtu.long_lost = 0;
    begin(q, before, q->now + PAUSE); /* it may have been chance */
}

void ssbi_mtu_packet_acked(ssb_quic *q, uint32_t size) {
    if (size > QUIC_DATAGRAM_LEAST) q->mtu.long_lost = 0;
}

void ssbi_mtu_packet_lost(ssb_quic *q, uint32_t size) {
    if (size <= QUIC_DATAGRAM_LEAST || q->congestion.datagram <= QUIC_DATAGRAM_LEAST) return;
    if (++q->mtu.long_lost >= LONG_LOST) shrink(q);
}

void ssbi_mtu_timeout(ssb_quic *q) {
    if (q->timeouts >= TIMEOUTS && q->congestion.datagram > QUIC_DATAGRAM_LEAST) shrink(q);
}
