/* quic_recovery.c: packets in flight, round trips, losses, time-outs (RFC 9002, sections 5 to 7.6).
 *
 *   sent    a ring of all numbers from `oldest` to the next one; those in flight are SENT_FLYING
 *   items   a ring of what they carried, in the same order
 *
 * Now and then a number is left out, at random: an ACK of it comes from a peer that acknowledges what it has not received,
 * to be sent more than the path takes (RFC 9000, section 21.4).
 *
 * A packet that is lost is forgotten: what it carried is to be sent again, and an ACK that still comes says nothing. */
#include "quic.h"

#include "block_list.h"

#define REORDERED 3u      /* packets */
#define GRANULARITY 1000u /* us */
#define INITIAL_RTT 333000u
#define PROBES 2u
#define BACKOFF_MOST 16u
#define PERSISTENT 3u
#define SKIP_LEAST 32u     /* packets between two numbers that are left out: these and … */
#define SKIP_FIRST 8u      /* … less than 2^8, at first; then twice as many each time */
#define SKIP_MOST 15u
#define ACK_PART 8u /* of the ring: for packets that are not in flight */

static ssbi_sent *packet(const ssb_quic *q, uint64_t number) {
    return &q->sent[number & (q->limits.packets - 1)];
}

static ssbi_item *item(const ssb_quic *q, uint32_t i) { return &q->items[i & q->items_mask]; }

/* ---------------------------------------------------------------- sending */

int ssbi_may_send(const ssb_quic *q) {
    if (q->probes > 0) return 1;
    if (q->number - q->oldest >= q->limits.packets - q->limits.packets / ACK_PART) return 0;
    return q->congestion.in_flight + q->congestion.datagram <= q->congestion.window;
}

/* Forget the packets at the beginning that are no longer in flight, and what they carried. */
static void forget(ssb_quic *q) {
    while (q->oldest < q->number && packet(q, q->oldest)->state != SENT_FLYING) q->oldest++;
    q->item_first = q->oldest < q->number ? packet(q, q->oldest)->item : q->item_next;
}

static void land(ssb_quic *q, ssbi_sent *p, uint8_t state) {
    p->state = state;
    q->flying--;
    q->congestion.in_flight -= p->size;
}

/* Whether a packet only tries something: a size (ITEM_MTU) or another path (ITEM_PATH). */
static int tries(const ssb_quic *q, const ssbi_sent *p, uint8_t what) {
    return p->items > 0 && item(q, p->item)->kind == what;
}

static void lose(ssb_quic *q, ssbi_sent *p) {
    land(q, p, SENT_GONE);
    q->lost_packets++;
    ssbi_mtu_packet_lost(q, p->size);
    for (uint32_t i = 0; i < p->items; i++) ssbi_item_lost(q, item(q, p->item + i));
}

/* Forget a packet that may be in flight, for the sake of its place. */
static void give_up(ssb_quic *q, uint64_t n) {
    ssbi_sent *p = packet(q, n);
    if (p->state != SENT_FLYING) return;
    if (!tries(q, p, ITEM_MTU)) {
        lose(q, p);
        return;
    }
    land(q, p, SENT_GONE);
    if (n >= q->path_first) ssbi_mtu_lost(q, item(q, p->item)->offset);
}

void ssbi_plan_skip(ssb_quic *q) {
    const uint32_t nonce[3] = {0}, most = UINT32_C(1) << lesser(SKIP_FIRST + q->skips, SKIP_MOST);
    uint32_t key[8];
    uint8_t block[BLOCK];
    ssbi_block_list list;
    for (int i = 0; i < 8; i++) key[i] = load32_le(q->skip_key + 4 * i);
    ssbi_list_init(&list, ssbi_chacha20_portable, ssbi_chacha20_portable, 1, key);
    ssbi_list_add(&list, nonce, (uint32_t)q->skips, NULL, block);
    ssbi_list_run(&list);
    q->skip = q->number + SKIP_LEAST + load32_le(block) % most;
}

