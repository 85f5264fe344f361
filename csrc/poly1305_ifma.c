/* poly1305_ifma.c: Poly1305 eight blocks at once, in limbs of 44, 44 and 42 bits, with two accumulators.
 *
 *   a = groups 0, 2, 4 …    b = groups 1, 3, 5 …    both times r^16 from group to group
 *   h = a r^8 + b           then lane by lane times the power that its block still lacks
 *
 * AVX-512 IFMA multiplies 52 by 52 bits and adds the lower or the upper half of the product. An upper half is worth
 * 2^52, that is 2^8 in the next limb of 44 bits; beyond the third limb it is 2^140 = 2^10 * 2^130, and 2^130 is 5. */
#include "poly1305.h"

#if SSBI_X86

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512ifma")))
#define GROUP (8 * POLY_BLOCK)
#define LEAST (3 * GROUP) /* below, the powers cost more than the lanes bring */

typedef struct {
    __m512i r[3];
    __m512i r20[3]; /* twenty times: what passes 2^132 */
} power;

static inline TARGET __m512i add(__m512i a, __m512i b) { return _mm512_add_epi64(a, b); }
static inline TARGET __m512i mask44(void) { return _mm512_set1_epi64((long long)MASK44); }
static inline TARGET __m512i mask42(void) { return _mm512_set1_epi64((long long)MASK42); }
static inline TARGET __m512i times5(__m512i v) { return add(v, _mm512_slli_epi64(v, 2)); }

static inline TARGET void add_group(__m512i *h, const uint8_t *m) {
    const __m512i a = _mm512_loadu_si512(m), b = _mm512_loadu_si512(m + 64);
    const __m512i low = _mm512_unpacklo_epi64(a, b), high = _mm512_unpackhi_epi64(a, b);
    const __m512i middle = _mm512_or_si512(_mm512_srli_epi64(low, 44), _mm512_slli_epi64(high, 20));
    h[0] = add(h[0], _mm512_and_si512(low, mask44()));
    h[1] = add(h[1], _mm512_and_si512(middle, mask44()));
    h[2] = add(h[2], _mm512_or_si512(_mm512_srli_epi64(high, 24), _mm512_set1_epi64(1LL << 40)));
}

#define LOW(sum, x, y) _mm512_madd52lo_epu64(sum, x, y)
#define HIGH(sum, x, y) _mm512_madd52hi_epu64(sum, x, y)

static inline TARGET void carry(__m512i *h, __m512i *low, const __m512i *high) {
    low[1] = add(add(low[1], _mm512_slli_epi64(high[0], 8)), _mm512_srli_epi64(low[0], 44));
    low[2] = add(add(low[2], _mm512_slli_epi64(high[1], 8)), _mm512_srli_epi64(low[1], 44));
    const __m512i over = add(_mm512_slli_epi64(high[2], 10), _mm512_srli_epi64(low[2], 42));
    const __m512i first = add(_mm512_and_si512(low[0], mask44()), times5(over));
    h[0] = _mm512_and_si512(first, mask44());
    h[1] = add(_mm512_and_si512(low[1], mask44()), _mm512_srli_epi64(first, 44));
    h[2] = _mm512_and_si512(low[2], mask42());
}

static inline TARGET void multiply(__m512i *h, const power *p) {
    __m512i low[3], high[3];
    for (int i = 0; i < 3; i++) {
        const __m512i *with[3] = {&p->r[i], i >= 1 ? &p->r[i - 1] : &p->r20[2], i == 2 ? &p->r[0] : &p->r20[i + 1]};
        low[i] = high[i] = _mm512_setzero_si512();
        for (int j = 0; j < 3; j++) {
            low[i] = LOW(low[i], h[j], *with[j]);
            high[i] = HIGH(high[i], h[j], *with[j]);
        }
    }
    carry(h, low, high);
}

static inline TARGET void finish_power(power *p) {
    for (int i = 0; i < 3; i++) p->r20[i] = _mm512_slli_epi64(times5(p->r[i]), 2);
}

static inline TARGET void broadcast(power *p, const uint64_t *r) {
    for (int i = 0; i < 3; i++) p->r[i] = _mm512_set1_epi64((long long)r[i]);
    finish_power(p);
}

/* Blocks are loaded in the order 0 4 1 5 2 6 3 7, and block k lacks the power 8 - k. r[i]: the power i + 1. */
static inline TARGET void by_lane(power *p, uint64_t (*r)[3]) {
    for (int i = 0; i < 3; i++)
        p->r[i] = _mm512_set_epi64((long long)r[0][i], (long long)r[4][i], (long long)r[1][i], (long long)r[5][i],
                                   (long long)r[2][i], (long long)r[6][i], (long long)r[3][i], (long long)r[7][i]);
    finish_power(p);
}

/* The sum of all lanes. */
static inline TARGET void gather(uint64_t *h, const __m512i *lanes) {
    for (int i = 0; i < 3; i++) h[i] = (uint64_t)_mm512_reduce_add_epi64(lanes[i]);
    h[1] += h[0] >> 44;
    h[0] &= MASK44;
    h[2] += h[1] >> 44;
    h[1] &= MASK44;
    h[0] += (h[2] >> 42) * 5;
    h[2] &= MASK42;
}

TARGET size_t ssbi_poly_absorb_ifma(ssbi_poly *p, const uint8_t *m, size_t n) {
    if (n < LEAST) return 0;
    uint64_t r[9][3]; /* r[i]: the power i + 1; the last one: 16 */
    power by_16, by_8, lanes;
    __m512i a[3], b[3];
    for (int i = 0; i < 3; i++) r[0][i] = p->r[i];
    for (int k = 1; k < 9; k++) { /* halves, so that the multiplications overlap */
        const int half = k == 8 ? 7 : (k - 1) / 2;
        for (int i = 0; i < 3; i++) r[k][i] = r[half][i];
        ssbi_poly_multiply(r[k], k == 8 ? r[7] : r[k - 1 - half]);
    }
    broadcast(&by_16, r[8]);
    broadcast(&by_8, r[7]);
    by_lane(&lanes, r);
    for (int i = 0; i < 3; i++) {
        a[i] = _mm512_set_epi64(0, 0, 0, 0, 0, 0, 0, (long long)p->h[i]); /* what came before: to the first block */
        b[i] = _mm512_setzero_si512();
    }
    add_group(a, m);
    add_group(b, m + GROUP);
    size_t at = 2 * GROUP;
    for (; at + 2 * GROUP <= n; at += 2 * GROUP) {
        multiply(a, &by_16);
        multiply(b, &by_16);
        add_group(a, m + at);
        add_group(b, m + at + GROUP);
    }
    multiply(a, &by_8);
    for (int i = 0; i < 3; i++) a[i] = add(a[i], b[i]);
    if (at + GROUP <= n) {
        multiply(a, &by_8);
        add_group(a, m + at);
        at += GROUP;
    }
    multiply(a, &lanes);
    gather(p->h, a);
    ssbi_wipe(r, sizeof r);
    return at;
}

#endif
