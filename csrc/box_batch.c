/* box_batch.c: many boxes at once. All Salsa20 blocks of a batch, of headers and bodies alike, go through the kernel's
 * lanes side by side; then come the macs, box by box.
 *
 *   secretbox  block 0 = key of the mac(32) | covers text[0..32);  block i = covers text[64 i - 32 .. 64 i + 32)
 *
 * Whole blocks are covered where they lie. Block 0 and what is left at the end are key stream first, in `covers`, which
 * is wiped at the end of each batch. */
#include "block_list.h"

#if SSBI_KERNELS

#include <string.h>

#define HEADER_TEXT 18u
#define POLY_KEY 32u
#define FIRST (BLOCK - POLY_KEY) /* bytes of text that block 0 covers */
#define MARGIN (2 * SSBI_BATCH + 2) /* nonces before a carry that are left to libsodium */

typedef struct { /* key stream of one box */
    uint8_t header[BLOCK];
    uint8_t body[BLOCK];
    uint8_t tail[BLOCK];
} covers;

/* ---------------------------------------------------------------- blocks */

static void begin(ssbi_block_list *l, const ssb_kernel *k, const uint32_t *subkey) {
    ssbi_list_init(l, k->_salsa, ssbi_salsa20_portable, k->_lanes, subkey);
}

static uint32_t swapped(uint32_t v) { return v << 24 | (v & 0xff00u) << 8 | (v >> 8 & 0xff00u) | v >> 24; }

static inline void want(ssbi_block_list *l, uint64_t nonce, uint32_t number, const uint8_t *in, uint8_t *out) {
    const uint32_t words[3] = {0, swapped((uint32_t)(nonce >> 32)), swapped((uint32_t)nonce)};
    ssbi_list_add(l, words, number, in, out);
}

/* All of a text but the first 32 bytes, which wait for block 0. */
static void want_text(ssbi_block_list *q, uint64_t nonce, const uint8_t *in, uint8_t *out, size_t n, uint8_t *tail) {
    uint32_t number = 1;
    size_t at = FIRST;
    for (; at + BLOCK <= n; at += BLOCK) want(q, nonce, number++, in + at, out + at);
    if (at < n) want(q, nonce, number, NULL, tail);
}

/* The parts of a text that no lane has written. */
static void cover_ends(uint8_t *out, const uint8_t *in, size_t n, const covers *c) {
    if (n < FIRST) {
        ssbi_cover(out, in, c->body + POLY_KEY, n);
        return;
    }
    const size_t left = (n - FIRST) % BLOCK;
    ssbi_cover(out, in, c->body + POLY_KEY, FIRST);
    if (left > 0) ssbi_cover(out + n - left, in + n - left, c->tail, left);
}

int ssbi_macs_differ(const uint8_t *a, const uint8_t *b) {
    uint32_t any = 0;
    for (size_t i = 0; i < SSB_MAC; i++) any |= (uint32_t)(a[i] ^ b[i]);
    any = (any - 1) >> 31; /* 1: the same */
    SSBI_KNOWN(&any, sizeof any);
    return !any;
}

/* ---------------------------------------------------------------- sealing */

static void seal_one(const ssb_kernel *k, const ssbi_box *box, const covers *c) {
    uint8_t *out = box->out;
    cover_ends(out + SSB_BOX_HEADER, box->plain, box->n, c);
    out[SSB_MAC] = (uint8_t)(box->n >> 8);
    out[SSB_MAC + 1] = (uint8_t)box->n;
    ssbi_poly1305(k, out + HEADER_TEXT, c->body, out + SSB_BOX_HEADER, box->n);
    ssbi_cover(out + SSB_MAC, out + SSB_MAC, c->header + POLY_KEY, HEADER_TEXT);
    ssbi_poly1305(k, out, c->header, out + SSB_MAC, HEADER_TEXT);
}