/* Enter the next number. */
static void enter(ssb_quic *q, size_t size, uint32_t first_item, uint8_t state) {
    ssbi_sent *p = packet(q, q->number);
    const uint32_t count = q->item_next - first_item;
    if (q->number - q->oldest == q->limits.packets) { /* ACKs alone get so far: what they passed is lost */
        give_up(q, q->oldest);
        forget(q);
    }
    if (q->oldest == q->number) q->item_first = first_item;
    *p = (ssbi_sent){q->now, first_item, (uint16_t)size, (uint8_t)count, state};
    if (p->state == SENT_FLYING) {
        q->flying++;
        q->congestion.in_flight += size;
        q->last_sent = q->now;
    }
    q->number++;
}

void ssbi_sent_packet(ssb_quic *q, size_t size, uint32_t first_item) {
    enter(q, size, first_item, q->item_next != first_item ? SENT_FLYING : SENT_GONE);
    if (q->number != q->skip) return;
    enter(q, 0, q->item_next, SENT_NEVER);
    q->skips++;
    ssbi_plan_skip(q);
}

/* ---------------------------------------------------------------- round trips */

static void take_sample(ssb_quic *q, uint64_t rtt, uint64_t delay) {
    q->rtt_latest = rtt;
    if (!q->rtt_known) {
        q->rtt_known = 1;
        q->rtt = q->rtt_least = rtt;
        q->variance = rtt / 2;
        q->first_sample = q->now;
        return;
    }
    q->rtt_least = lesser(q->rtt_least, rtt);
    delay = lesser(delay, q->delay_max);
    if (rtt >= q->rtt_least + delay) rtt -= delay;
    q->variance = (3 * q->variance + (q->rtt > rtt ? q->rtt - rtt : rtt - q->rtt)) / 4;
    q->rtt = (7 * q->rtt + rtt) / 8;
}

uint64_t ssbi_pto(const ssb_quic *q) {
    const uint64_t rtt = q->rtt_known ? q->rtt : INITIAL_RTT;
    const uint64_t variance = q->rtt_known ? q->variance : INITIAL_RTT / 2;
    return rtt + greater(4 * variance, GRANULARITY) + q->delay_max;
}

uint64_t ssbi_pto_at(const ssb_quic *q) {
    return q->flying > 0 ? q->last_sent + (ssbi_pto(q) << lesser(q->timeouts, BACKOFF_MOST)) : SSB_QUIC_NEVER;
}

/* ---------------------------------------------------------------- losses */

void ssbi_detect(ssb_quic *q) {
    const uint64_t late = greater(greater(q->rtt, q->rtt_latest) * 9 / 8, GRANULARITY);
    uint64_t run_first = QUIC_NONE, run_last = 0, longest = 0, newest = QUIC_NONE;
    q->loss_at = SSB_QUIC_NEVER;
    if (q->largest_acked == QUIC_NONE) return;
    for (uint64_t n = q->oldest; n <= q->largest_acked && n < q->number; n++) {
        ssbi_sent *p = packet(q, n);
        if (p->state == SENT_ACKED) run_first = QUIC_NONE;
        if (p->state != SENT_FLYING) continue;
        if (n + REORDERED > q->largest_acked && p->time + late > q->now) {
            q->loss_at = lesser(q->loss_at, p->time + late);
            run_first = QUIC_NONE;
            continue;
        }
        if (tries(q, p, ITEM_MTU) || tries(q, p, ITEM_PATH)) { /* no sign of congestion: RFC 8899, section 3 */
            land(q, p, SENT_GONE);
            if (tries(q, p, ITEM_MTU) && n >= q->path_first) ssbi_mtu_lost(q, item(q, p->item)->offset);
            continue;
        }
        lose(q, p);
        newest = p->time;
        if (p->time <= q->first_sample) continue;
        if (run_first == QUIC_NONE) run_first = p->time;
        run_last = p->time;
        longest = greater(longest, run_last - run_first);
    }
    if (newest != QUIC_NONE) ssbi_congestion_lost(&q->congestion, newest, q->now);
    if (longest > PERSISTENT * ssbi_pto(q)) {
        ssbi_congestion_persistent(&q->congestion);
        q->rtt_least = q->rtt_latest;
        q->persistent++;
    }
    forget(q);
}

