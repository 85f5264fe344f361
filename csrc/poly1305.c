/* poly1305.c: Poly1305 in 64-bit arithmetic, for short messages and for tails. After Andrew Moon's poly1305-donna. */
#include "poly1305.h"

#if SSBI_KERNELS

#include <string.h>

static uint64_t load64_le(const uint8_t *p) { return (uint64_t)load32_le(p + 4) << 32 | load32_le(p); }

static void store64_le(uint8_t *p, uint64_t v) {
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)(v >> (8 * i));
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

static inline void multiply(uint64_t *a, const uint64_t *b, uint64_t b1_20, uint64_t b2_20) {
    ssbi_u128 d0 = (ssbi_u128)a[0] * b[0] + (ssbi_u128)a[1] * b2_20 + (ssbi_u128)a[2] * b1_20;
    ssbi_u128 d1 = (ssbi_u128)a[0] * b[1] + (ssbi_u128)a[1] * b[0] + (ssbi_u128)a[2] * b2_20;
    ssbi_u128 d2 = (ssbi_u128)a[0] * b[2] + (ssbi_u128)a[1] * b[1] + (ssbi_u128)a[2] * b[0];
    d1 += (uint64_t)(d0 >> 44);
    d2 += (uint64_t)(d1 >> 44);
    a[0] = ((uint64_t)d0 & MASK44) + (uint64_t)(d2 >> 42) * 5;
    a[1] = ((uint64_t)d1 & MASK44) + (a[0] >> 44);
    a[0] &= MASK44;
    a[2] = (uint64_t)d2 & MASK42;
}

void ssbi_poly_multiply(uint64_t *a, const uint64_t *b) { multiply(a, b, b[1] * 20, b[2] * 20); }

static inline void add_block(uint64_t *h, const uint8_t *m, uint64_t high) {
    const uint64_t t0 = load64_le(m), t1 = load64_le(m + 8);
    h[0] += t0 & MASK44;
    h[1] += (t0 >> 44 | t1 << 20) & MASK44;
    h[2] += (t1 >> 24 & MASK42) | high;
}

static void absorb(ssbi_poly *p, const uint8_t *m, size_t n) {
    const uint64_t r1_20 = p->r[1] * 20, r2_20 = p->r[2] * 20;
    uint64_t h[3] = {p->h[0], p->h[1], p->h[2]};
    for (; n >= POLY_BLOCK; m += POLY_BLOCK, n -= POLY_BLOCK) {
        add_block(h, m, (uint64_t)1 << 40);
        multiply(h, p->r, r1_20, r2_20);
    }
    if (n > 0) {
        uint8_t last[POLY_BLOCK] = {0};
        memcpy(last, m, n);
        last[n] = 1;
        add_block(h, last, 0);
        multiply(h, p->r, r1_20, r2_20);
    }
    memcpy(p->h, h, sizeof h);
}

/* The one number below 2^130 - 5. */
static void reduce(uint64_t *h) {
    for (int i = 0; i < 2; i++) {
        h[1] += h[0] >> 44;
        h[0] &= MASK44;
        h[2] += h[1] >> 44;
        h[1] &= MASK44;
        h[0] += (h[2] >> 42) * 5;
        h[2] &= MASK42;
    }
    h[1] += h[0] >> 44;
    h[0] &= MASK44;
    uint64_t g0 = h[0] + 5, g1 = h[1] + (g0 >> 44), g2 = h[2] + (g1 >> 44) - ((uint64_t)1 << 42);
    const uint64_t keep = 0 - (g2 >> 63); /* all ones: h was below already */
    h[0] = (h[0] & keep) | (g0 & MASK44 & ~keep);
    h[1] = (h[1] & keep) | (g1 & MASK44 & ~keep);
    h[2] = (h[2] & keep) | (g2 & ~keep);
}

void ssbi_poly_end(ssbi_poly *p, const uint8_t *m, size_t n, uint8_t *mac) {
    absorb(p, m, n);
    reduce(p->h);
    const uint64_t low = p->h[0] | p->h[1] << 44, high = p->h[1] >> 20 | p->h[2] << 24;
    const ssbi_u128 sum = (ssbi_u128)low + p->pad[0];
    store64_le(mac, (uint64_t)sum);
    store64_le(mac + 8, high + p->pad[1] + (uint64_t)(sum >> 64));
    ssbi_wipe(p, sizeof *p);
}

void ssbi_poly1305(uint8_t *mac, const uint8_t *key, const uint8_t *m, size_t n) {
    ssbi_poly p;
    ssbi_poly_begin(&p, key);
    ssbi_poly_end(&p, m, n, mac);
}

#endif
