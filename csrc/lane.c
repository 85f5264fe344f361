/* lane.c: lanes, outgoing streams with a queue of their own.
 *
 * Data slabs of a lane hold bytes without heads: heads are written when they are sealed, so that bytes of many
 * packets leave in one. Whole packets lie with their heads in slabs of their own. A lane is in its link's ring
 * exactly while it has something queued. */
#include "internal.h"

#include <string.h>

#define QUANTUM ((int32_t)(SSB_BOX_BODY - SSB_PACKET_HEAD))
#define LANE_PART 16u /* one lane may hold a 16th of what is left of the pool */
#define LINK_PART 4u  /* all lanes of a link may hold a quarter of it */
#define SLACK 4u      /* memory a lane may hold, in shares: a whole packet of ten bytes takes a slab of 4096 */

/* ---------------------------------------------------------------- the ring */

static void ring_join(ssb_lane *lane) {
    ssb_link *l = lane->_link;
    ssb_lane *turn = l->_ring;
    if (turn == NULL) {
        l->_ring = lane->_next = lane->_previous = lane;
    } else { /* last in the round: right before the one whose turn it is */
        lane->_next = turn;
        lane->_previous = turn->_previous;
        turn->_previous->_next = lane;
        turn->_previous = lane;
    }
    lane->_credit = QUANTUM;
    lane->_ringed = 1;
}

static void ring_leave(ssb_lane *lane) {
    ssb_link *l = lane->_link;
    if (lane->_next == lane) l->_ring = NULL;
    else if (l->_ring == lane) l->_ring = lane->_next;
    lane->_next->_previous = lane->_previous;
    lane->_previous->_next = lane->_next;
    lane->_next = lane->_previous = NULL;
    lane->_ringed = 0;
}

/* Give the turn to the next lane with credit. A lane in debt passes once for every quantum it owes, which is paid
 * for by the bytes it has sent. */
void ssbi_lane_rotate(ssb_lane *lane) {
    ssb_link *l = lane->_link;
    while (lane->_credit <= 0) {
        lane->_credit = lane->_next == lane ? QUANTUM : lane->_credit + QUANTUM;
        lane = lane->_next;
    }
    l->_ring = lane;
}

/* Account for a change of the queue. Call after every change, with the queue as it was before. */
static void account(ssb_lane *lane, ssb_queue before) {
    ssb_link *l = lane->_link;
    l->_lane_bytes += lane->_queue._bytes - before._bytes; /* both may shrink: unsigned wraps back */
    l->_lane_slabs += (uint64_t)lane->_queue._slabs - before._slabs;
    l->_hub->_outgoing += (uint64_t)lane->_queue._slabs - before._slabs;
    if (lane->_queue._bytes > 0 && !lane->_ringed) ring_join(lane);
    else if (lane->_queue._bytes == 0 && lane->_ringed) ring_leave(lane);
}

/* ---------------------------------------------------------------- lanes */

void ssb_lane_init(ssb_lane *lane, ssb_link *l, int32_t req, uint32_t share) {
    memset(lane, 0, sizeof *lane);
    lane->_req = req;
    lane->_share = share;
    if (l->_goodbye == LINK_CLOSED) return; /* detached from the start */
    lane->_link = l;
    lane->_older = l->_lanes;
    if (l->_lanes != NULL) l->_lanes->_newer = lane;
    l->_lanes = lane;
}

int ssbi_lane_open(const ssb_lane *lane) { return lane->_link != NULL && lane->_link->_goodbye == GOODBYE_NONE; }

/* part: a limit never exceeds this part of what is left of the pool, but always lets a slab wait. */
static int is_over_limit(const ssb_hub *h, uint64_t bytes, uint64_t slabs, uint64_t limit, uint32_t part) {
    const uint64_t left = (uint64_t)ssb_hub_left(h) / part * SSB_SLAB;
    const uint64_t most = left > SSB_SLAB ? left : SSB_SLAB;
    if (limit > most) limit = most;
    return bytes >= limit || slabs >= (uint64_t)SLACK * (limit / SSB_SLAB + 1);
}

int ssbi_lane_over(const ssb_lane *lane) {
    const ssb_link *l = lane->_link;
    if (!ssbi_lane_open(lane)) return 0;
    return is_over_limit(l->_hub, lane->_queue._bytes, lane->_queue._slabs, lane->_share, LANE_PART) ||
           is_over_limit(l->_hub, l->_lane_bytes, l->_lane_slabs, l->_limits.link_backlog, LINK_PART);
}

