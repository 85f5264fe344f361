/* blocks_avx512.c: sixteen Salsa20 or ChaCha20 blocks at once, one in each lane. */
#include "kernel.h"

#if SSBI_X86

#include <immintrin.h>

#define LANES 16
#define TARGET __attribute__((target("avx512f")))
#define ADD(a, b) _mm512_add_epi32(a, b)
#define XOR(a, b) _mm512_xor_si512(a, b)
#define ROTATE(v, n) _mm512_rol_epi32(v, n)
#define SPREAD(v) _mm512_set1_epi32((int)(v))
#define EVEN 0x88 /* quarters 0 and 2 of both */
#define ODD 0xdd  /* quarters 1 and 3 */

/* Four words of sixteen lanes: quarter k of x[j] becomes these words of lane 4k + j. */
static inline TARGET void transpose(__m512i *x) {
    const __m512i a = _mm512_unpacklo_epi32(x[0], x[1]), b = _mm512_unpackhi_epi32(x[0], x[1]);
    const __m512i c = _mm512_unpacklo_epi32(x[2], x[3]), d = _mm512_unpackhi_epi32(x[2], x[3]);
    x[0] = _mm512_unpacklo_epi64(a, c);
    x[1] = _mm512_unpackhi_epi64(a, c);
    x[2] = _mm512_unpacklo_epi64(b, d);
    x[3] = _mm512_unpackhi_epi64(b, d);
}

static inline TARGET void put(const ssb_blocks *b, size_t i, size_t n, __m512i stream) {
    if (i >= n) return;
    if (b->in[i] != NULL) stream = XOR(stream, _mm512_loadu_si512(b->in[i]));
    _mm512_storeu_si512(b->out[i], stream);
}

/* Lanes j, 4 + j, 8 + j and 12 + j: their quarters come together. */
static inline TARGET void put_four(const __m512i *x, size_t j, const ssb_blocks *blocks, size_t at, size_t n) {
    const __m512i a = _mm512_shuffle_i32x4(x[j], x[4 + j], EVEN), b = _mm512_shuffle_i32x4(x[j], x[4 + j], ODD);
    const __m512i c = _mm512_shuffle_i32x4(x[8 + j], x[12 + j], EVEN);
    const __m512i d = _mm512_shuffle_i32x4(x[8 + j], x[12 + j], ODD);
    put(blocks, at + j, n, _mm512_shuffle_i32x4(a, c, EVEN));
    put(blocks, at + 4 + j, n, _mm512_shuffle_i32x4(b, d, EVEN));
    put(blocks, at + 8 + j, n, _mm512_shuffle_i32x4(a, c, ODD));
    put(blocks, at + 12 + j, n, _mm512_shuffle_i32x4(b, d, ODD));
}

/* Words of key stream, lane by lane, become blocks: z[i] is word i of all lanes. Inlined, they stay in registers. */
static inline __attribute__((always_inline)) TARGET void put_all(__m512i *z, const ssb_blocks *b, size_t at, size_t n) {
    for (int g = 0; g < 4; g++) transpose(z + 4 * g);
    for (size_t j = 0; j < 4; j++) put_four(z, j, b, at, at + n);
}

static TARGET void salsa(const __m512i *input, const ssb_blocks *b, size_t at, size_t n) {
    __m512i x[WORDS], y[WORDS];
    for (int i = 0; i < WORDS; i++) x[i] = input[i];
    x[6] = y[6] = _mm512_loadu_si512(b->low + at);
    x[7] = y[7] = _mm512_loadu_si512(b->high + at);
    x[8] = y[8] = _mm512_loadu_si512(b->number + at);
    SALSA_ROUNDS(x)
    for (int i = 0; i < WORDS; i++) x[i] = ADD(x[i], i >= 6 && i <= 8 ? y[i] : input[i]);
    put_all(x, b, at, n);
}

static TARGET void chacha(const __m512i *input, const ssb_blocks *b, size_t at, size_t n) {
    __m512i x[WORDS], y[WORDS];
    for (int i = 0; i < WORDS; i++) x[i] = input[i];
    x[12] = y[12] = _mm512_loadu_si512(b->number + at);
    x[13] = y[13] = _mm512_loadu_si512(b->first + at);
    x[14] = y[14] = _mm512_loadu_si512(b->low + at);
    x[15] = y[15] = _mm512_loadu_si512(b->high + at);
    CHACHA_ROUNDS(x)
    for (int i = 0; i < WORDS; i++) x[i] = ADD(x[i], i >= 12 ? y[i] : input[i]);
    put_all(x, b, at, n);
}

TARGET void ssbi_salsa20_avx512(const uint32_t *subkey, const ssb_blocks *blocks, size_t n) {
    __m512i input[WORDS];
    SALSA_INPUT(input, subkey);
    for (size_t at = 0; at < n; at += LANES) salsa(input, blocks, at, smaller(n - at, LANES));
    ssbi_wipe(input, sizeof input);
}

TARGET void ssbi_chacha20_avx512(const uint32_t *key, const ssb_blocks *blocks, size_t n) {
    __m512i input[WORDS];
    CHACHA_INPUT(input, key);
    for (size_t at = 0; at < n; at += LANES) chacha(input, blocks, at, smaller(n - at, LANES));
    ssbi_wipe(input, sizeof input);
}

#endif
