/* quic.h: what the files of the QUIC engine share.
 *
 *   quic_ranges      sets of numbers, bounded
 *   quic_frames      bytes ↔ frames
 *   quic_pages       what streams receive, in pages
 *   quic_segments    what they send, in memory of the caller's
 *   quic_streams     which streams there are; what one receives
 *   quic_stream_send what one sends
 *   quic_datagrams   unreliable datagrams that wait
 *   quic_recovery    packets sent, acknowledged, lost (RFC 9002)
 *   quic_congestion  how much may be in flight, and how fast (RFC 9438, 9406)
 *   quic_mtu         how long datagrams may be (RFC 8899)
 *   quic_receive     datagrams → packets → frames → what they do
 *   quic_send        what is due → frames → packets → trains
 *   quic_handover    the beginning
 *   quic_engine      events, timers, the end
 *
 * Functions that take what the peer said answer 0 or the code with which the connection ends. */
#ifndef SSBFAST_QUIC_H
#define SSBFAST_QUIC_H

#include "quic_packets.h"

enum { /* RFC 9000, section 20.1 */
    QUIC_OK = 0x00,
    QUIC_INTERNAL = 0x01,
    QUIC_FLOW_CONTROL = 0x03,
    QUIC_STREAM_LIMIT = 0x04,
    QUIC_STREAM_STATE = 0x05,
    QUIC_FINAL_SIZE = 0x06,
    QUIC_FRAME_ENCODING = 0x07,
    QUIC_ID_LIMIT = 0x09,
    QUIC_PROTOCOL = 0x0a,
    QUIC_CRYPTO_BUFFER = 0x0d,
    QUIC_KEY_UPDATE = 0x0e,
    QUIC_AEAD_LIMIT = 0x0f
};

enum { /* RFC 9000, section 19; RFC 9221 */
    FRAME_PADDING = 0x00,
    FRAME_PING = 0x01,
    FRAME_ACK = 0x02,
    FRAME_ACK_ECN = 0x03,
    FRAME_RESET_STREAM = 0x04,
    FRAME_STOP_SENDING = 0x05,
    FRAME_CRYPTO = 0x06,
    FRAME_NEW_TOKEN = 0x07,
    FRAME_STREAM = 0x08, /* .. 0x0f */
    FRAME_MAX_DATA = 0x10,
    FRAME_MAX_STREAM_DATA = 0x11,
    FRAME_MAX_STREAMS_BIDI = 0x12,
    FRAME_MAX_STREAMS_UNI = 0x13,
    FRAME_DATA_BLOCKED = 0x14,
    FRAME_STREAM_DATA_BLOCKED = 0x15,
    FRAME_STREAMS_BLOCKED_BIDI = 0x16,
    FRAME_STREAMS_BLOCKED_UNI = 0x17,
    FRAME_NEW_CONNECTION_ID = 0x18,
    FRAME_RETIRE_CONNECTION_ID = 0x19,
    FRAME_PATH_CHALLENGE = 0x1a,
    FRAME_PATH_RESPONSE = 0x1b,
    FRAME_CLOSE = 0x1c,
    FRAME_CLOSE_APPLICATION = 0x1d,
    FRAME_HANDSHAKE_DONE = 0x1e,
    FRAME_DATAGRAM = 0x30,
    FRAME_DATAGRAM_LENGTH = 0x31
};
#define STREAM_FIN 0x01u
#define STREAM_LENGTH 0x02u
#define STREAM_OFFSET 0x04u
#define QUIC_NUMBER_MAX ((UINT64_C(1) << 62) - 1)
#define QUIC_NONE UINT64_MAX

/* ---------------------------------------------------------------- quic_ranges.c */

#ifndef SSBI_RANGES /* tests may want few */
#define SSBI_RANGES 256u
#endif

typedef struct {
    uint32_t n;
    ssb_quic_range at[SSBI_RANGES]; /* ascending; between two there is a gap */
} ssbi_ranges;

