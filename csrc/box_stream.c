/* box_stream.c: box = header(34) || body(1..4096).
 *
 *   header  mac(16) | secretbox_n( length(2, big-endian) | mac of the body(16) )
 *   body    secretbox_{n+1}, its mac moved into the header
 *
 * libsodium's *_easy functions put a mac right in front of the text. So a body sealed at out + 18 leaves its mac at
 * 18..34, where the header wants it; and a header opened in place leaves the mac right in front of the body. */
#include "internal.h"

#include <string.h>

#define HEADER_TEXT 18u /* length and mac */
#define SUBKEY_NONCE 16 /* bytes of the nonce */

_Static_assert(SSB_BOX_HEADER == SSB_MAC + HEADER_TEXT, "a header is a secretbox of 18 bytes");
_Static_assert(SSB_BOX_HEADER == HEADER_TEXT + SSB_MAC, "the mac of the body ends where the body begins");

/* Clears *subkeyed when the carry has reached the bytes that make the sub-key. */
static void nonce_next(uint8_t *nonce, uint8_t *subkeyed) {
    for (int i = SSB_NONCE - 1; i >= 0; i--) {
        if (i < SUBKEY_NONCE) *subkeyed = 0;
        nonce[i] = (uint8_t)(nonce[i] + 1);
        if (nonce[i] != 0) return;
    }
}

/* ---------------------------------------------------------------- sealing */

void ssb_sealer_init(ssb_sealer *s, const ssb_crypto *crypto, const uint8_t *key, const uint8_t *nonce) {
    s->_crypto = crypto;
    memcpy(s->_key, key, SSB_KEY);
    memcpy(s->_nonce, nonce, SSB_NONCE);
    s->_subkeyed = 0;
    s->_dead = 0;
}

size_t ssb_sealed_size(size_t plain_n) {
    return plain_n + (plain_n / SSB_BOX_BODY + (plain_n % SSB_BOX_BODY != 0)) * SSB_BOX_HEADER;
}

static void seal_box(ssb_sealer *s, const ssbi_box *box) {
    uint8_t *out = box->out;
    uint8_t header_nonce[SSB_NONCE];
    memcpy(header_nonce, s->_nonce, SSB_NONCE);
    nonce_next(s->_nonce, &s->_subkeyed);
    (void)s->_crypto->box(out + HEADER_TEXT, box->plain, box->n, s->_nonce, s->_key); /* fails for absurd lengths only */
    nonce_next(s->_nonce, &s->_subkeyed);
    out[SSB_MAC] = (uint8_t)(box->n >> 8);
    out[SSB_MAC + 1] = (uint8_t)box->n;
    (void)s->_crypto->box(out, out + SSB_MAC, HEADER_TEXT, header_nonce, s->_key);
}

int ssbi_seal_boxes(ssb_sealer *s, const ssbi_box *boxes, size_t count) {
    if (s->_dead) return s->_dead;
    while (count > 0) {
        size_t done = ssbi_seal_batch(s, boxes, count);
        if (done == 0) {
            seal_box(s, boxes);
            done = 1;
        }
        boxes += done;
        count -= done;
    }
    return SSB_OK;
}

typedef struct { /* boxes that wait to be sealed together */
    ssb_sealer *s;
    uint8_t *out; /* of the next box */
    size_t n;
    ssbi_box boxes[SSBI_BATCH];
} batch;

static void batch_seal(batch *b) {
    (void)ssbi_seal_boxes(b->s, b->boxes, b->n); /* not dead: the callers asked */
    b->n = 0;
}

static void batch_text(batch *b, const uint8_t *plain, size_t plain_n) {
    while (plain_n > 0) {
        const size_t n = smaller(plain_n, SSB_BOX_BODY);
        b->boxes[b->n++] = (ssbi_box){plain, b->out, n};
        plain += n;
        plain_n -= n;
        b->out += SSB_BOX_HEADER + n;
        if (b->n == SSBI_BATCH) batch_seal(b);
    }
}

int ssb_seal(ssb_sealer *s, const uint8_t *plain, size_t plain_n, uint8_t *out) {
    batch b;
    if (s->_dead) return s->_dead;
    b.s = s;
    b.out = out;
    b.n = 0;
    batch_text(&b, plain, plain_n);
    batch_seal(&b);
    return SSB_OK;
}

size_t ssb_sealed_parts_size(const uint32_t *sizes, size_t count) {
    size_t n = 0;
    for (size_t i = 0; i < count; i++) n += ssb_sealed_size(sizes[i]);
    return n;
}

int ssb_seal_parts(ssb_sealer *s, const uint8_t *plain, const uint32_t *sizes, size_t count, uint8_t *out) {
    batch b;
    if (s->_dead) return s->_dead;
    b.s = s;
    b.out = out;
    b.n = 0;
    for (size_t i = 0; i < count; i++) {
        batch_text(&b, plain, sizes[i]);
        plain += sizes[i];
    }
    batch_seal(&b);
    return SSB_OK;
}

