/* ssbfast.h: the contract of the C core.
 *
 * No I/O, no Python.h, no allocation, no mutable globals. All memory belongs to the caller: structs are
 * passed in, and everything that has to be kept longer than one call lies in slabs of a hub's pool.
 * Nothing here is thread-safe: one hub, and all links opened on it, belong to one thread at a time.
 *
 * Regions between the two `cdef` marks are read by build_ffi.py and are, letter for letter, what Python is
 * given; struct bodies stay private (fields begin with an underscore) and are opaque to Python.
 *
 * Every function that can fail returns a code below. Codes > 0 are ordinary answers, codes < 0 say that the
 * peer broke the protocol: the object is dead from then on and answers the same code to every later call.
 * Sizes and offsets are in bytes. Limits are arguments; this file invents none but those of the wire format.
 */
#ifndef SSBFAST_H
#define SSBFAST_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define SSB_MUST_USE __attribute__((warn_unused_result))
#else
#define SSB_MUST_USE
#endif

/* cdef begin */
#define SSB_OK 0
#define SSB_FULL 1     /* no room in the output or in the queue: nothing was taken, call again later */
#define SSB_MORE 2     /* input ends inside a box: give more */
#define SSB_AGAIN 3    /* events are waiting: handle them, then call ssb_link_proceed */
#define SSB_BLOCKED 4  /* a destination has no room: stop reading, proceed when it has drained */
#define SSB_ENDED 5    /* the peer's box-stream goodbye has come */

#define SSB_E_HEADER (-1)   /* a box header is not authentic */
#define SSB_E_BODY (-2)     /* a box body is not authentic */
#define SSB_E_LENGTH (-3)   /* a box body is empty or longer than agreed */
#define SSB_E_AFTER (-4)    /* bytes after the goodbye */
#define SSB_E_TYPE (-5)     /* a packet of type 3 */
#define SSB_E_PACKET (-6)   /* a packet that must be whole is longer than agreed */
#define SSB_E_CLOSED (-7)   /* the object was closed, or its goodbye was sent: a caller's mistake */
#define SSB_E_MEMORY (-8)   /* the pool could not even keep what the peer had sent: the session has to end */

#define SSB_KEY 32
#define SSB_NONCE 24
#define SSB_MAC 16
#define SSB_BOX_HEADER 34    /* mac(16) || secretbox(length(2, big-endian) || mac of the body(16)) */
#define SSB_BOX_BODY 4096    /* longest body that is sent, and accepted by default */
#define SSB_PACKET_HEAD 9    /* flags(1) || length(4, big-endian) || req(4, signed, big-endian) */
#define SSB_SLAB 4096        /* unit of queue memory */
#define SSB_SLAB_RESERVE 512 /* slabs that payload never takes: one box can touch at most so many lanes */
#define SSB_EVENT_HEAD 12    /* kind(1) flags(1) zero(2) req(4, native) length(4, native), then the body */

#define SSB_STREAM 0x08
#define SSB_END 0x04
#define SSB_TYPE_MASK 0x03

#define SSB_EV_PACKET 1   /* a whole packet for Python: a call, an answer, an item, an end */
#define SSB_EV_CHUNK 2    /* some bytes of a stream whose inlet delivers */
#define SSB_EV_GOODBYE 3  /* the packet stream's goodbye: nine zero bytes */
/* cdef end */

/* ------------------------------------------------------------------ crypto table
 * The primitives everything stands on. `box` and `box_open` are libsodium's crypto_secretbox_easy and
 * crypto_secretbox_open_easy (input and output may overlap); `wipe` is sodium_memzero. `kernel`, if not NULL, does the
 * same for many boxes at once; what it does not do (goodbyes, mistakes, boxes where the lower half of the nonce
 * wraps) stays libsodium's. */
#define SSB_BLOCKS 64u

typedef struct { /* blocks that are wanted, in columns: so they are loaded into lanes */
    uint32_t low[SSB_BLOCKS], high[SSB_BLOCKS]; /* the last 8 bytes of the nonce, as Salsa20 and ChaCha20 read them */
    uint32_t first[SSB_BLOCKS];                 /* ChaCha20's only: the 4 bytes of the nonce in front of them */
    uint32_t number[SSB_BLOCKS];
    const uint8_t *in[SSB_BLOCKS]; /* 64 bytes to cover, or NULL: the key stream itself */
    uint8_t *out[SSB_BLOCKS];      /* may be `in` */
} ssb_blocks;

struct ssbi_poly;

typedef struct {
    void (*_salsa)(const uint32_t *subkey, const ssb_blocks *blocks, size_t n); /* n: up to SSB_BLOCKS */
    void (*_chacha)(const uint32_t *key, const ssb_blocks *blocks, size_t n);
    /* What it takes of a message for Poly1305, whole blocks; how many bytes. NULL: nothing. */
    size_t (*_absorb)(struct ssbi_poly *p, const uint8_t *m, size_t n);
    size_t _longest; /* body of a box; longer ones go to libsodium, which is faster there */
    size_t _lanes;   /* blocks that cost as much as one */
} ssb_kernel; /* opaque */

