/* poly1305.c: Poly1305 in 64-bit arithmetic, for short messages and for tails. After Andrew Moon's poly1305-donna. */
#include "poly1305.h"

#if SSBI_KERNELS

#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LITTLE(v) (v)
#else
#define LITTLE(v) __builtin_bswap64(v)
#endif

static inline uint64_t load64_le(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return LITTLE(v);
}

static inline void store64_le(uint8_t *p, uint64_t v) {
    v = LITTLE(v);
    memcpy(p, &v, sizeof v);
}

void ssbi_poly_begin(ssbi_poly *p, const uint8_t *key) {
    const uint64_t t0 = load64_le(key), t1 = load64_le(key + 8);
    p->r[0] = t0 & 0xffc0fffffffu;
    p->r[1] = (t0 >> 44 | t1 << 20) & 0xfffffc0ffffu;
    p->r[2] = (t1 >> 24) & 0x00ffffffc0fu;
    p->h[0] = p->h[1] = p->h[2] = 0;
    p->pad[0] = load64_le(key + 16);
    p->pad[1] = load64_le(key + 24);
}

/* Limbs are passed one by one, not as arrays: compilers would put those into vectors, which is slower. */
typedef struct {
    uint64_t l0, l1, l2;
} limbs;

static inline limbs multiply(limbs a, limbs b, uint64_t b1_20, uint64_t b2_20) {
    const ssbi_u128 d0 = (ssbi_u128)a.l0 * b.l0 + (ssbi_u128)a.l1 * b2_20 + (ssbi_u128)a.l2 * b1_20;
    const ssbi_u128 d1 = (ssbi_u128)a.l0 * b.l1 + (ssbi_u128)a.l1 * b.l0 + (ssbi_u128)a.l2 * b2_20 + (uint64_t)(d0 >> 44);
    const ssbi_u128 d2 = (ssbi_u128)a.l0 * b.l2 + (ssbi_u128)a.l1 * b.l1 + (ssbi_u128)a.l2 * b.l0 + (uint64_t)(d1 >> 44);
    const uint64_t first = ((uint64_t)d0 & MASK44) + (uint64_t)(d2 >> 42) * 5;
    return (limbs){first & MASK44, ((uint64_t)d1 & MASK44) + (first >> 44), (uint64_t)d2 & MASK42};
}

static inline limbs from(const uint64_t *p) { return (limbs){p[0], p[1], p[2]}; }

void ssbi_poly_multiply(uint64_t *a, const uint64_t *b) {
    const limbs product = multiply(from(a), from(b), b[1] * 20, b[2] * 20);
    a[0] = product.l0;
    a[1] = product.l1;
    a[2] = product.l2;
}

static inline limbs add_words(limbs h, uint64_t low, uint64_t high, uint64_t top) {
    h.l0 += low & MASK44;
    h.l1 += (low >> 44 | high << 20) & MASK44;
    h.l2 += high >> 24 | top;
    return h;
}

static inline limbs add_block(limbs h, const uint8_t *m) {
    return add_words(h, load64_le(m), load64_le(m + 8), (uint64_t)1 << 40);
}

/* The last 0 < n < 16 bytes, and the one behind them. Not by way of an array whose bytes are written one by one and
 * then read at once: processors wait for that. */
static inline limbs add_last(limbs h, const uint8_t *m, size_t n) {
    uint64_t low = 0, high = 0;
    if (n >= 8) {
        low = load64_le(m);
        high = load64_le(m + n - 8) >> (8 * (15 - n)) >> 8 | (uint64_t)1 << (8 * (n - 8));
    } else {
        for (size_t i = n; i-- > 0;) low = low << 8 | m[i];
        low |= (uint64_t)1 << (8 * n);
    }
    return add_words(h, low, high, 0);
}