int ssbi_ranges_add(ssbi_ranges *r, uint64_t first, uint64_t end); /* SSB_OK, or SSB_FULL and nothing done */
/* A set that is full stays as it was where taking out would make one range two. */
void ssbi_ranges_remove(ssbi_ranges *r, uint64_t first, uint64_t end);
int ssbi_ranges_has(const ssbi_ranges *r, uint64_t value);
void ssbi_ranges_drop(ssbi_ranges *r, uint32_t count); /* the lowest so many */

/* ---------------------------------------------------------------- quic_frames.c */

typedef struct {
    const uint8_t *at, *end;
} ssbi_reader;

typedef struct {
    uint8_t *at, *end;
} ssbi_writer;

typedef struct { /* what a frame says; which fields count depends on its type */
    uint64_t type;
    uint64_t stream; /* or a sequence number */
    uint64_t offset; /* or retire_prior_to, or the delay of an ACK */
    uint64_t value;  /* a limit, a code, a final size, the largest number of an ACK */
    uint64_t first;  /* of an ACK: how many numbers below the largest its first range has */
    uint64_t count;  /* of an ACK: further ranges */
    const uint8_t *data;
    size_t n;
} ssbi_frame;

int ssbi_read_number(ssbi_reader *r, uint64_t *value); /* 0 where it is cut off */
uint64_t ssbi_read_frame(ssbi_reader *r, ssbi_frame *f); /* QUIC_OK or QUIC_FRAME_ENCODING */
/* The ranges of an ACK, from the newest: 1 and [*low, *high], or 0 after the last. Begin with *high = QUIC_NONE. The
 * frame has been read, so they are in order. */
int ssbi_next_acked(ssbi_frame *f, uint64_t *low, uint64_t *high);
size_t ssbi_number_size(uint64_t value);
void ssbi_write_number(ssbi_writer *w, uint64_t value); /* there is room for it */
size_t ssbi_left(const ssbi_writer *w);
/* An ACK of the newest of these, as many ranges as fit; 0 where not even one fits. */
int ssbi_write_ack(ssbi_writer *w, const ssbi_ranges *numbers, uint64_t delay);
uint64_t ssbi_whole_number(uint64_t cut, size_t bytes, uint64_t expected); /* RFC 9000, A.3 */

/* ---------------------------------------------------------------- quic_pages.c */

typedef struct {
    uint8_t *pages;
    uint16_t *next; /* of the free list; pages count from 1 */
    uint16_t free;
    uint32_t fresh; /* never lent: those from this number on */
    uint32_t count, lent;
} ssbi_pages;

typedef struct { /* bytes of a stream around some offset: page i of it lies in slot i % slots */
    uint16_t *slots;
    uint32_t n;
} ssbi_ring;

/* Copy bytes into the ring, lending the pages they need; how many had a page. */
size_t ssbi_ring_put(ssbi_pages *p, ssbi_ring *r, uint64_t offset, const uint8_t *data, size_t n);
void ssbi_ring_get(const ssbi_pages *p, const ssbi_ring *r, uint64_t offset, uint8_t *out, size_t n);
/* Give back the pages that lie wholly in [from, to), which no longer hold anything; `from` was a `to` before. */
void ssbi_ring_drop(ssbi_pages *p, ssbi_ring *r, uint64_t from, uint64_t to);
void ssbi_ring_clear(ssbi_pages *p, ssbi_ring *r);

/* ---------------------------------------------------------------- quic_segments.c */

typedef struct { /* lent by the caller: the bytes before offset `end` lie before `stop` */
    const uint8_t *stop;
    uint64_t end;
} ssbi_segment;

typedef struct { /* a ring, in the order of offsets, without gaps */
    ssbi_segment *at;
    uint32_t mask;
    uint32_t first, last; /* counted on and on; last: the one behind the last */
} ssbi_segments;