/* cdef begin */
typedef struct {
    int (*box)(unsigned char *c, const unsigned char *m, unsigned long long m_n, const unsigned char *nonce,
               const unsigned char *key);
    int (*box_open)(unsigned char *m, const unsigned char *c, unsigned long long c_n, const unsigned char *nonce,
                    const unsigned char *key);
    void (*wipe)(void *p, size_t n);
    const ssb_kernel *kernel;
} ssb_crypto;
/* The same for the packets of QUIC: libsodium's crypto_aead_chacha20poly1305_ietf_encrypt and _decrypt. */
typedef struct {
    int (*seal)(unsigned char *c, unsigned long long *c_n, const unsigned char *m, unsigned long long m_n,
                const unsigned char *ad, unsigned long long ad_n, const unsigned char *none, const unsigned char *nonce,
                const unsigned char *key);
    int (*open)(unsigned char *m, unsigned long long *m_n, unsigned char *none, const unsigned char *c,
                unsigned long long c_n, const unsigned char *ad, unsigned long long ad_n, const unsigned char *nonce,
                const unsigned char *key);
    void (*wipe)(void *p, size_t n);
    const ssb_kernel *kernel;
} ssb_aead;
/* name: "avx512", "avx2", "sse2", "neon" or "portable". SSB_OK, or SSB_FULL where this machine or this build does not
 * offer it. */
int ssb_kernel_init(ssb_kernel *k, const char *name) SSB_MUST_USE;
/* cdef end */

/* ------------------------------------------------------------------ box stream
 * box = header(34) || body(1..4096). header = secretbox_n(length || mac of the body), body = secretbox_{n+1}
 * without its mac. n is a 24-byte big-endian counter, +2 a box, wrapping. A header that holds 18 zero bytes is
 * the goodbye. Source: scuttlebutt protocol guide, "Box stream"; pull-box-stream. */
typedef struct {
    const ssb_crypto *_crypto;
    uint8_t _key[SSB_KEY];
    uint8_t _nonce[SSB_NONCE];
    uint32_t _subkey[8];
    uint8_t _subkeyed; /* the sub-key belongs to the key and the first 16 bytes of the nonce */
    int8_t _dead; /* 0, or the code every later call answers */
} ssb_sealer; /* opaque */

typedef struct {
    const ssb_crypto *_crypto;
    uint8_t _key[SSB_KEY];
    uint8_t _nonce[SSB_NONCE];
    uint32_t _subkey[8];
    uint8_t _subkeyed;
    uint8_t _mac[SSB_MAC]; /* of the body whose header is already open */
    uint32_t _body_max;
    uint32_t _body_n; /* > 0: the header is open, the body is this long */
    int8_t _dead;
} ssb_opener; /* opaque */

/* cdef begin */
void ssb_sealer_init(ssb_sealer *s, const ssb_crypto *crypto, const uint8_t *key, const uint8_t *nonce);
/* Bytes that ssb_seal makes of plain_n bytes. */
size_t ssb_sealed_size(size_t plain_n);
/* Seal all of plain into boxes of at most 4096; nothing for plain_n == 0. `out` holds ssb_sealed_size(plain_n)
 * bytes and does not overlap `plain`. SSB_OK, or SSB_E_CLOSED after the goodbye (a nonce would be used twice). */
int ssb_seal(ssb_sealer *s, const uint8_t *plain, size_t plain_n, uint8_t *out);
/* The same for `count` texts that lie one behind the other in `plain`, sizes[i] bytes each: no box holds bytes of
 * two. `out` holds ssb_sealed_parts_size(sizes, count) bytes. */
size_t ssb_sealed_parts_size(const uint32_t *sizes, size_t count);
int ssb_seal_parts(ssb_sealer *s, const uint8_t *plain, const uint32_t *sizes, size_t count, uint8_t *out);
/* One packet, its head in a box of its own, as readers need it that take one box for a head. `out` holds
 * ssb_sealed_size(SSB_PACKET_HEAD) + ssb_sealed_size(body_n) bytes and does not overlap `body`. */
int ssb_seal_packet(ssb_sealer *s, uint8_t flags, int32_t req, const uint8_t *body, uint32_t body_n, uint8_t *out);
/* Write the 34-byte goodbye. SSB_OK; SSB_E_CLOSED when it was written before. Wipes the key. */
int ssb_seal_goodbye(ssb_sealer *s, uint8_t *out);
void ssb_sealer_close(ssb_sealer *s); /* wipes key and nonce; later calls answer SSB_E_CLOSED */

void ssb_opener_init(ssb_opener *o, const ssb_crypto *crypto, const uint8_t *key, const uint8_t *nonce,
                     uint32_t body_max);
/* Open the first box of in[0..n). Works in place: `in` is scratch from then on.
 * SSB_OK     *used bytes were one box; its plain body is in[34 .. *used).
 * SSB_MORE   nothing is used; *used tells how long `in` has to be for the next answer (34, or 34 + body). Call
 *            again with the same bytes (as this call left them) and more behind them.
 * SSB_ENDED  *used = 34 bytes were the goodbye; the key is wiped. Later calls answer SSB_E_AFTER for n > 0 and
 *            SSB_ENDED for n == 0.
 * SSB_E_*    not authentic, empty or too long: dead, key wiped. */