static inline limbs absorb(const ssbi_poly *p, const uint8_t *m, size_t n) {
    limbs r = from(p->r), h = from(p->h);
    uint64_t r1_20 = r.l1 * 20, r2_20 = r.l2 * 20;
    for (; n >= POLY_BLOCK; m += POLY_BLOCK, n -= POLY_BLOCK) h = multiply(add_block(h, m), r, r1_20, r2_20);
    if (n == 0) return h;
    h = add_last(h, m, n);
    __asm__ __volatile__("" : "+r"(p)); /* r is read anew, so that it takes no registers, and is not spilled, until here */
    r = from(p->r);
    r1_20 = r.l1 * 20;
    r2_20 = r.l2 * 20;
    return multiply(h, r, r1_20, r2_20);
}

/* The one number below 2^130 - 5. */
static inline limbs reduce(limbs h) {
    for (int i = 0; i < 2; i++) {
        h.l1 += h.l0 >> 44;
        h.l0 &= MASK44;
        h.l2 += h.l1 >> 44;
        h.l1 &= MASK44;
        h.l0 += (h.l2 >> 42) * 5;
        h.l2 &= MASK42;
    }
    h.l1 += h.l0 >> 44;
    h.l0 &= MASK44;
    const uint64_t g0 = h.l0 + 5, g1 = h.l1 + (g0 >> 44), g2 = h.l2 + (g1 >> 44) - ((uint64_t)1 << 42);
    const uint64_t keep = 0 - (g2 >> 63); /* all ones: h was below already */
    h.l0 = (h.l0 & keep) | (g0 & MASK44 & ~keep);
    h.l1 = (h.l1 & keep) | (g1 & MASK44 & ~keep);
    h.l2 = (h.l2 & keep) | (g2 & ~keep);
    return h;
}

void ssbi_poly_end(ssbi_poly *p, const uint8_t *m, size_t n, uint8_t *mac) {
    const limbs h = reduce(absorb(p, m, n));
    const uint64_t low = h.l0 | h.l1 << 44, high = h.l1 >> 20 | h.l2 << 24;
    const ssbi_u128 sum = (ssbi_u128)low + p->pad[0];
    store64_le(mac, (uint64_t)sum);
    store64_le(mac + 8, high + p->pad[1] + (uint64_t)(sum >> 64));
    ssbi_wipe(p, sizeof *p);
}

void ssbi_poly1305(const ssb_kernel *k, uint8_t *mac, const uint8_t *key, const uint8_t *m, size_t n) {
    ssbi_poly p;
    ssbi_poly_begin(&p, key);
    const size_t at = k->_absorb != NULL ? k->_absorb(&p, m, n) : 0;
    ssbi_poly_end(&p, m + at, n - at, mac);
}

/* Blocks, the last one filled up with zeros. */
static void absorb_padded(ssbi_poly *p, const uint8_t *m, size_t n) {
    uint8_t last[POLY_BLOCK] = {0};
    const size_t rest = n % POLY_BLOCK;
    limbs h = absorb(p, m, n - rest);
    p->h[0] = h.l0, p->h[1] = h.l1, p->h[2] = h.l2;
    if (rest == 0) return;
    memcpy(last, m + n - rest, rest);
    h = absorb(p, last, sizeof last);
    p->h[0] = h.l0, p->h[1] = h.l1, p->h[2] = h.l2;
}

void ssbi_poly1305_aead(const ssb_kernel *k, uint8_t *mac, const uint8_t *key, const uint8_t *ad, size_t ad_n,
                        const uint8_t *m, size_t n) {
    uint8_t lengths[POLY_BLOCK];
    ssbi_poly p;
    ssbi_poly_begin(&p, key);
    __asm__ __volatile__("" : : "r"(&p) : "memory"); /* pad is read anew at the end: else it is kept where it is not wiped */
    absorb_padded(&p, ad, ad_n);
    const size_t at = k->_absorb != NULL ? k->_absorb(&p, m, n) : 0;
    absorb_padded(&p, m + at, n - at);
    store64_le(lengths, ad_n);
    store64_le(lengths + 8, n);
    ssbi_poly_end(&p, lengths, sizeof lengths, mac);
}

#endif