uint32_t ssbi_segments_held(const ssbi_segments *r);
/* Add n > 0 bytes, which reach up to offset `end`. There is room for one more. */
void ssbi_segments_put(ssbi_segments *r, const uint8_t *data, size_t n, uint64_t end);
void ssbi_segments_get(const ssbi_segments *r, uint64_t offset, uint8_t *out, size_t n);
uint32_t ssbi_segments_drop(ssbi_segments *r, uint64_t to); /* those that end by `to`; how many */

/* ---------------------------------------------------------------- quic_congestion.c */

typedef struct {
    uint64_t window, threshold, in_flight; /* bytes */
    uint64_t most;                         /* the window never grows beyond */
    uint64_t recovery_from;                /* what was sent before is part of the same loss; QUIC_NONE: none yet */
    uint32_t datagram;
    uint8_t full; /* there was more to send than was let go */
    /* CUBIC */
    uint64_t epoch; /* when its curve began; QUIC_NONE: it has to begin */
    uint64_t peak;  /* W_max */
    uint64_t peak_after; /* K: from the epoch to the peak, ms */
    uint64_t before;   /* the window when it was cut last */
    uint64_t friendly; /* what Reno would have, in bytes / 1024 */
    uint64_t remainder;
    /* HyStart++ */
    uint64_t round_end; /* the round ends when this number is acknowledged */
    uint64_t round_least, last_least, base_least; /* RTT, us; QUIC_NONE: unknown */
    uint64_t least; /* the same, of all rounds */
    uint32_t samples, slow_rounds;
    uint8_t conservative;
    /* pacing */
    uint64_t paced;   /* what was sent is paid for until then */
    uint8_t held;     /* wait until there is enough for a train */
    uint64_t rested_until; /* a train may be all of a small window */
} ssbi_congestion;

void ssbi_congestion_init(ssbi_congestion *c, uint64_t window, uint64_t most, uint32_t datagram);
/* `bytes` newly acknowledged, the newest of them sent at `sent` with this number; flight: what was in flight before.
 * next: number of the next packet. */
void ssbi_congestion_acked(ssbi_congestion *c, uint64_t bytes, uint64_t sent, uint64_t number, uint64_t next,
                           uint64_t flight, uint64_t rtt, uint64_t smoothed, uint64_t now);
void ssbi_congestion_lost(ssbi_congestion *c, uint64_t sent, uint64_t now);
void ssbi_congestion_persistent(ssbi_congestion *c);
void ssbi_congestion_idle(ssbi_congestion *c); /* the curve begins anew */
void ssbi_paced(ssbi_congestion *c, size_t n, uint64_t smoothed, uint64_t now); /* n bytes were sent */
int ssbi_pace_allows(ssbi_congestion *c, uint64_t smoothed, uint64_t now);
uint64_t ssbi_pace_next(const ssbi_congestion *c, uint64_t smoothed);

/* ---------------------------------------------------------------- streams */

enum { /* of ssbi_stream.events and ssb_quic.events: 1 << kind */
    EVENT_KINDS = SSB_QUIC_CLOSED + 1
};

enum { DUE_CREDIT = 1, DUE_RESET = 2, DUE_STOP = 4 }; /* of ssbi_stream.due */

typedef struct {
    uint64_t id; /* QUIC_NONE: the slot is free */
    uint16_t generation; /* of the slot: what is in flight for an older one is nobody's */
    uint16_t events;
    uint8_t due;
    uint8_t known;    /* the peer knows that it exists */
    /* sending */
    uint8_t sends;    /* this side is there and not over */
    uint8_t fin, fin_sent, fin_acked;
    uint8_t resetting;
    uint8_t short_of; /* a write was not taken whole */
    uint64_t reset_code;
    uint64_t base;    /* all below is acknowledged */
    uint64_t next;    /* all below was sent once */
    uint64_t written;
    uint64_t send_max;
    ssbi_ranges acked; /* above base */
    ssbi_ranges lost;  /* to be sent again */
    ssbi_segments out;
    uint32_t returned; /* segments that were given back and not told yet */
    /* receiving */
    uint8_t receives;
    uint8_t stopping;
    uint8_t reset;      /* by the peer */
    uint64_t stop_code, peer_code;
    uint64_t delivered; /* all below was read */
    uint64_t ready;     /* all below is there */
    uint64_t highest;
    uint64_t final;     /* QUIC_NONE: unknown */
    uint64_t receive_max;
    uint64_t window;    /* credit beyond `delivered`, less */
    uint64_t unread;    /* what was read and is not used up */
    ssbi_ranges gaps;   /* what is there above `ready` */
    ssbi_ring in;
} ssbi_stream;