int ssb_open(ssb_opener *o, uint8_t *in, size_t n, size_t *used) SSB_MUST_USE;
/* The same for many: open all boxes that are complete, up to `boxes` of them. The plain body of box i is bodies[i]
 * bytes long; boxes lie one behind the other, header(34) and body. *count boxes and *used bytes are done. Answers
 * SSB_OK (all `boxes` opened), or what ssb_open says to the bytes behind them; for SSB_MORE *need is its *used;
 * SSB_ENDED counts the goodbye's 34 bytes as used. */
int ssb_open_many(ssb_opener *o, uint8_t *in, size_t n, uint16_t *bodies, size_t boxes, size_t *count, size_t *used,
                  size_t *need) SSB_MUST_USE;
/* For input that is one whole box and may not be changed, n > SSB_BOX_HEADER: 1 if it is a good one, and its body is in
 * plain[0 .. n - SSB_BOX_HEADER), which does not overlap `in`. 0 where the first box is not all of `in`, not good, or the
 * work of libsodium: `plain` is as it was, nothing is used, and the other functions know what to say of the same bytes. */
int ssb_open_whole(ssb_opener *o, const uint8_t *in, size_t n, uint8_t *plain) SSB_MUST_USE;
void ssb_opener_close(ssb_opener *o);
/* cdef end */

/* ------------------------------------------------------------------ packet stream
 * The scanner cuts plain bytes into heads and pieces of bodies; it keeps no body. */
typedef struct {
    uint8_t _raw[SSB_PACKET_HEAD];
    uint8_t _have;
    uint32_t _left;
} ssb_scanner; /* opaque */

/* cdef begin */
void ssb_scanner_init(ssb_scanner *s);
/* Read on at in[0..n). Uses bytes until a head is complete (*head_done = 1; flags with the unused upper bits
 * cleared, req and length are stored) or n is used up. Call it only while ssb_scanner_left() == 0.
 * SSB_OK or SSB_E_TYPE. */
int ssb_scan_head(ssb_scanner *s, const uint8_t *in, size_t n, size_t *used, int *head_done, uint8_t *flags,
                  int32_t *req, uint32_t *length) SSB_MUST_USE;
uint32_t ssb_scanner_left(const ssb_scanner *s);       /* body bytes still to come */
void ssb_scanner_take(ssb_scanner *s, uint32_t n);     /* n <= left of them have been read */
void ssb_write_head(uint8_t *out, uint8_t flags, uint32_t length, int32_t req); /* 9 bytes */

typedef struct {
    uint32_t at; /* where the body begins */
    uint32_t length;
    int32_t req;
    uint32_t flags; /* unused upper bits cleared */
} ssb_packet;
/* Find the packets that are whole in in[0..n), n < 2^32, where a packet begins: up to `most` of them, in[0..*used) with
 * those of req 0, which are left out (but for the goodbye: flags, length and req all 0). call_body and answer_body as in
 * ssb_limits.
 * SSB_OK    `most` were found; there may be more behind *used.
 * SSB_MORE  all that are whole were found; with *need bytes from *used on there will be one more, or another mistake.
 * SSB_E_TYPE, SSB_E_PACKET  the packet behind those found is a mistake. */
int ssb_scan_packets(const uint8_t *in, size_t n, uint32_t call_body, uint32_t answer_body, ssb_packet *packets,
                     size_t most, size_t *count, size_t *used, size_t *need) SSB_MUST_USE;
/* cdef end */

/* ------------------------------------------------------------------ hub
 * What the links of one event loop share: a pool of slabs and the list of links that have something to send.
 * The pool lies in memory given by the caller (zero-filled, aligned for a pointer; untouched pages stay
 * untouched): first one ssb_slab_info a slab, then, page aligned when `mem` is, a scratch area in which a box that
 * came in pieces is put together, then the slabs. */
typedef struct {
    uint32_t next;  /* slab behind this one in its queue, or in the free list; 0 = none (slabs count from 1) */
    uint16_t start; /* first byte still queued */
    uint16_t end;   /* behind the last; before `start`: the slab is in the free list */
    uint32_t whole; /* > 0: a whole packet of this many bytes (head included) starts here; its slabs are its own
                       and those behind the first say UINT32_MAX */
} ssb_slab_info;

struct ssb_link_s;
struct ssb_inlet_s;

#define SSB_SCRATCH (17u * SSB_SLAB) /* the longest box whose length fits two bytes: 34 + 65535 */

typedef struct {
    uint8_t *_scratch; /* SSB_SCRATCH bytes: one box; holds nothing between two calls */
    uint8_t *_slabs;
    ssb_slab_info *_info;
    uint32_t _count; /* slabs in all */
    uint32_t _fresh; /* never lent: those from this number on */
    uint32_t _free;  /* head of the list of returned ones */
    uint32_t _lent;
    uint64_t _outgoing; /* of them, in lanes and control queues: these drain by themselves */
    struct ssb_link_s *_dirty_first, *_dirty_last;
    struct ssb_link_s *_links; /* all that are not closed */
} ssb_hub; /* opaque */

typedef struct { /* a first-in first-out queue of bytes in slabs */
    uint32_t _first, _last;
    uint32_t _slabs;
    uint64_t _bytes;
} ssb_queue;

