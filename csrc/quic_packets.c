/* quic_packets.c: protection of many packets at once. All ChaCha20 blocks of a batch go through the kernel's lanes side by
 * side; then come the tags, packet by packet; then the masks of all headers, in one sweep.
 *
 *   packet  block 0 = key of the tag(32) | not used(32);  block i covers text[64 i - 64 .. 64 i)
 *   header  mask = the first 5 bytes of a block whose number and nonce are the 16 bytes of the sample
 *
 * A packet is opened only after its tag was verified, so that one that is not good can be tried with other keys. */
#include "quic_packets.h"

#include "block_list.h"

#include <string.h>

#define MASKED_BITS 0x1fu
#define NUMBER_BITS 0x03u

/* Word by word: compilers would leave a copy of a key behind that they have loaded as a whole. */
static void load_words(uint32_t *words, const uint8_t *key) {
    volatile uint32_t *out = words;
    for (int i = 0; i < 8; i++) out[i] = load32_le(key + 4 * i);
}

void ssbi_quic_set_key(ssbi_quic_keys *k, const uint8_t *key, const uint8_t *iv) {
    memcpy(k->_key, key, sizeof k->_key);
    memcpy(k->_iv, iv, sizeof k->_iv);
    load_words(k->_words, key);
}

void ssbi_quic_set_hp(ssbi_quic_keys *k, const uint8_t *hp) { load_words(k->_hp, hp); }

/* ---------------------------------------------------------------- header */

static size_t number_n(const ssbi_quic_packet *p) { return (p->at[0] & NUMBER_BITS) + 1u; }

/* The masks of up to SSBI_BATCH headers, whose packet numbers begin at number_at[i]. */
static void make_masks(const ssbi_quic_keys *k, const ssbi_quic_packet *p, const uint32_t *number_at, size_t count,
                       uint8_t (*masks)[BLOCK]) {
    const ssb_kernel *kernel = k->_aead->kernel;
    ssbi_block_list list;
    ssbi_list_init(&list, kernel != NULL ? kernel->_chacha : ssbi_chacha20_portable, ssbi_chacha20_portable,
                   kernel != NULL ? kernel->_lanes : 1, k->_hp);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *sample = p[i].at + number_at[i] + SSBI_QUIC_NUMBER;
        const uint32_t nonce[3] = {load32_le(sample + 4), load32_le(sample + 8), load32_le(sample + 12)};
        ssbi_list_add(&list, nonce, load32_le(sample), NULL, masks[i]);
    }
    ssbi_list_run(&list);
}

static void mask_headers(const ssbi_quic_keys *k, const ssbi_quic_packet *p, size_t count) {
    uint8_t masks[SSBI_BATCH][BLOCK];
    uint32_t number_at[SSBI_BATCH] = {0};
    for (size_t i = 0; i < count; i++) number_at[i] = p[i].head_n - (uint32_t)number_n(&p[i]);
    make_masks(k, p, number_at, count, masks);
    for (size_t i = 0; i < count; i++) {
        const size_t n = number_n(&p[i]);
        p[i].at[0] ^= masks[i][0] & MASKED_BITS;
        ssbi_cover(p[i].at + number_at[i], p[i].at + number_at[i], masks[i] + 1, n);
    }
    k->_aead->wipe(masks, count * sizeof masks[0]);
}

void ssbi_quic_unmask(const ssbi_quic_keys *k, ssbi_quic_packet *packets, size_t count, size_t number_at) {
    uint8_t masks[SSBI_BATCH][BLOCK];
    uint32_t places[SSBI_BATCH];
    for (size_t i = 0; i < SSBI_BATCH; i++) places[i] = (uint32_t)number_at;
    for (size_t some; count > 0; packets += some, count -= some) {
        some = smaller(count, SSBI_BATCH);
        make_masks(k, packets, places, some, masks);
        SSBI_KNOWN(masks, sizeof masks); /* what the header says shows on the wire */
        for (size_t i = 0; i < some; i++) {
            ssbi_quic_packet *p = &packets[i];
            p->at[0] ^= masks[i][0] & MASKED_BITS;
            const size_t n = number_n(p);
            ssbi_cover(p->at + number_at, p->at + number_at, masks[i] + 1, n);
            p->head_n = (uint32_t)(number_at + n);
        }
    }
    k->_aead->wipe(masks, sizeof masks);
}

/* ---------------------------------------------------------------- text, by libsodium */

static size_t text_n(const ssbi_quic_packet *p) { return p->n - p->head_n - SSBI_QUIC_TAG; }

static void make_nonce(uint8_t *nonce, const ssbi_quic_keys *k, uint64_t number) {
    memcpy(nonce, k->_iv, SSBI_QUIC_IV);
    for (int i = 0; i < 8; i++) nonce[4 + i] ^= (uint8_t)(number >> (56 - 8 * i));
}

static void seal_each(const ssbi_quic_keys *k, const ssbi_quic_packet *p, size_t count) {
    uint8_t nonce[SSBI_QUIC_IV];
    for (size_t i = 0; i < count; i++) {
        uint8_t *text = p[i].at + p[i].head_n;
        make_nonce(nonce, k, p[i].number);
        (void)k->_aead->seal(text, NULL, text, text_n(&p[i]), p[i].at, p[i].head_n, NULL, nonce, k->_key);
    }
    k->_aead->wipe(nonce, sizeof nonce);
}