size_t ssbi_seal_batch(ssb_sealer *s, const ssbi_box *boxes, size_t count) {
    const ssb_kernel *k = s->_crypto->kernel;
    const uint64_t nonce = load64(s->_nonce + 16);
    covers c[SSBI_BATCH];
    ssbi_block_list q;
    size_t n = 0;
    if (k == NULL || nonce > UINT64_MAX - MARGIN || boxes[0].n > k->_longest) return 0;
    if (!s->_subkeyed) ssbi_hsalsa20(s->_subkey, s->_key, s->_nonce);
    s->_subkeyed = 1;
    begin(&q, k, s->_subkey);
    for (; n < smaller(count, SSBI_BATCH) && boxes[n].n <= k->_longest; n++) {
        want(&q, nonce + 2 * n, 0, NULL, c[n].header);
        want(&q, nonce + 2 * n + 1, 0, NULL, c[n].body);
        want_text(&q, nonce + 2 * n + 1, boxes[n].plain, boxes[n].out + SSB_BOX_HEADER, boxes[n].n, c[n].tail);
    }
    ssbi_list_run(&q);
    for (size_t i = 0; i < n; i++) seal_one(k, &boxes[i], &c[i]);
    store64(s->_nonce + 16, nonce + 2 * n);
    s->_crypto->wipe(c, n * sizeof c[0]);
    return n;
}

/* ---------------------------------------------------------------- opening */

typedef struct {
    ssb_opener *o;
    const uint8_t *in;
    uint8_t *work;   /* `in`, where boxes are opened in place; else NULL */
    uint8_t *plain;  /* where the body goes of the only box, which is all of `in`; else NULL */
    size_t n;
    uint64_t nonce;  /* of the first header */
    size_t count;    /* boxes whose header and body are authentic */
    size_t at;       /* bytes of them */
    size_t streams;  /* boxes whose first blocks are there */
    int tail;        /* the first box cannot be longer than two blocks, and c[0].tail is there */
    covers c[SSBI_BATCH];
} opening;

/* Length of the body of box b->count, whose header is opened where it lies if that is allowed; 0 if it is not a good
 * one. */
static size_t read_header(opening *b) {
    ssb_opener *o = b->o;
    const uint8_t *box = b->in + b->at;
    uint8_t *header = b->work == NULL ? NULL : b->work + b->at + SSB_MAC, mac[SSB_MAC], text[HEADER_TEXT];
    const covers *c = &b->c[b->count];
    if (b->count == 0 && o->_body_n > 0) { /* opened before */
        if (header != NULL) header[0] = (uint8_t)(o->_body_n >> 8);
        if (header != NULL) header[1] = (uint8_t)o->_body_n;
        return o->_body_n;
    }
    if (b->n - b->at < SSB_BOX_HEADER) return 0;
    ssbi_poly1305(o->_crypto->kernel, mac, c->header, box + SSB_MAC, HEADER_TEXT);
    if (ssbi_macs_differ(mac, box)) return 0;
    ssbi_cover(text, box + SSB_MAC, c->header + POLY_KEY, HEADER_TEXT);
    SSBI_KNOWN(text, 2);
    const size_t n = (size_t)text[0] << 8 | text[1];
    if (n == 0 || n > o->_body_max) return 0;
    if (header != NULL) memcpy(header, text, HEADER_TEXT);
    memcpy(o->_mac, text + 2, SSB_MAC);
    o->_body_n = (uint32_t)n;
    return n;
}

/* Verify box b->count, header and body. 0: it is not complete, not good, or longer than the kernel takes; if only
 * its header is good, o->_body_n says so. */
static int verify(opening *b, uint16_t *bodies) {
    ssb_opener *o = b->o;
    const size_t n = read_header(b);
    uint8_t mac[SSB_MAC];
    if (n == 0 || b->n - b->at < SSB_BOX_HEADER + n || n > o->_crypto->kernel->_longest) return 0;
    if (b->plain != NULL && b->n != SSB_BOX_HEADER + n) return 0;
    ssbi_poly1305(o->_crypto->kernel, mac, b->c[b->count].body, b->in + b->at + SSB_BOX_HEADER, n);
    if (ssbi_macs_differ(mac, o->_mac)) return 0;
    o->_body_n = 0;
    bodies[b->count++] = (uint16_t)n;
    b->at += SSB_BOX_HEADER + n;
    return 1;
}