/* cdef begin */
/* `mem` has to hold at least one slab more than SSB_SLAB_RESERVE (see ssb_hub_size); SSB_OK or SSB_FULL. */
int ssb_hub_init(ssb_hub *h, uint8_t *mem, size_t mem_n) SSB_MUST_USE;
size_t ssb_hub_size(uint32_t slabs);       /* memory for so many slabs */
uint32_t ssb_hub_lent(const ssb_hub *h);   /* slabs in use */
uint32_t ssb_hub_left(const ssb_hub *h);   /* slabs that payload may still take (the reserve not counted) */
uint64_t ssb_hub_outgoing(const ssb_hub *h); /* slabs in lanes and control queues: what drains by being sent */
/* Put what is not lent in order, so that the lowest slabs are lent first. */
void ssb_hub_trim(ssb_hub *h);
/* Right after that: the bytes of `mem` that hold nothing, run by run. On entry *at + *n is where the last run ended (0
 * for the first); 1, or 0 when there is no more. The caller may give their pages back (they have to read as zero or as
 * they were). */
int ssb_hub_gap(const ssb_hub *h, size_t *at, size_t *n);
/* Take one link off the list of those on which something was queued since they were taken off last; its id, or -1.
 * The caller flushes it until nothing is left. */
int64_t ssb_hub_next_dirty(ssb_hub *h);
/* The links that hold at least `slabs` (> 0) of the pool, both ways: up to `most` of their ids, and what each holds.
 * How many were written. */
size_t ssb_hub_heavy(const ssb_hub *h, uint64_t slabs, uint32_t *ids, uint64_t *held, size_t most);
/* cdef end */

/* ------------------------------------------------------------------ link, lanes, inlets
 * link   one secured connection: both cipher states, the scanner, what goes out.
 * lane   one outgoing stream with a queue of its own (req = the number written into its packets): bytes, which
 *        may be split and merged freely, and whole packets, in order.
 * inlet  what happens to packets that arrive for req (the number in the arriving packets): bytes go to a lane of
 *        another link of the same hub (a splice; the lane writes its own req) or, without a lane, are delivered
 *        as chunks.
 * Two inlets and two lanes make a relayed tunnel; one delivering inlet and one lane make the end of a tunnel. */
typedef struct ssb_lane_s {
    struct ssb_link_s *_link;
    struct ssb_lane_s *_next, *_previous; /* ring of lanes of the link that have something queued */
    struct ssb_lane_s *_older, *_newer;   /* all lanes of the link */
    ssb_queue _queue;
    uint64_t _taken;  /* bytes sealed so far */
    uint64_t _put;    /* bytes queued so far */
    uint32_t _share;  /* bytes it may queue */
    uint32_t _begun;  /* rest of a packet whose beginning is sealed: first in the queue */
    int32_t _req;
    int32_t _credit;  /* deficit round-robin; < 0 after a packet longer than its turn */
    uint8_t _ringed;
} ssb_lane; /* opaque */

typedef struct ssb_inlet_s {
    struct ssb_link_s *_link;
    struct ssb_inlet_s *_next; /* in its bucket */
    struct ssb_inlet_s *_next_over;
    ssb_lane *_lane;
    int32_t _req;
    uint8_t _over; /* on the link's list of inlets whose lane had no room */
} ssb_inlet; /* opaque */

/* cdef begin */
typedef struct {
    uint32_t box_body;        /* longest box body accepted */
    uint32_t call_body;       /* longest body that must be whole, for req > 0 (the peer's calls) */
    uint32_t answer_body;     /* same for req < 0 (answers to our calls) */
    uint32_t control_backlog; /* bytes of control packets queued at the most */
    uint32_t link_backlog;    /* bytes queued in all lanes of a link at the most */
    uint32_t events;          /* events that one call gives at the most; 0: as many as have room */
} ssb_limits;
/* cdef end */

#define SSB_BUCKETS 64

typedef struct ssb_link_s {
    ssb_hub *_hub;
    struct ssb_link_s *_next_dirty, *_previous_dirty;
    struct ssb_link_s *_next_link, *_previous_link; /* all of the hub */
    ssb_sealer _sealer;
    ssb_opener _opener;
    ssb_scanner _scanner;
    ssb_limits _limits;
    ssb_queue _input;    /* received, not yet opened: the beginning of a box, or all that came while blocked */
    size_t _need;        /* bytes of input at which the opener can go on */
    size_t _opened;      /* of the input, the first so many are boxes opened ahead, headers and all */
    ssb_queue _plain;    /* plain rest of a box that came in pieces, kept over SSB_AGAIN */
    ssb_queue _assembly; /* what there is of a packet that must be whole (with its head if a lane gets it) */
    ssb_queue _control;  /* whole packets, which go before every lane */
    uint32_t _control_begun; /* rest of a control packet whose beginning is sealed */
    uint8_t *_cursor;    /* plain bytes of the box in hand, not yet scanned */
    size_t _cursor_n;
    uint8_t *_rest;      /* ciphertext behind that box, in the caller's buffer */
    size_t _rest_n;
    ssb_inlet *_buckets[SSB_BUCKETS];
    ssb_lane *_lanes;    /* all of them */
    ssb_lane *_ring;     /* the lane whose turn it is */
    uint64_t _lane_bytes; /* queued in all lanes */
    uint64_t _lane_slabs;
    ssb_inlet *_over;    /* inlets whose lane had no room when it was last written to */
    ssb_inlet *_into;    /* inlet of the packet in hand, if its lane or chunks get it */
    uint32_t _id;
    uint8_t _flags;      /* of the packet in hand */
    int32_t _req;
    uint8_t _mode;       /* of the packet in hand: see link_receive.c */
    uint8_t _split;
    uint8_t _dirty;
    uint8_t _goodbye;    /* 0, 1 wanted, 2 sealed, 3 closed */
    int8_t _dead;        /* what receive and proceed answer from now on */
} ssb_link; /* opaque */