int ssb_lane_full(const ssb_lane *lane) {
    return ssbi_lane_open(lane) && (ssbi_lane_over(lane) || ssb_hub_left(lane->_link->_hub) == 0);
}

int ssbi_lane_splice(ssb_lane *lane, const uint8_t *data, size_t n) {
    const ssb_queue before = lane->_queue;
    if (ssbi_append(lane->_link->_hub, &lane->_queue, data, n) != SSB_OK) return SSB_E_MEMORY;
    lane->_put += n;
    account(lane, before);
    ssbi_link_dirty(lane->_link);
    return SSB_OK;
}

int ssb_lane_write(ssb_lane *lane, const uint8_t *data, size_t n) {
    if (!ssbi_lane_open(lane)) return SSB_E_CLOSED;
    if (n == 0) return SSB_OK;
    if (ssb_lane_full(lane) || ssbi_slabs_for(n) > ssb_hub_left(lane->_link->_hub)) return SSB_FULL;
    return ssbi_lane_splice(lane, data, n);
}

int ssbi_lane_take_packet(ssb_lane *lane, ssb_queue *packet) {
    const ssb_queue before = lane->_queue;
    ssb_hub *h = lane->_link->_hub;
    lane->_put += packet->_bytes;
    ssbi_mark_whole(h, packet);
    ssbi_move(h, &lane->_queue, packet);
    account(lane, before);
    ssbi_link_dirty(lane->_link);
    return SSB_OK;
}

int ssb_lane_packet(ssb_lane *lane, uint8_t flags, const uint8_t *body, size_t body_n) {
    ssb_queue packet = {0, 0, 0, 0};
    uint8_t head[SSB_PACKET_HEAD];
    if (!ssbi_lane_open(lane) || body_n == 0 || body_n >= UINT32_MAX - SSB_PACKET_HEAD) return SSB_E_CLOSED;
    ssb_hub *h = lane->_link->_hub;
    if (ssbi_slabs_for(SSB_PACKET_HEAD + body_n) >= ssbi_slabs_free(h)) return SSB_FULL;
    ssb_write_head(head, flags, (uint32_t)body_n, lane->_req);
    if (ssbi_append(h, &packet, head, sizeof head) != SSB_OK) return SSB_FULL;
    if (ssbi_append(h, &packet, body, body_n) != SSB_OK) return SSB_FULL; /* both fit: counted above */
    return ssbi_lane_take_packet(lane, &packet);
}

void ssbi_lane_take(ssb_lane *lane, uint8_t *out, size_t n) {
    const ssb_queue before = lane->_queue;
    ssbi_copy(lane->_link->_hub, &lane->_queue, out, n);
    ssbi_drop(lane->_link->_hub, &lane->_queue, n);
    lane->_taken += n;
    lane->_credit -= (int32_t)n;
    account(lane, before);
}

size_t ssb_lane_queued(const ssb_lane *lane) { return (size_t)lane->_queue._bytes; }
uint64_t ssb_lane_taken(const ssb_lane *lane) { return lane->_taken; }
uint64_t ssb_lane_put(const ssb_lane *lane) { return lane->_put; }

void ssb_lane_clear(ssb_lane *lane) {
    const ssb_queue before = lane->_queue;
    if (lane->_link == NULL) return;
    ssbi_keep(lane->_link->_hub, &lane->_queue, lane->_begun);
    account(lane, before);
}

void ssb_lane_close(ssb_lane *lane) {
    ssb_link *l = lane->_link;
    if (l == NULL) return;
    ssb_lane_clear(lane);
    if (lane->_begun > 0) { /* no control packet can be begun as well */
        const ssb_queue before = lane->_queue;
        l->_hub->_outgoing += before._slabs;
        ssbi_prepend(l->_hub, &l->_control, &lane->_queue);
        account(lane, before);
        l->_control_begun = lane->_begun;
        lane->_begun = 0;
    }
    if (lane->_newer != NULL) lane->_newer->_older = lane->_older;
    else l->_lanes = lane->_older;
    if (lane->_older != NULL) lane->_older->_newer = lane->_newer;
    lane->_older = lane->_newer = NULL;
    lane->_link = NULL;
}
