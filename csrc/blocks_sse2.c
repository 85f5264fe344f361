/* blocks_sse2.c: four Salsa20 or ChaCha20 blocks at once, one in each lane. SSE2 is part of x86-64. */
#include "kernel.h"

#if SSBI_X86

#include <immintrin.h>

#define LANES 4
#define TARGET __attribute__((target("sse2")))
#define ADD(a, b) _mm_add_epi32(a, b)
#define XOR(a, b) _mm_xor_si128(a, b)
#define ROTATE(v, n) rotate(v, n)
#define SPREAD(v) _mm_set1_epi32((int)(v))

/* n is known when this is compiled. */
static inline TARGET __m128i rotate(__m128i v, int n) {
    if (n == 16) return _mm_shufflehi_epi16(_mm_shufflelo_epi16(v, 0xb1), 0xb1);
    return _mm_or_si128(_mm_slli_epi32(v, n), _mm_srli_epi32(v, 32 - n));
}

static inline TARGET __m128i load(const uint32_t *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }

/* Four words of four lanes: rows become columns. */
static inline TARGET void transpose(__m128i *x) {
    const __m128i a = _mm_unpacklo_epi32(x[0], x[1]), b = _mm_unpackhi_epi32(x[0], x[1]);
    const __m128i c = _mm_unpacklo_epi32(x[2], x[3]), d = _mm_unpackhi_epi32(x[2], x[3]);
    x[0] = _mm_unpacklo_epi64(a, c);
    x[1] = _mm_unpackhi_epi64(a, c);
    x[2] = _mm_unpacklo_epi64(b, d);
    x[3] = _mm_unpackhi_epi64(b, d);
}

static inline TARGET void put(const uint8_t *in, uint8_t *out, __m128i stream) {
    if (in != NULL) stream = XOR(stream, _mm_loadu_si128((const __m128i *)(const void *)in));
    _mm_storeu_si128((__m128i *)(void *)out, stream);
}

/* Words of key stream, lane by lane, become blocks: z[i] is word i of all lanes. */
static inline TARGET void put_all(__m128i *z, const ssb_blocks *b, size_t at, size_t n) {
    for (int g = 0; g < 4; g++) transpose(z + 4 * g);
    for (size_t i = 0; i < n; i++)
        for (size_t g = 0; g < 4; g++) {
            const uint8_t *in = b->in[at + i];
            put(in != NULL ? in + 16 * g : NULL, b->out[at + i] + 16 * g, z[4 * g + i]);
        }
}

static TARGET void salsa(const __m128i *input, const ssb_blocks *b, size_t at, size_t n) {
    __m128i x[WORDS], y[WORDS], z[WORDS];
    for (int i = 0; i < WORDS; i++) x[i] = input[i];
    x[6] = y[6] = load(b->low + at);
    x[7] = y[7] = load(b->high + at);
    x[8] = y[8] = load(b->number + at);
    SALSA_ROUNDS(x)
    for (int i = 0; i < WORDS; i++) z[i] = ADD(x[i], i >= 6 && i <= 8 ? y[i] : input[i]);
    put_all(z, b, at, n);
    ssbi_wipe(z, sizeof z);
}

static TARGET void chacha(const __m128i *input, const ssb_blocks *b, size_t at, size_t n) {
    __m128i x[WORDS], y[WORDS], z[WORDS];
    for (int i = 0; i < WORDS; i++) x[i] = input[i];
    x[12] = y[12] = load(b->number + at);
    x[13] = y[13] = load(b->first + at);
    x[14] = y[14] = load(b->low + at);
    x[15] = y[15] = load(b->high + at);
    CHACHA_ROUNDS(x)
    for (int i = 0; i < WORDS; i++) z[i] = ADD(x[i], i >= 12 ? y[i] : input[i]);
    put_all(z, b, at, n);
    ssbi_wipe(z, sizeof z);
}

TARGET void ssbi_salsa20_sse2(const uint32_t *subkey, const ssb_blocks *blocks, size_t n) {
    __m128i input[WORDS];
    SALSA_INPUT(input, subkey);
    for (size_t at = 0; at < n; at += LANES) salsa(input, blocks, at, smaller(n - at, LANES));
    ssbi_wipe(input, sizeof input);
}

TARGET void ssbi_chacha20_sse2(const uint32_t *key, const ssb_blocks *blocks, size_t n) {
    __m128i input[WORDS];
    CHACHA_INPUT(input, key);
    for (size_t at = 0; at < n; at += LANES) chacha(input, blocks, at, smaller(n - at, LANES));
    ssbi_wipe(input, sizeof input);
}

#endif