/* cdef begin */
/* id: the caller's number for it, as ssb_hub_next_dirty gives it. split != 0: every packet head goes into a box of
 * its own (for peers whose reader needs that); otherwise packets are merged into full boxes. */
void ssb_link_init(ssb_link *l, ssb_hub *h, uint32_t id, const ssb_crypto *crypto, const ssb_limits *limits,
                   const uint8_t *send_key, const uint8_t *send_nonce, const uint8_t *receive_key,
                   const uint8_t *receive_nonce, int split);

/* Take in[0..n) as received from the socket: open, scan, re-number, queue at the destinations. `in` is scratch.
 * Events are written to ev[0..*ev_n) (on entry *ev_n is the room there).
 *
 * SSB_OK       all was used (the beginning of a box is kept inside).
 * SSB_AGAIN    the same, but only up to the events: handle them, then call ssb_link_proceed before `in` or `ev`
 *              are used for anything else. Given after a packet that opens a stream (flags stream|JSON, no end,
 *              req > 0, no inlet), so that its inlet can be there before the bytes behind it are looked at; and
 *              when ev has no room, or `events` of the limits are there. If *need > the room, not even one event
 *              fits: proceed with at least *need.
 * SSB_BLOCKED  a lane is over its share, its link over link_backlog, or the pool is down to its reserve while
 *              something waits to be sent (else the memory is held by input, which only going on sets free). The
 *              rest of the input is kept inside, unopened. ssb_link_blocked tells the lane (NULL: the pool).
 *              Proceed when that has drained. At most one box per source link passes a limit. What is received
 *              while blocked is kept too.
 * SSB_ENDED    the box-stream goodbye.
 * SSB_E_*      everything before the mistake has been delivered and *ev_n is valid; receiving is dead, what is
 *              queued can still be flushed. SSB_E_MEMORY: the pool is used up altogether, which takes many links
 *              that hold input at once; read less while ssb_hub_left is 0. SSB_E_CLOSED: closed, or
 *              receive was called where proceed was due.
 *
 * A packet for an inlet with a lane: flags exactly stream (bytes) → its bytes go to the lane as they come;
 * with the end flag → event; anything else → a whole packet on the lane, re-numbered. A delivering inlet: bytes
 * → SSB_EV_CHUNK (neighbours are merged), the rest → event. Without inlet: event. Whole packets are limited by
 * call_body or answer_body; bytes of a stream without inlet that pass the limit (what was under way when a tunnel
 * ended) are skipped. An inlet closed in the middle of a packet: its rest is skipped.
 * Packets with an empty body: nine zero bytes → SSB_EV_GOODBYE; end flag → an event with body `true` and flags
 * 0x0e; otherwise dropped inside an inlet and an event elsewhere. req 0 is skipped (within call_body). */
int ssb_link_receive(ssb_link *l, uint8_t *in, size_t n, uint8_t *ev, size_t *ev_n, size_t *need) SSB_MUST_USE;
int ssb_link_proceed(ssb_link *l, uint8_t *ev, size_t *ev_n, size_t *need) SSB_MUST_USE;
ssb_lane *ssb_link_blocked(const ssb_link *l);
/* Keep input inside, unopened: what is left of the caller's buffer after SSB_AGAIN, and in[0..n) behind it. The buffer
 * is free then, and ssb_link_proceed may be called at any time. SSB_OK, or what receive would answer. */
int ssb_link_keep(ssb_link *l, const uint8_t *in, size_t n) SSB_MUST_USE;
size_t ssb_link_held(const ssb_link *l); /* received bytes kept inside: ciphertext, and packets that are not whole */

/* Queue a whole packet in front of all lanes. SSB_OK, SSB_FULL (control_backlog or the pool), SSB_E_CLOSED once
 * the goodbye is wanted. An empty body is SSB_E_CLOSED too, except for the nine zero bytes of the goodbye (flags,
 * body_n and req all 0): JS takes any other for the end of the session. */
int ssb_link_control(ssb_link *l, uint8_t flags, int32_t req, const uint8_t *body, size_t body_n) SSB_MUST_USE;
/* After all that is queued now the box-stream goodbye follows; nothing can be queued any more. */
void ssb_link_goodbye(ssb_link *l);
/* Seal what is queued: control packets first (at packet boundaries only), then lanes by deficit round-robin, one box
 * body each in turn; boxes are filled. out has room for `room` bytes; *out_n tells how many were written. With room for
 * a full box (34 + 4096) there is always progress; below 34 + 64 never.
 * SSB_OK: nothing is left; SSB_FULL: more is queued; SSB_ENDED: nothing is left and the goodbye was written;
 * SSB_E_CLOSED after ssb_link_close. */
