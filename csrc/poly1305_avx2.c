/* poly1305_avx2.c: Poly1305 four blocks at once, in five limbs of 26 bits, with two accumulators.
 *
 *   a = groups 0, 2, 4 …    b = groups 1, 3, 5 …    both times r^8 from group to group
 *   h = a r^4 + b           then lane by lane times r^4, r^2, r^3, r^1, which is the order in which blocks are loaded */
#include "poly1305.h"

#if SSBI_X86

#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define GROUP (4 * POLY_BLOCK)
#define LEAST (5 * GROUP) /* below, the powers cost more than the lanes bring */
#define LIMBS 5
#define MASK26 0x3ffffffu

typedef struct {
    __m256i r[LIMBS], r5[LIMBS]; /* r5: five times, for what passes 2^130 */
} power;

static inline TARGET __m256i mask(void) { return _mm256_set1_epi64x(MASK26); }
static inline TARGET __m256i mul(__m256i a, __m256i b) { return _mm256_mul_epu32(a, b); }
static inline TARGET __m256i add(__m256i a, __m256i b) { return _mm256_add_epi64(a, b); }

static inline TARGET void add_group(__m256i *h, const uint8_t *m) {
    const __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)m);
    const __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(m + 32));
    const __m256i low = _mm256_unpacklo_epi64(a, b), high = _mm256_unpackhi_epi64(a, b);
    const __m256i middle = _mm256_or_si256(_mm256_srli_epi64(low, 52), _mm256_slli_epi64(high, 12));
    h[0] = add(h[0], _mm256_and_si256(low, mask()));
    h[1] = add(h[1], _mm256_and_si256(_mm256_srli_epi64(low, 26), mask()));
    h[2] = add(h[2], _mm256_and_si256(middle, mask()));
    h[3] = add(h[3], _mm256_and_si256(_mm256_srli_epi64(high, 14), mask()));
    h[4] = add(h[4], _mm256_or_si256(_mm256_srli_epi64(high, 40), _mm256_set1_epi64x(1 << 24)));
}

static inline TARGET void carry(__m256i *d, int from, int to) {
    const __m256i over = _mm256_srli_epi64(d[from], 26);
    d[from] = _mm256_and_si256(d[from], mask());
    d[to] = add(d[to], to == 0 ? add(over, _mm256_slli_epi64(over, 2)) : over);
}

static inline TARGET void multiply(__m256i *h, const power *p) {
    __m256i d[LIMBS];
    for (int i = 0; i < LIMBS; i++) {
        d[i] = mul(h[0], p->r[i]);
        for (int j = 1; j < LIMBS; j++) d[i] = add(d[i], mul(h[j], j <= i ? p->r[i - j] : p->r5[LIMBS + i - j]));
    }
    carry(d, 0, 1);
    carry(d, 3, 4);
    carry(d, 1, 2);
    carry(d, 4, 0);
    carry(d, 2, 3);
    carry(d, 0, 1);
    carry(d, 3, 4);
    for (int i = 0; i < LIMBS; i++) h[i] = d[i];
}

/* From 44, 44 and 42 bits. */
static inline void split(uint64_t *limb, const uint64_t *r) {
    const uint64_t t1 = r[1] & MASK44, t2 = r[2] + (r[1] >> 44);
    limb[0] = r[0] & MASK26;
    limb[1] = (r[0] >> 26 | t1 << 18) & MASK26;
    limb[2] = t1 >> 8 & MASK26;
    limb[3] = (t1 >> 34 | t2 << 10) & MASK26;
    limb[4] = t2 >> 16;
}

/* Four powers, one for each lane. */
static inline TARGET void spread(power *p, const uint64_t *l0, const uint64_t *l1, const uint64_t *l2,
                                 const uint64_t *l3) {
    for (int i = 0; i < LIMBS; i++) {
        p->r[i] = _mm256_set_epi64x((long long)l3[i], (long long)l2[i], (long long)l1[i], (long long)l0[i]);
        p->r5[i] = add(p->r[i], _mm256_slli_epi64(p->r[i], 2));
    }
}

/* The sum of all lanes, back in 44, 44 and 42 bits. */
static TARGET void gather(uint64_t *h, const __m256i *lanes) {
    uint64_t limb[LIMBS];
    for (int i = 0; i < LIMBS; i++) {
        uint64_t each[4];
        _mm256_storeu_si256((__m256i *)(void *)each, lanes[i]);
        limb[i] = each[0] + each[1] + each[2] + each[3];
    }
    ssbi_u128 t = (ssbi_u128)limb[0] + ((ssbi_u128)limb[1] << 26) + ((ssbi_u128)limb[2] << 52) +
                  ((ssbi_u128)limb[3] << 78);
    h[0] = (uint64_t)t & MASK44;
    t = (t >> 44) + ((ssbi_u128)limb[4] << 60);
    h[1] = (uint64_t)t & MASK44;
    t >>= 44;
    h[2] = (uint64_t)t & MASK42;
    h[0] += (uint64_t)(t >> 42) * 5;
    h[1] += h[0] >> 44;
    h[0] &= MASK44;
}

TARGET size_t ssbi_poly_absorb_avx2(ssbi_poly *p, const uint8_t *m, size_t n) {
    if (n < LEAST) return 0;
    uint64_t r[5][3], limb[5][LIMBS]; /* r[i]: the power i + 1; the last one: 8 */
    power by_8, by_4, by_lane;
    __m256i a[LIMBS], b[LIMBS];
    for (int i = 0; i < 3; i++) r[0][i] = p->r[i];
    for (int k = 1; k < 5; k++) {
        for (int i = 0; i < 3; i++) r[k][i] = r[k == 1 ? 0 : k == 4 ? 3 : 1][i];
        ssbi_poly_multiply(r[k], r[k == 4 ? 3 : k == 3 ? 1 : 0]);
    }
    for (int k = 0; k < 5; k++) split(limb[k], r[k]);
    spread(&by_8, limb[4], limb[4], limb[4], limb[4]);
    spread(&by_4, limb[3], limb[3], limb[3], limb[3]);
    spread(&by_lane, limb[3], limb[1], limb[2], limb[0]);
    split(limb[0], p->h); /* what came before is added to the first block */
    for (int i = 0; i < LIMBS; i++) {
        a[i] = _mm256_set_epi64x(0, 0, 0, (long long)limb[0][i]);
        b[i] = _mm256_setzero_si256();
    }
    add_group(a, m);
    add_group(b, m + GROUP);
    size_t at = 2 * GROUP;
    for (; at + 2 * GROUP <= n; at += 2 * GROUP) {
        multiply(a, &by_8);
        multiply(b, &by_8);
        add_group(a, m + at);
        add_group(b, m + at + GROUP);
    }
    multiply(a, &by_4);
    for (int i = 0; i < LIMBS; i++) a[i] = add(a[i], b[i]);
    if (at + GROUP <= n) {
        multiply(a, &by_4);
        add_group(a, m + at);
        at += GROUP;
    }
    multiply(a, &by_lane);
    gather(p->h, a);
    ssbi_wipe(r, sizeof r);
    ssbi_wipe(limb, sizeof limb);
    return at;
}

#endif