/* ---------------------------------------------------------------- packets sent */

enum { ITEM_STREAM, ITEM_CREDIT, ITEM_CREDIT_ALL, ITEM_STREAMS_BIDI, ITEM_STREAMS_UNI, ITEM_RESET, ITEM_STOP,
       ITEM_RETIRE, ITEM_ACK, ITEM_ONCE, ITEM_MTU, ITEM_PATH, ITEM_ID };

typedef struct { /* what a packet carried, and has to be known again when it is acknowledged or lost */
    uint64_t offset; /* or a limit, a sequence number, a packet number */
    uint16_t n;
    uint16_t slot, generation;
    uint8_t kind;
    uint8_t fin;
} ssbi_item;

enum { SENT_GONE, SENT_FLYING, SENT_ACKED, SENT_NEVER }; /* the last: its number was left out */

typedef struct {
    uint64_t time;
    uint32_t item; /* the first */
    uint16_t size;
    uint8_t items;
    uint8_t state;
} ssbi_sent;

/* ---------------------------------------------------------------- the connection */

enum { QUIC_ALIVE, QUIC_CLOSING, QUIC_DRAINING, QUIC_OVER };

enum { ASKED_NOTHING, ASKED_RANDOM, ASKED_DUE, ASKED_SENT }; /* of ssb_quic.asked: how far a challenge is */

#define RETIRES 32u
#define ANSWERS 4u /* challenges of the peer that wait for an answer */

typedef struct {
    uint8_t *bytes;
    uint32_t size; /* power of two, or 0 */
    uint32_t first, end; /* counted on and on */
} ssbi_fifo;

struct ssb_quic_s {
    const ssb_aead *aead;
    ssb_quic_limits limits;
    uint8_t caller;
    uint8_t state;
    uint64_t now;

    /* keys */
    ssbi_quic_keys send_keys, receive_keys, next_send, next_receive, previous_receive;
    uint8_t has_next, has_previous, phase;
    uint8_t phase_acked;     /* an ACK was sent in this phase: the peer may update again */
    uint64_t phase_first;    /* lowest number received in it */
    uint64_t phase_sent;     /* first number sent in it */
    uint64_t previous_until;
    uint64_t forged, updates;

    /* connection ids */
    ssb_quic_id remote[SSB_QUIC_IDS], local[SSB_QUIC_IDS];
    uint32_t remote_n, local_n, id_limit;
    uint64_t remote_prior;       /* largest retire_prior_to */
    uint64_t local_issued;       /* sequence numbers below were given out */
    uint64_t local_told;         /* and those below were sent */
    uint32_t local_most;         /* ids that the peer is to have */
    uint8_t local_size;
    uint64_t retires[RETIRES];   /* sequence numbers to be retired */
    uint32_t retires_n;

    /* receiving packets */
    ssbi_ranges received;
    uint64_t floor;              /* what is below counts as received */
    uint64_t newest, newest_at;  /* QUIC_NONE: none */
    uint32_t unacked;            /* packets that want an ACK, since the last one */
    uint64_t ack_at;
    uint64_t received_packets, duplicates;
    uint32_t delay_exponent;
    uint64_t delay_max, own_delay_max;
    uint64_t crypto;             /* bytes of tickets */