int ssb_link_flush(ssb_link *l, uint8_t *out, size_t room, size_t *out_n) SSB_MUST_USE;
size_t ssb_link_queued(const ssb_link *l);         /* bytes in lanes */
size_t ssb_link_control_queued(const ssb_link *l); /* bytes of control packets */
/* Give everything back to the pool and wipe the keys. Its lanes are emptied and detached (later calls on them
 * answer SSB_E_CLOSED), its inlets forgotten; inlets of other links that lead to its lanes drop what comes. */
void ssb_link_close(ssb_link *l);

void ssb_lane_init(ssb_lane *lane, ssb_link *l, int32_t req, uint32_t share);
/* Queue payload. SSB_OK, SSB_FULL (nothing was taken: over share or link_backlog, or the pool has not so
 * much above its reserve), SSB_E_CLOSED. The check is made before, so one write may pass the share by its own length.
 * Memory counts too: many small whole packets are "over" at four times the share in slabs. The less of the pool is left,
 * the less may wait in one lane: a 16th of it, in a link a quarter, but always a slab; so lanes that hold little find
 * room whatever others hold. */
int ssb_lane_write(ssb_lane *lane, const uint8_t *data, size_t n) SSB_MUST_USE;
/* Queue a whole packet behind what is there, share or not; it may use the reserve, but not the last slab. SSB_OK,
 * SSB_FULL, SSB_E_CLOSED (also for an empty body). */
int ssb_lane_packet(ssb_lane *lane, uint8_t flags, const uint8_t *body, size_t body_n) SSB_MUST_USE;
size_t ssb_lane_queued(const ssb_lane *lane);  /* bytes waiting, heads of whole packets included */
uint64_t ssb_lane_taken(const ssb_lane *lane); /* bytes sealed so far */
uint64_t ssb_lane_put(const ssb_lane *lane);   /* bytes ever queued (heads of whole packets included) */
int ssb_lane_full(const ssb_lane *lane);       /* 1 while a write would answer SSB_FULL */
/* Drop what waits, at a packet boundary: the rest of a packet that was begun stays and goes out. */
void ssb_lane_clear(ssb_lane *lane);
/* Drop what waits and leave the link; the rest of a packet that was begun goes out with the control packets. The memory
 * may be freed afterwards once no inlet leads to it. */
void ssb_lane_close(ssb_lane *lane);

/* lane == NULL: deliver chunks. Of two inlets for one req the newer counts. `lane` has to stay until the inlet is
 * closed (it may be closed itself: then what comes is dropped). */
void ssb_inlet_init(ssb_inlet *i, ssb_link *l, int32_t req, ssb_lane *lane);
void ssb_inlet_close(ssb_inlet *i);
/* cdef end */

/* ------------------------------------------------------------------ QUIC
 * One connection of QUIC v1 (RFC 9000, 9001, 9002, 9221) after its handshake: packets of 1-RTT, protected by
 * ChaCha20-Poly1305. The handshake is somebody else's; what it came to is handed over. Datagrams go in and out, time
 * (microseconds, never backwards) is an argument, memory is the caller's. What the peer does wrong ends the connection:
 * it is closed with the code that RFC 9000 asks for, and says so by an event. Ids that the peer retires are replaced, some
 * packet numbers are left out, so that an ACK of what has not come shows. ECN is not used: packets are not marked, and of
 * an ACK with counts only the ranges are read. */
/* cdef begin */
#define SSB_QUIC_NEVER UINT64_MAX
#define SSB_QUIC_ID 20       /* longest connection id */
#define SSB_QUIC_IDS 8       /* of ours and of theirs, that are kept */
#define SSB_QUIC_CHALLENGE 8 /* bytes of one */
#define SSB_QUIC_NEW_ID 36   /* random bytes that make an id and its token */
#define SSB_QUIC_PAGE 16384  /* unit of memory of what streams receive */
#define SSB_QUIC_TRAIN 64    /* packets in a train at the most */

#define SSB_QUIC_OPENED 1    /* the peer has opened `stream` */
#define SSB_QUIC_READABLE 2  /* `stream` has bytes, or its end */
#define SSB_QUIC_WRITABLE 3  /* `stream` has room again, after a write that was not taken whole */
#define SSB_QUIC_RESET 4     /* the peer has given up sending on `stream`: value is its code */
#define SSB_QUIC_STOPPED 5   /* the peer does not read `stream` any more: value is its code; it is reset */
#define SSB_QUIC_RETURNED 6  /* the oldest `value` pieces of memory lent to `stream` are the caller's again */
#define SSB_QUIC_KEYS 7      /* ssb_quic_keys wants the next generation */
#define SSB_QUIC_PATH 8      /* ssb_quic_challenge wants 8 random bytes: the peer has moved to the path `value` */
#define SSB_QUIC_MOVED 9     /* the peer is reached by the path `value` from now on */
#define SSB_QUIC_DATAGRAM 10 /* a datagram of the peer waits */
#define SSB_QUIC_ID_SHORT 11 /* ssb_quic_new_id wants random bytes: the peer has retired an id of ours */
#define SSB_QUIC_CLOSED 12   /* it is over: value is the code, stream says who closed it (see below) */