/* ---------------------------------------------------------------- acknowledged */

typedef struct {
    uint64_t bytes, newest, sent; /* of the packets that were in flight */
} landed;

/* 0: one of them was never sent. */
static int acknowledge(ssb_quic *q, uint64_t low, uint64_t high, landed *all) {
    for (uint64_t n = greater(low, q->oldest); n <= high; n++) {
        ssbi_sent *p = packet(q, n);
        if (p->state == SENT_NEVER) return 0;
        if (p->state != SENT_FLYING) continue;
        land(q, p, SENT_ACKED);
        all->bytes += p->size;
        if (n < q->path_first || tries(q, p, ITEM_PATH)) {
            /* It says nothing of the path. */
        } else if (tries(q, p, ITEM_MTU)) {
            ssbi_mtu_acked(q, item(q, p->item)->offset);
        } else {
            ssbi_mtu_packet_acked(q, p->size);
        }
        if (all->newest == QUIC_NONE || n > all->newest) {
            all->newest = n;
            all->sent = p->time;
        }
        for (uint32_t i = 0; i < p->items; i++) ssbi_item_acked(q, item(q, p->item + i));
    }
    return 1;
}

uint64_t ssbi_take_ack(ssb_quic *q, ssbi_frame *f, int old_keys) {
    const uint64_t flight = q->congestion.in_flight, largest = f->value;
    landed all = {0, QUIC_NONE, 0};
    uint64_t low = 0, high = QUIC_NONE, rtt = QUIC_NONE;
    if (largest >= q->number) return QUIC_PROTOCOL;
    if (old_keys && largest >= q->phase_sent) return QUIC_KEY_UPDATE; /* RFC 9001, section 6.4 */
    while (ssbi_next_acked(f, &low, &high) && high >= q->oldest)
        if (!acknowledge(q, low, high, &all)) return QUIC_PROTOCOL;
    const int grown = q->largest_acked == QUIC_NONE || largest > q->largest_acked;
    if (grown) q->largest_acked = largest;
    if (all.newest == QUIC_NONE) {
        if (grown) ssbi_detect(q); /* what has no answer is lost behind ACKs, too: else each ACK would walk over them */
        return QUIC_OK;
    }
    if (all.newest == largest && largest >= q->path_first && !tries(q, packet(q, largest), ITEM_PATH)) {
        const uint64_t delay = f->offset < (UINT64_C(1) << 30) ? f->offset << q->delay_exponent : q->delay_max;
        rtt = q->now - all.sent;
        take_sample(q, rtt, delay);
    }
    q->timeouts = 0;
    q->probes = 0;
    ssbi_congestion_acked(&q->congestion, all.bytes, all.sent, all.newest, q->number, flight, rtt, q->rtt, q->now);
    ssbi_detect(q);
    return QUIC_OK;
}

/* ---------------------------------------------------------------- time-outs */

/* Send what the oldest packets in flight carried once more, or a PING where that is nothing. They are given up where
 * nothing more can be noted: else no probe could be. */
void ssbi_probe(ssb_quic *q) {
    const uint32_t noted = q->item_next - q->item_first, most = q->items_mask + 1;
    uint32_t found = 0;
    q->timeouts++;
    q->all_probes++;
    ssbi_mtu_timeout(q);
    q->probes = PROBES;
    q->ping = 1;
    for (uint64_t n = q->oldest; n < q->number && found < PROBES; n++) {
        const ssbi_sent *p = packet(q, n);
        if (p->state != SENT_FLYING) continue;
        found++;
        if (noted + PROBES > most) give_up(q, n);
        else
            for (uint32_t i = 0; i < p->items; i++) ssbi_item_lost(q, item(q, p->item + i));
    }
    forget(q);
}