    /* sending packets */
    ssbi_sent *sent;
    ssbi_item *items;
    uint32_t items_mask, item_first, item_next;
    uint64_t number, oldest;     /* of the next packet; the oldest that may be in flight */
    uint64_t start;              /* the first number that is the engine's */
    uint64_t skip, skips;        /* the next number to be left out, and how many were */
    uint8_t skip_key[32];
    uint64_t largest_acked;      /* QUIC_NONE: none */
    uint64_t flying;             /* packets in flight */
    uint64_t last_sent;          /* time of the newest of them */
    uint64_t loss_at;            /* a packet counts as lost then; QUIC_NEVER */
    uint32_t timeouts;           /* in a row */
    uint32_t probes;             /* packets that may go beyond the window */
    uint8_t ping;
    uint64_t rtt, variance, rtt_least, rtt_latest;
    uint8_t rtt_known;
    uint64_t first_sample;       /* when */
    ssbi_congestion congestion;
    struct {
        uint64_t at;        /* when the next probe is due */
        uint32_t probe;     /* its size */
        uint32_t high;      /* what is longer does not pass */
        uint32_t long_lost; /* packets longer than the least, lost in a row */
        uint8_t tries, flying;
    } mtu;
    uint64_t lost_packets, all_probes, persistent;

    /* streams */
    ssbi_stream *streams;
    uint64_t *ids; /* of the streams, side by side */
    ssbi_segment *segments; /* limits.segments for each stream */
    uint16_t *slots; /* of their rings, ring_slots each */
    uint32_t ring_slots;
    ssbi_pages in_pages;
    uint8_t any_due;             /* some stream has something in `due` */
    uint8_t turn_used;           /* it has sent in this train: the next train is another's */
    uint32_t turn;               /* the slot that sends next */
    uint32_t recent;             /* the slot that was looked for last */
    uint64_t next_local[2];      /* how many this end has opened; [0] bidi, [1] uni */
    uint64_t local_max[2];       /* how many it may */
    uint64_t peer_opened[2], peer_over[2], peer_max[2];
    uint8_t due_streams[2], due_credit;
    uint64_t sent_all, send_max;
    uint64_t received_all, delivered_all, receive_max, window_all;
    uint64_t first_send_max[3];  /* of new streams: bidi opened here, bidi opened there, uni */
    uint64_t first_receive_max[3];

    /* datagrams */
    ssbi_fifo datagrams_out, datagrams_in;
    uint8_t streams_first;       /* in the next packet: the one before had datagrams */
    uint64_t datagram_send, datagram_receive, dropped;

    /* paths */
    uint32_t path;
    uint64_t path_first;         /* first number sent since it is in use */
    uint32_t asked_path;         /* being validated */
    uint8_t asked;
    uint8_t challenge[8];
    uint64_t challenge_at, challenge_until;
    uint64_t path_received, path_sent; /* bytes by asked_path */
    struct {
        uint32_t path;
        uint8_t data[8];
    } answers[ANSWERS];
    uint32_t answers_n;

    /* end */
    uint64_t idle, heard;        /* us; when it began to count */
    uint8_t eliciting_since;     /* something that wants an ACK was sent since */
    uint8_t by;
    uint8_t close_due;
    uint64_t code, close_frame;  /* the frame that was wrong */
    uint64_t over_at;

    uint16_t events;    /* of the connection; bit 0: some stream has some */
};

/* quic_streams.c */
ssbi_stream *ssbi_find(ssb_quic *q, uint64_t id);
ssbi_stream *ssbi_stream_new(ssb_quic *q, uint64_t id); /* NULL: no slot */
void ssbi_due(ssb_quic *q, ssbi_stream *s, unsigned what);
void ssbi_settle(ssb_quic *q, ssbi_stream *s);          /* free its slot if it is over, and see what credit is due */
uint64_t ssbi_take_stream(ssb_quic *q, const ssbi_frame *f, int *unfit);
uint64_t ssbi_take_reset(ssb_quic *q, const ssbi_frame *f);
uint64_t ssbi_check_blocked(ssb_quic *q, const ssbi_frame *f);
/* The stream that a frame names, which the peer may open so; NULL: it is over. sending: the frame is about what the peer
 * sends. */