#define SSB_QUIC_BY_US 0       /* ssb_quic_close */
#define SSB_QUIC_BY_PEER 1     /* the peer's application */
#define SSB_QUIC_BY_ERROR 2    /* we, because of what the peer did: the code is one of QUIC's */
#define SSB_QUIC_BY_PEER_ERROR 3
#define SSB_QUIC_BY_SILENCE 4  /* nothing came for too long, or a stateless reset */

typedef struct ssb_quic_s ssb_quic;

typedef struct {
    uint32_t packets;     /* sent and not yet acknowledged, a power of two */
    uint32_t streams;     /* open at a time, both directions and both ends */
    uint32_t segments;    /* pieces of the caller's memory that are lent to a stream at a time, a power of two */
    uint32_t window;      /* credit of a stream beyond what was read, at first; whole pages */
    uint64_t window_all;  /* credit of all streams, at first */
    uint32_t peer_bidi;   /* streams of the peer that may be open at a time */
    uint32_t peer_uni;
    uint32_t datagram;      /* UDP payload that is known to pass */
    uint32_t datagram_most; /* and the longest that is tried */
    uint32_t datagrams;   /* bytes of unreliable datagrams that wait, each way; a power of two or 0 */
    uint64_t forged;      /* packets that may fail to open: RFC 9001, section 6.6 */
    uint32_t window_most;     /* up to where `window` may grow, and what may be written ahead; 0: it stays */
    uint64_t window_all_most; /* the same of `window_all` */
} ssb_quic_limits;

typedef struct { /* one generation */
    uint8_t send_key[32], send_iv[12];
    uint8_t receive_key[32], receive_iv[12];
} ssb_quic_secrets;

typedef struct {
    uint64_t number; /* sequence number */
    uint8_t id[20];
    uint8_t n;
    uint8_t has_token;
    uint8_t token[16]; /* of a stateless reset */
} ssb_quic_id;

typedef struct { /* all that was sent is acknowledged, all that was received is read */
    uint64_t id;
    uint64_t sent, send_max;        /* bytes, and the peer's credit */
    uint64_t received, receive_max; /* bytes, and the credit that the peer has from us */
    uint8_t send_done, receive_done;
} ssb_quic_stream;

typedef struct {
    uint64_t first, end; /* end: the one behind the last */
} ssb_quic_range;

typedef struct {
    uint8_t caller;           /* this end is the client */
    uint8_t phase;            /* key phase, both ways */
    ssb_quic_secrets keys, next;
    uint8_t send_hp[32], receive_hp[32]; /* keys of header protection */
    uint8_t random[32];       /* which the peer does not know: they choose the packet numbers that are left out */
    uint64_t number;          /* of the next packet */
    const ssb_quic_range *received; /* numbers of packets, ascending and apart; exactly those to be acknowledged */
    uint32_t received_n;
    uint64_t newest;          /* largest number received */
    ssb_quic_id remote[8];    /* ids of the peer; the first is in use */
    ssb_quic_id local[8];     /* ids of ours, of one length */
    uint32_t remote_n, local_n;
    uint32_t id_limit;        /* active_connection_id_limit that we declared */
    const ssb_quic_stream *streams; /* those that are not over */
    uint32_t streams_n;
    uint64_t next_bidi, next_uni;   /* ids of the next streams that this end opens */
    uint64_t send_bidi, send_uni;   /* streams that the peer lets this end open, in all */
    uint64_t peer_bidi, peer_uni;   /* streams that the peer has opened, in all */
    uint64_t receive_bidi, receive_uni; /* streams that we let the peer open, in all, as it knows */
    uint64_t sent, send_max;            /* bytes of all streams, and the peer's credit */
    uint64_t received_all, receive_max; /* the same the other way, as the peer knows */
    uint64_t send_max_local, send_max_remote, send_max_uni; /* of new streams: bidi opened by us, by the peer, uni */
    uint64_t receive_max_local, receive_max_remote, receive_max_uni;
    uint64_t datagram_send, datagram_receive; /* max_datagram_frame_size: the peer's, ours */
    uint32_t delay_exponent;  /* of the peer's ACK frames */
    uint32_t delay_max;       /* the peer's max_ack_delay, us */
    uint32_t own_delay_max;   /* ours, us */
    uint64_t idle;            /* us: the smaller of both ends', 0 for none */
    uint64_t rtt, rtt_variance, rtt_least; /* us; rtt 0: not yet known */
    uint64_t congestion_window;
} ssb_quic_handover;

typedef struct {
    uint32_t kind;
    uint64_t stream;
    uint64_t value;
} ssb_quic_event;

