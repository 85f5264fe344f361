/* link_flush.c: seal late. Plain bytes are gathered right where the body of the next box lies in the output, and
 * sealed in place.
 *
 * Order of packets: the rest of one that was begun; control packets; lanes in turn. A box holds as many packets as
 * fit. Data packets are made here, to measure; whole packets and control packets run on into the next box. */
#include "internal.h"

#define TINY 64u /* do not begin a packet that goes on in the next box in less room than this */

typedef struct {
    uint8_t *at;  /* where plain bytes go */
    size_t room;  /* there */
    size_t n;     /* put there so far */
} plain_box;

/* 1 if a packet of `size` bytes may begin here; otherwise the box is closed first. */
static int fits(const plain_box *box, size_t size) {
    return box->n == 0 || size <= box->room || box->room >= TINY;
}

static void advance(plain_box *box, size_t n) {
    box->at += n;
    box->room -= n;
    box->n += n;
}

static void take_control(ssb_link *l, plain_box *box, size_t most) {
    const size_t n = smaller(smaller(l->_control_begun, box->room), most);
    const uint32_t before = l->_control._slabs;
    ssbi_copy(l->_hub, &l->_control, box->at, n);
    ssbi_drop(l->_hub, &l->_control, n);
    l->_hub->_outgoing -= before - l->_control._slabs;
    l->_control_begun -= (uint32_t)n;
    advance(box, n);
}

/* Take bytes of the packet that was begun. The turn stays with the lane until its packet has ended. */
static void take_lane(ssb_lane *lane, plain_box *box, size_t most) {
    const size_t n = smaller(smaller(lane->_begun, box->room), most);
    lane->_begun -= (uint32_t)n;
    ssbi_lane_take(lane, box->at, n);
    advance(box, n);
    if (lane->_begun == 0 && lane->_ringed && lane->_credit <= 0) ssbi_lane_rotate(lane);
}

static int begin_control(ssb_link *l, plain_box *box) {
    uint8_t head[SSB_PACKET_HEAD];
    ssbi_copy(l->_hub, &l->_control, head, sizeof head);
    const uint32_t size = SSB_PACKET_HEAD + load32(head + 1);
    if (!fits(box, size)) return 0;
    l->_control_begun = size;
    take_control(l, box, l->_split ? SSB_PACKET_HEAD : size);
    return 1;
}

static int begin_whole(ssb_link *l, ssb_lane *lane, plain_box *box) {
    const uint32_t size = l->_hub->_info[lane->_queue._first - 1].whole;
    if (!fits(box, size)) return 0;
    lane->_begun = size;
    take_lane(lane, box, l->_split ? SSB_PACKET_HEAD : size);
    return 1;
}

/* Begin one packet with as many of the waiting bytes as fit; in split mode write the head alone. */
static int begin_data(ssb_link *l, ssb_lane *lane, plain_box *box) {
    const size_t room = l->_split ? SSB_BOX_BODY : box->room < SSB_PACKET_HEAD ? 0 : box->room - SSB_PACKET_HEAD;
    const size_t wait = ssbi_plain_run(l->_hub, &lane->_queue, SSB_BOX_BODY);
    const size_t n = smaller(wait, room);
    if (n == 0 || !fits(box, SSB_PACKET_HEAD + wait)) return 0;
    ssb_write_head(box->at, SSB_STREAM, (uint32_t)n, lane->_req);
    advance(box, SSB_PACKET_HEAD);
    lane->_begun = (uint32_t)n;
    if (!l->_split) take_lane(lane, box, n);
    return 1;
}

/* Put one packet, or a part of one, into the box; 0 when there is none or the box is to be closed. */
static int step(ssb_link *l, plain_box *box) {
    ssb_lane *lane = l->_ring;
    if (l->_control_begun > 0) {
        take_control(l, box, SIZE_MAX);
        return 1;
    }
    if (lane != NULL && lane->_begun > 0) {
        take_lane(lane, box, SIZE_MAX);
        return 1;
    }
    if (l->_control._bytes > 0) return begin_control(l, box);
    if (lane == NULL) return 0;
    return l->_hub->_info[lane->_queue._first - 1].whole > 0 ? begin_whole(l, lane, box) : begin_data(l, lane, box);
}

static int has_queued(const ssb_link *l) { return l->_control._bytes > 0 || l->_lane_bytes > 0; }

static int write_goodbye(ssb_link *l, uint8_t *out, size_t room, size_t *out_n) {
    if (l->_goodbye == GOODBYE_NONE) return SSB_OK;
    if (l->_goodbye == GOODBYE_WANTED) {
        if (room - *out_n < SSB_BOX_HEADER) return SSB_FULL;
        const int code = ssb_seal_goodbye(&l->_sealer, out + *out_n);
        if (code != SSB_OK) return code;
        *out_n += SSB_BOX_HEADER;
        l->_goodbye = GOODBYE_SEALED;
    }
    return SSB_ENDED;
}

/* Gather the plain bytes of the next box at `at`, where there is `room` for it. */
static ssbi_box gather(ssb_link *l, uint8_t *at, size_t room) {
    plain_box box = {at + SSB_BOX_HEADER, smaller(SSB_BOX_BODY, room - SSB_BOX_HEADER), 0};
    while (box.room > 0 && step(l, &box) && !l->_split) continue;
    return (ssbi_box){at + SSB_BOX_HEADER, at, box.n};
}

int ssb_link_flush(ssb_link *l, uint8_t *out, size_t room, size_t *out_n) {
    ssbi_box boxes[SSBI_BATCH];
    int full = 0;
    *out_n = 0;
    if (l->_goodbye == LINK_CLOSED) return SSB_E_CLOSED;
    while (!full && has_queued(l)) {
        size_t count = 0;
        while (!full && count < SSBI_BATCH && has_queued(l)) {
            /* Only the first box of a call may be short, else the room's end would cut packets at random. */
            const size_t least = *out_n > 0 ? SSB_BOX_BODY : TINY;
            full = room - *out_n < SSB_BOX_HEADER + least;
            if (full) break;
            boxes[count] = gather(l, out + *out_n, room - *out_n);
            *out_n += SSB_BOX_HEADER + boxes[count++].n;
        }
        const int code = ssbi_seal_boxes(&l->_sealer, boxes, count);
        if (code != SSB_OK) return code;
    }
    return full ? SSB_FULL : write_goodbye(l, out, room, out_n);
}