uint64_t ssbi_named_stream(ssb_quic *q, uint64_t id, int sending, ssbi_stream **found);
void ssbi_check_credit(ssb_quic *q);
uint64_t ssbi_credit(const ssbi_stream *s); /* up to where its peer may send */

/* quic_stream_send.c */
uint64_t ssbi_take_stop(ssb_quic *q, const ssbi_frame *f);
uint64_t ssbi_take_credit(ssb_quic *q, const ssbi_frame *f);
/* What a stream sends next: 1 and [*offset, *offset + *n), n up to room; 0 for nothing. */
int ssbi_pick(ssb_quic *q, ssbi_stream *s, size_t room, uint64_t *offset, size_t *n, int *fin);
void ssbi_item_acked(ssb_quic *q, const ssbi_item *item);
void ssbi_item_lost(ssb_quic *q, const ssbi_item *item);

/* quic_recovery.c */
int ssbi_may_send(const ssb_quic *q); /* a packet that will be in flight */
void ssbi_plan_skip(ssb_quic *q);
void ssbi_sent_packet(ssb_quic *q, size_t size, uint32_t first_item);
uint64_t ssbi_take_ack(ssb_quic *q, ssbi_frame *f, int old_keys);
void ssbi_detect(ssb_quic *q);
uint64_t ssbi_pto(const ssb_quic *q); /* without back-off */
uint64_t ssbi_pto_at(const ssb_quic *q);
void ssbi_probe(ssb_quic *q);

/* quic_mtu.c: the size in use is congestion.datagram. */
#define QUIC_DATAGRAM_LEAST 1200u
void ssbi_mtu_init(ssb_quic *q); /* the search begins */
int ssbi_mtu_due(const ssb_quic *q);
uint64_t ssbi_mtu_next(const ssb_quic *q);
void ssbi_mtu_acked(ssb_quic *q, uint64_t size); /* a probe */
void ssbi_mtu_lost(ssb_quic *q, uint64_t size);
void ssbi_mtu_packet_acked(ssb_quic *q, uint32_t size); /* any other packet */
void ssbi_mtu_packet_lost(ssb_quic *q, uint32_t size);
void ssbi_mtu_timeout(ssb_quic *q);

/* quic_engine.c */
void ssbi_quic_end(ssb_quic *q, uint8_t by, uint64_t code, uint64_t frame);
void ssbi_quic_over(ssb_quic *q); /* at once, nothing more is sent */
int ssbi_quic_same(const uint8_t *a, const uint8_t *b, size_t n); /* in constant time */

/* quic_datagrams.c */
/* Add one; returns how many older ones were dropped for it, -1 if it never fits. */
int ssbi_fifo_put(ssbi_fifo *f, const uint8_t *data, size_t n);
size_t ssbi_fifo_front(const ssbi_fifo *f); /* length of the oldest; SIZE_MAX for none */
void ssbi_fifo_take(ssbi_fifo *f, uint8_t *out); /* the oldest */
void ssbi_fifo_drop(ssbi_fifo *f);

static inline uint64_t lesser(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t greater(uint64_t a, uint64_t b) { return a > b ? a : b; }
static inline uint64_t window_most(const ssb_quic_limits *l) { return greater(l->window, l->window_most); }
static inline uint64_t window_all_most(const ssb_quic_limits *l) { return greater(l->window_all, l->window_all_most); }
static inline unsigned bit(unsigned kind) { return 1u << kind; }

/* There is an event to be taken. s: NULL for what is the connection's. */
static inline void raise_event(ssb_quic *q, ssbi_stream *s, unsigned kind) {
    if (s != NULL) s->events |= (uint16_t)bit(kind);
    q->events |= (uint16_t)bit(s != NULL ? 0 : kind);
}

/* Who opened a stream, and whether it is unidirectional. */
static inline int is_ours(const ssb_quic *q, uint64_t id) { return (id & 1) == (q->caller ? 0u : 1u); }
static inline int is_uni(uint64_t id) { return (id & 2) != 0; }

#endif
