/* internal.h: what the files of the core share, and no other file sees. */
#ifndef SSBFAST_INTERNAL_H
#define SSBFAST_INTERNAL_H

#include "ssbfast.h"

#define WHOLE_REST UINT32_MAX /* ssb_slab_info.whole behind the first slab of a whole packet */

/* The stages of ssb_link._goodbye. */
enum { GOODBYE_NONE, GOODBYE_WANTED, GOODBYE_SEALED, LINK_CLOSED };

static inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static inline uint32_t load32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

#define SSBI_BATCH 16u /* boxes that a kernel works on at once */

typedef struct { /* a box to be sealed */
    const uint8_t *plain; /* may be out + SSB_BOX_HEADER (in place) */
    uint8_t *out;
    size_t n; /* 1..4096 */
} ssbi_box;

/* box_stream.c */
int ssbi_seal_boxes(ssb_sealer *s, const ssbi_box *boxes, size_t count);
int ssbi_open_one(ssb_opener *o, uint8_t *in, size_t n, size_t *used); /* ssb_open, with libsodium */

/* box_batch.c: the kernel of the crypto table at work. Both return how many boxes they did; 0 if the next
 * one is not for them: there is no kernel, the nonce is about to carry, or the box is longer than a kernel takes.
 *
 * Opening takes good boxes only, up to SSBI_BATCH; whatever is wrong with the box behind them is for ssbi_open_one
 * to find. A plain header lies where it was in its box, as after ssb_open. *used: bytes of the boxes opened. */
size_t ssbi_seal_batch(ssb_sealer *s, const ssbi_box *boxes, size_t count);
size_t ssbi_open_batch(ssb_opener *o, uint8_t *in, size_t n, uint16_t *bodies, size_t most, size_t *used);

/* queue.c: all of them need 0 <= n <= bytes queued. */
int ssbi_append(ssb_hub *h, ssb_queue *q, const uint8_t *data, size_t n); /* SSB_OK, or SSB_FULL and nothing done */
const uint8_t *ssbi_front(const ssb_hub *h, const ssb_queue *q, size_t *n);
void ssbi_copy(const ssb_hub *h, const ssb_queue *q, uint8_t *out, size_t n); /* the first n bytes; they stay */
void ssbi_drop(ssb_hub *h, ssb_queue *q, size_t n);                           /* the first n bytes */
void ssbi_keep(ssb_hub *h, ssb_queue *q, size_t n);                           /* drop all but the first n bytes */
void ssbi_move(ssb_hub *h, ssb_queue *to, ssb_queue *from);                   /* all of `from` behind `to` */
void ssbi_prepend(ssb_hub *h, ssb_queue *to, ssb_queue *from);                /* all of `from` in front of `to` */
void ssbi_mark_whole(ssb_hub *h, const ssb_queue *q);                         /* all of it is one whole packet */
size_t ssbi_plain_run(const ssb_hub *h, const ssb_queue *q, size_t max);      /* bytes before a whole packet */
uint32_t ssbi_slabs_for(size_t n);

/* hub.c */
uint32_t ssbi_slabs_free(const ssb_hub *h); /* reserve included */
int ssbi_pool_shut(const ssb_hub *h);       /* input has to wait until something has been sent */
void ssbi_link_dirty(ssb_link *l);          /* it has something to send */
void ssbi_link_clean(ssb_link *l);          /* it is about to be closed */

/* lane.c */
int ssbi_lane_open(const ssb_lane *lane);
int ssbi_lane_over(const ssb_lane *lane); /* by its own or its link's limits, the pool apart */
int ssbi_lane_splice(ssb_lane *lane, const uint8_t *data, size_t n);
int ssbi_lane_take_packet(ssb_lane *lane, ssb_queue *packet); /* a whole packet, head included, becomes the lane's */
void ssbi_lane_take(ssb_lane *lane, uint8_t *out, size_t n);
void ssbi_lane_rotate(ssb_lane *lane);

/* inlet.c */
enum mode {
    HEAD,    /* between packets */
    SKIP,    /* dropped */
    SPLICE,  /* bytes for the lane of _into */
    DELIVER, /* bytes for Python */
    GATHER,  /* must be whole: for the lane of _into, or, without _into, an event */
    EMPTY    /* no body: an event that waits for room */
};

ssb_inlet *ssbi_inlet_find(const ssb_link *l, int32_t req);
ssb_inlet **ssbi_bucket(ssb_link *l, int32_t req);
void ssbi_inlet_over(ssb_link *l, ssb_inlet *i); /* its lane has no room */
void ssbi_inlet_gone(ssb_link *l, ssb_inlet *i); /* it is about to be forgotten */
int ssbi_link_blocked(ssb_link *l);              /* input has to wait for a lane or the pool */

/* events.c */
typedef struct {
    uint8_t *at;
    size_t room;
    size_t n;
    size_t need;      /* room for the event that did not fit */
    uint32_t left;    /* events that may still be reported */
    uint8_t *chunk;   /* the last event, if it is a chunk and can grow */
} ssbi_events;

/* Add an event; return where its body goes, or NULL when it has no room. */
uint8_t *ssbi_event(ssbi_events *e, uint8_t kind, uint8_t flags, int32_t req, size_t n);
/* Add bytes of a stream, to the last event if that is the same stream's chunk; return how many had room. */
size_t ssbi_chunk(ssbi_events *e, int32_t req, const uint8_t *data, size_t n);

/* link_receive.c */
void ssbi_receive_close(ssb_link *l);

#endif