typedef struct {
    uint64_t rtt, rtt_variance, rtt_least; /* us */
    uint64_t congestion_window, in_flight, threshold; /* bytes */
    uint64_t sent, received, lost, forged, duplicates; /* packets */
    uint64_t newest;  /* largest packet number received */
    uint64_t unsent;  /* bytes written and not yet sent once */
    uint64_t unread;  /* bytes received and not yet read, those behind gaps too */
    uint64_t probes;  /* time-outs (PTO) */
    uint64_t persistent; /* times that congestion was persistent */
    uint64_t updates; /* of keys */
    uint64_t dropped; /* datagrams of the peer that were not read in time, and ours that no packet takes any more */
    uint64_t pages;   /* of what was received */
    uint64_t segments; /* of the caller's memory, lent to streams */
} ssb_quic_figures;

size_t ssb_quic_size(const ssb_quic_limits *limits); /* memory for one connection; 0 for limits that make no sense */
/* mem: ssb_quic_size bytes, zero-filled, aligned for a pointer; untouched pages stay untouched. NULL where the
 * handover does not fit the limits. */
ssb_quic *ssb_quic_init(uint8_t *mem, const ssb_aead *aead, const ssb_quic_limits *limits,
                        const ssb_quic_handover *handover, uint64_t now);
/* Forget keys and texts, and what was lent: none of it is read any more. The object is dead. */
void ssb_quic_wipe(ssb_quic *q);

/* Take n bytes of datagrams, `segment` long each but for the last, which may be shorter; all came by one path. `in` is
 * scratch. path: the caller's number for the pair of addresses; the first one is 0. SSB_OK, or SSB_ENDED when it is
 * over. */
int ssb_quic_receive(ssb_quic *q, uint32_t path, uint8_t *in, size_t n, size_t segment, uint64_t now);
/* Write a train of datagrams, *segment long each but for the last. Call it until it returns 0. */
size_t ssb_quic_send(ssb_quic *q, uint8_t *out, size_t room, size_t *segment, uint32_t *path, uint64_t now);
uint64_t ssb_quic_next(const ssb_quic *q); /* when ssb_quic_timer is due, then send; SSB_QUIC_NEVER for never */
void ssb_quic_timer(ssb_quic *q, uint64_t now);
/* Take one event: 1, or 0 when there is none. A kind is not repeated before it was taken. */
int ssb_quic_take_event(ssb_quic *q, ssb_quic_event *event);

int64_t ssb_quic_open(ssb_quic *q, int uni); /* the id of a new stream; -1 while the peer or the limits allow none */
int ssb_quic_is_open(const ssb_quic *q, uint64_t stream);
/* Send data[0..n), which is lent: it has to stay as it is until an event SSB_QUIC_RETURNED has counted it, in the order
 * of the calls that took something, or until ssb_quic_wipe. Every byte may be read again up to then. A stream that is
 * reset or stopped gives all back. How much was taken, from the front; `end` counts when all of it was. 0 for a stream
 * that cannot be written: then nothing is lent. */
size_t ssb_quic_lend(ssb_quic *q, uint64_t stream, const uint8_t *data, size_t n, int end);
size_t ssb_quic_room(const ssb_quic *q, uint64_t stream);
/* How much was read; *end = 1 with the last byte, or without any. */
size_t ssb_quic_read(ssb_quic *q, uint64_t stream, uint8_t *out, size_t room, int *end);
/* Let the credit of a stream be `window` bytes (bounded by the limits) beyond what was read, less `unread`: bytes that
 * were read and are not used up. Credit that was given stays. The second does so for all streams together. */
void ssb_quic_credit(ssb_quic *q, uint64_t stream, uint64_t unread, uint64_t window);
void ssb_quic_credit_all(ssb_quic *q, uint64_t window);
/* Offset of the oldest byte that was sent and not acknowledged, SSB_QUIC_NEVER when there is none. */
uint64_t ssb_quic_waiting(const ssb_quic *q, uint64_t stream);
void ssb_quic_reset(ssb_quic *q, uint64_t stream, uint64_t code); /* give up sending */
void ssb_quic_stop(ssb_quic *q, uint64_t stream, uint64_t code);  /* give up reading */
void ssb_quic_ping(ssb_quic *q);
void ssb_quic_close(ssb_quic *q, uint64_t code);
/* Queue an unreliable datagram. SSB_OK, SSB_FULL if the oldest were dropped for it, SSB_E_PACKET if it never fits. */
int ssb_quic_datagram(ssb_quic *q, const uint8_t *data, size_t n);
/* Take the oldest datagram of the peer; -1 when there is none, or none that fits. */
int64_t ssb_quic_take_datagram(ssb_quic *q, uint8_t *out, size_t room);
void ssb_quic_keys(ssb_quic *q, const ssb_quic_secrets *next);
void ssb_quic_challenge(ssb_quic *q, uint32_t path, const uint8_t *random); /* 8 bytes */
void ssb_quic_new_id(ssb_quic *q, const uint8_t *random); /* SSB_QUIC_NEW_ID bytes; the peer keeps as many as it had */
uint64_t ssb_quic_newest(const ssb_quic *q); /* largest packet number received */
uint64_t ssb_quic_rtt(const ssb_quic *q);    /* us; 0: not yet known */
uint32_t ssb_quic_mtu(const ssb_quic *q);    /* UDP payload of the longest datagrams now */
uint32_t ssb_quic_datagram_room(const ssb_quic *q); /* longest unreliable datagram that can go now */
void ssb_quic_look(const ssb_quic *q, ssb_quic_figures *figures);
/* cdef end */

#endif