/* To verify comes first, without a place for the text: libsodium clears that if the packet is not good. */
static void open_each(const ssbi_quic_keys *k, ssbi_quic_packet *p, size_t count) {
    uint8_t nonce[SSBI_QUIC_IV];
    for (size_t i = 0; i < count; i++) {
        uint8_t *text = p[i].at + p[i].head_n;
        const size_t n = text_n(&p[i]) + SSBI_QUIC_TAG;
        make_nonce(nonce, k, p[i].number);
        p[i].good = k->_aead->open(NULL, NULL, NULL, text, n, p[i].at, p[i].head_n, nonce, k->_key) == 0;
        if (p[i].good) (void)k->_aead->open(text, NULL, NULL, text, n, p[i].at, p[i].head_n, nonce, k->_key);
    }
    k->_aead->wipe(nonce, sizeof nonce);
}

/* ---------------------------------------------------------------- text, by a kernel */

#if SSBI_KERNELS

typedef struct { /* key stream of one packet */
    uint8_t first[BLOCK];
    uint8_t tail[BLOCK];
} covers;

static void nonce_words(uint32_t *words, const ssbi_quic_keys *k, uint64_t number) {
    uint8_t nonce[SSBI_QUIC_IV];
    make_nonce(nonce, k, number);
    for (int i = 0; i < 3; i++) words[i] = load32_le(nonce + 4 * i);
}

static void want_first(ssbi_block_list *l, const ssbi_quic_keys *k, const ssbi_quic_packet *p, covers *c) {
    uint32_t nonce[3];
    nonce_words(nonce, k, p->number);
    ssbi_list_add(l, nonce, 0, NULL, c->first);
}

static void want_text(ssbi_block_list *l, const ssbi_quic_keys *k, const ssbi_quic_packet *p, covers *c) {
    uint8_t *text = p->at + p->head_n;
    const size_t n = text_n(p);
    uint32_t nonce[3], number = 1;
    size_t at = 0;
    nonce_words(nonce, k, p->number);
    for (; at + BLOCK <= n; at += BLOCK) ssbi_list_add(l, nonce, number++, text + at, text + at);
    if (at < n) ssbi_list_add(l, nonce, number, NULL, c->tail);
}

static void cover_tail(const ssbi_quic_packet *p, const covers *c) {
    const size_t left = text_n(p) % BLOCK;
    uint8_t *tail = p->at + p->n - SSBI_QUIC_TAG - left;
    ssbi_cover(tail, tail, c->tail, left);
}

static void make_tag(const ssbi_quic_keys *k, const ssbi_quic_packet *p, const covers *c, uint8_t *tag) {
    ssbi_poly1305_aead(k->_aead->kernel, tag, c->first, p->at, p->head_n, p->at + p->head_n, text_n(p));
}

static void begin(ssbi_block_list *l, const ssbi_quic_keys *k) {
    const ssb_kernel *kernel = k->_aead->kernel;
    ssbi_list_init(l, kernel->_chacha, ssbi_chacha20_portable, kernel->_lanes, k->_words);
}

static void seal_batch(const ssbi_quic_keys *k, const ssbi_quic_packet *p, size_t count) {
    covers c[SSBI_BATCH];
    ssbi_block_list list;
    begin(&list, k);
    for (size_t i = 0; i < count; i++) {
        want_first(&list, k, &p[i], &c[i]);
        want_text(&list, k, &p[i], &c[i]);
    }
    ssbi_list_run(&list);
    for (size_t i = 0; i < count; i++) {
        cover_tail(&p[i], &c[i]);
        make_tag(k, &p[i], &c[i], p[i].at + p[i].n - SSBI_QUIC_TAG);
    }
    k->_aead->wipe(c, count * sizeof c[0]);
}

static void open_batch(const ssbi_quic_keys *k, ssbi_quic_packet *p, size_t count) {
    covers c[SSBI_BATCH];
    uint8_t tag[SSBI_QUIC_TAG];
    ssbi_block_list list;
    begin(&list, k);
    for (size_t i = 0; i < count; i++) want_first(&list, k, &p[i], &c[i]);
    ssbi_list_run(&list);
    for (size_t i = 0; i < count; i++) {
        make_tag(k, &p[i], &c[i], tag);
        p[i].good = !ssbi_macs_differ(tag, p[i].at + p[i].n - SSBI_QUIC_TAG);
        if (p[i].good) want_text(&list, k, &p[i], &c[i]);
    }
    ssbi_list_run(&list);
    for (size_t i = 0; i < count; i++)
        if (p[i].good) cover_tail(&p[i], &c[i]);
    k->_aead->wipe(c, count * sizeof c[0]);
}

#else
#define seal_batch seal_each
#define open_batch open_each
#endif

/* Whether the kernel is faster than libsodium, whatever the length. */
static int by_kernel(const ssbi_quic_keys *k) {
    return k->_aead->kernel != NULL && k->_aead->kernel->_longest == UINT16_MAX;
}

void ssbi_quic_seal(const ssbi_quic_keys *k, const ssbi_quic_packet *packets, size_t count) {
    for (size_t some; count > 0; packets += some, count -= some) {
        some = smaller(count, SSBI_BATCH);
        (by_kernel(k) ? seal_batch : seal_each)(k, packets, some);
        mask_headers(k, packets, some);
    }
}

void ssbi_quic_open(const ssbi_quic_keys *k, ssbi_quic_packet *packets, size_t count) {
    for (size_t some; count > 0; packets += some, count -= some) {
        some = smaller(count, SSBI_BATCH);
        (by_kernel(k) ? open_batch : open_each)(k, packets, some);
    }
}