/* The first blocks of the next boxes, as many as one sweep of the lanes yields. */
static void more_streams(opening *b, ssbi_block_list *q, size_t most) {
    const size_t lanes = q->lanes, possible = b->count + (b->n - b->at) / (SSB_BOX_HEADER + 1) + 1;
    const size_t until = smaller(smaller(most, possible), b->streams + (lanes + 1) / 2);
    for (; b->streams < until; b->streams++) {
        want(q, b->nonce + 2 * b->streams, 0, NULL, b->c[b->streams].header);
        want(q, b->nonce + 2 * b->streams + 1, 0, NULL, b->c[b->streams].body);
    }
    const size_t body = b->n - SSB_BOX_HEADER; /* at the most */
    /* a lane to spare saves a sweep */
    if (lanes > 2 && b->streams == 1 && body > FIRST && body < FIRST + BLOCK) {
        want(q, b->nonce + 1, 1, NULL, b->c[0].tail);
        b->tail = 1;
    }
    ssbi_list_run(q);
}

static void uncover(opening *b, ssbi_block_list *q, const uint16_t *bodies) {
    const uint8_t *in = b->in + SSB_BOX_HEADER;
    uint8_t *out = b->plain != NULL ? b->plain : b->work + SSB_BOX_HEADER;
    size_t at = 0;
    for (size_t i = 0; i < b->count && !b->tail; i++) {
        want_text(q, b->nonce + 2 * i + 1, in + at, out + at, bodies[i], b->c[i].tail);
        at += bodies[i] + SSB_BOX_HEADER;
    }
    ssbi_list_run(q);
    at = 0;
    for (size_t i = 0; i < b->count; i++) {
        cover_ends(out + at, in + at, bodies[i], &b->c[i]);
        at += bodies[i] + SSB_BOX_HEADER;
    }
}

/* What stands in the way of a batch. `open`: the first header is open already, and the nonce one further. */
static int unfit(const ssb_opener *o, size_t n, uint64_t nonce, int open) {
    if (o->_dead || o->_crypto->kernel == NULL || n < SSB_BOX_HEADER) return 1;
    if (nonce > UINT64_MAX - MARGIN || (open && nonce == 0)) return 1;
    return open && (n < SSB_BOX_HEADER + (size_t)o->_body_n || o->_body_n > o->_crypto->kernel->_longest);
}

/* `in`, `work`, `plain` and `n` of b are there. */
static size_t open_batch(ssb_opener *o, opening *b, uint16_t *bodies, size_t most) {
    const uint64_t nonce = load64(o->_nonce + 16);
    const int open = o->_body_n > 0;
    ssbi_block_list q;
    if (unfit(o, b->n, nonce, open)) return 0;
    if (!o->_subkeyed) ssbi_hsalsa20(o->_subkey, o->_key, o->_nonce);
    o->_subkeyed = 1;
    begin(&q, o->_crypto->kernel, o->_subkey);
    b->o = o;
    b->nonce = nonce - (uint64_t)open;
    b->count = b->streams = 0;
    b->tail = 0;
    most = smaller(most, SSBI_BATCH);
    do {
        if (b->count == b->streams) more_streams(b, &q, most);
    } while (verify(b, bodies) && b->count < most);
    uncover(b, &q, bodies);
    store64(o->_nonce + 16, b->nonce + 2 * b->count + (o->_body_n > 0));
    o->_crypto->wipe(b->c, b->streams * sizeof b->c[0]);
    return b->count;
}

size_t ssbi_open_batch(ssb_opener *o, uint8_t *in, size_t n, uint16_t *bodies, size_t most, size_t *used) {
    opening b;
    b.in = b.work = in;
    b.plain = NULL;
    b.n = n;
    b.at = 0;
    const size_t count = open_batch(o, &b, bodies, most);
    *used = b.at;
    return count;
}

int ssb_open_whole(ssb_opener *o, const uint8_t *in, size_t n, uint8_t *plain) {
    uint16_t body_n;
    opening b;
    b.in = in;
    b.work = NULL;
    b.plain = plain;
    b.n = n;
    b.at = 0;
    return open_batch(o, &b, &body_n, 1) == 1;
}

#else

size_t ssbi_seal_batch(ssb_sealer *s, const ssbi_box *boxes, size_t count) {
    (void)s, (void)boxes, (void)count;
    return 0;
}

size_t ssbi_open_batch(ssb_opener *o, uint8_t *in, size_t n, uint16_t *bodies, size_t most, size_t *used) {
    (void)o, (void)in, (void)n, (void)bodies, (void)most;
    return *used = 0;
}

int ssb_open_whole(ssb_opener *o, const uint8_t *in, size_t n, uint8_t *plain) {
    (void)o, (void)in, (void)n, (void)plain;
    return 0;
}

#endif