int ssb_seal_packet(ssb_sealer *s, uint8_t flags, int32_t req, const uint8_t *body, uint32_t body_n, uint8_t *out) {
    uint8_t head[SSB_PACKET_HEAD];
    batch b;
    if (s->_dead) return s->_dead;
    ssb_write_head(head, flags, body_n, req);
    b.s = s;
    b.out = out;
    b.n = 0;
    batch_text(&b, head, sizeof head);
    batch_text(&b, body, body_n);
    batch_seal(&b);
    return SSB_OK;
}

int ssb_seal_goodbye(ssb_sealer *s, uint8_t *out) {
    if (s->_dead) return s->_dead;
    memset(out, 0, SSB_BOX_HEADER);
    (void)s->_crypto->box(out, out + SSB_MAC, HEADER_TEXT, s->_nonce, s->_key);
    ssb_sealer_close(s);
    return SSB_OK;
}

void ssb_sealer_close(ssb_sealer *s) {
    s->_crypto->wipe(s->_key, SSB_KEY);
    s->_crypto->wipe(s->_nonce, SSB_NONCE);
    s->_crypto->wipe(s->_subkey, sizeof s->_subkey);
    s->_dead = SSB_E_CLOSED;
}

/* ---------------------------------------------------------------- opening */

void ssb_opener_init(ssb_opener *o, const ssb_crypto *crypto, const uint8_t *key, const uint8_t *nonce,
                     uint32_t body_max) {
    o->_crypto = crypto;
    memcpy(o->_key, key, SSB_KEY);
    memcpy(o->_nonce, nonce, SSB_NONCE);
    o->_subkeyed = 0;
    memset(o->_mac, 0, SSB_MAC);
    o->_body_max = body_max;
    o->_body_n = 0;
    o->_dead = 0;
}

static int opener_end(ssb_opener *o, int code) {
    o->_crypto->wipe(o->_key, SSB_KEY);
    o->_crypto->wipe(o->_nonce, SSB_NONCE);
    o->_crypto->wipe(o->_subkey, sizeof o->_subkey);
    o->_body_n = 0;
    o->_dead = (int8_t)code;
    return code;
}

/* Open the header and remember what it says, so that it is opened once however the bytes come. */
static int open_header(ssb_opener *o, uint8_t *in) {
    uint8_t *text = in + SSB_MAC, any = 0;
    if (o->_crypto->box_open(text, in, SSB_BOX_HEADER, o->_nonce, o->_key) != 0) return opener_end(o, SSB_E_HEADER);
    for (size_t i = 0; i < HEADER_TEXT; i++) any |= text[i];
    if (any == 0) return opener_end(o, SSB_ENDED);
    const uint32_t n = (uint32_t)text[0] << 8 | text[1];
    if (n == 0 || n > o->_body_max) return opener_end(o, SSB_E_LENGTH);
    nonce_next(o->_nonce, &o->_subkeyed);
    memcpy(o->_mac, text + 2, SSB_MAC);
    o->_body_n = n;
    return SSB_OK;
}

int ssbi_open_one(ssb_opener *o, uint8_t *in, size_t n, size_t *used) {
    *used = 0;
    if (o->_dead == SSB_ENDED) return n > 0 ? SSB_E_AFTER : SSB_ENDED;
    if (o->_dead) return o->_dead;
    if (o->_body_n == 0) {
        *used = SSB_BOX_HEADER;
        if (n < SSB_BOX_HEADER) return SSB_MORE;
        const int code = open_header(o, in);
        if (code != SSB_OK) {
            if (code < 0) *used = 0;
            return code;
        }
    }
    const size_t body_n = o->_body_n;
    *used = SSB_BOX_HEADER + body_n;
    if (n < *used) return SSB_MORE;
    memcpy(in + HEADER_TEXT, o->_mac, SSB_MAC);
    if (o->_crypto->box_open(in + SSB_BOX_HEADER, in + HEADER_TEXT, SSB_MAC + body_n, o->_nonce, o->_key) != 0) {
        *used = 0;
        return opener_end(o, SSB_E_BODY);
    }
    nonce_next(o->_nonce, &o->_subkeyed);
    o->_body_n = 0;
    return SSB_OK;
}

int ssb_open(ssb_opener *o, uint8_t *in, size_t n, size_t *used) {
    uint16_t body_n;
    if (ssbi_open_batch(o, in, n, &body_n, 1, used) == 1) return SSB_OK;
    return ssbi_open_one(o, in, n, used);
}

int ssb_open_many(ssb_opener *o, uint8_t *in, size_t n, uint16_t *bodies, size_t boxes, size_t *count, size_t *used,
                  size_t *need) {
    size_t box_n;
    *count = *used = *need = 0;
    while (*count < boxes) {
        const size_t ahead = ssbi_open_batch(o, in + *used, n - *used, bodies + *count, boxes - *count, &box_n);
        *count += ahead;
        *used += box_n;
        if (ahead > 0) continue;
        const int code = ssbi_open_one(o, in + *used, n - *used, &box_n);
        if (code == SSB_MORE) *need = box_n;
        if (code == SSB_ENDED) *used += box_n;
        if (code != SSB_OK) return code;
        bodies[(*count)++] = (uint16_t)(box_n - SSB_BOX_HEADER);
        *used += box_n;
    }
    return SSB_OK;
}

void ssb_opener_close(ssb_opener *o) { (void)opener_end(o, SSB_E_CLOSED); }
