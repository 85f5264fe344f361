/* blocks_avx2.c: eight Salsa20 or ChaCha20 blocks at once, one in each lane. */
#include "kernel.h"

#if SSBI_X86

#include <immintrin.h>

#define LANES 8
#define TARGET __attribute__((target("avx2")))
#define ADD(a, b) _mm256_add_epi32(a, b)
#define XOR(a, b) _mm256_xor_si256(a, b)
#define ROTATE(v, n) rotate(v, n)
#define SPREAD(v) _mm256_set1_epi32((int)(v))

/* n is known when this is compiled; whole bytes are moved at once. */
static inline TARGET __m256i rotate(__m256i v, int n) {
    if (n == 16)
        return _mm256_shuffle_epi8(v, _mm256_set_epi8(13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2, 13, 12, 15, 14,
                                                      9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2));
    if (n == 8)
        return _mm256_shuffle_epi8(v, _mm256_set_epi8(14, 13, 12, 15, 10, 9, 8, 11, 6, 5, 4, 7, 2, 1, 0, 3, 14, 13, 12, 15,
                                                      10, 9, 8, 11, 6, 5, 4, 7, 2, 1, 0, 3));
    return _mm256_or_si256(_mm256_slli_epi32(v, n), _mm256_srli_epi32(v, 32 - n));
}

static inline TARGET __m256i load(const uint32_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }

/* Four words of eight lanes: x[j] becomes these words of lane j, and of lane 4 + j in its upper half. */
static inline TARGET void transpose(__m256i *x) {
    const __m256i a = _mm256_unpacklo_epi32(x[0], x[1]), b = _mm256_unpackhi_epi32(x[0], x[1]);
    const __m256i c = _mm256_unpacklo_epi32(x[2], x[3]), d = _mm256_unpackhi_epi32(x[2], x[3]);
    x[0] = _mm256_unpacklo_epi64(a, c);
    x[1] = _mm256_unpackhi_epi64(a, c);
    x[2] = _mm256_unpacklo_epi64(b, d);
    x[3] = _mm256_unpackhi_epi64(b, d);
}

static inline TARGET void put(const ssb_blocks *b, size_t i, __m256i one, __m256i two) {
    const uint8_t *in = b->in[i];
    uint8_t *out = b->out[i];
    if (in != NULL) {
        one = XOR(one, _mm256_loadu_si256((const __m256i *)(const void *)in));
        two = XOR(two, _mm256_loadu_si256((const __m256i *)(const void *)(in + 32)));
    }
    _mm256_storeu_si256((__m256i *)(void *)out, one);
    _mm256_storeu_si256((__m256i *)(void *)(out + 32), two);
}

/* Words of key stream, lane by lane, become blocks: z[i] is word i of all lanes. */
static inline TARGET void put_all(__m256i *z, const ssb_blocks *b, size_t at, size_t n) {
    for (int g = 0; g < 4; g++) transpose(z + 4 * g);
    for (size_t i = 0; i < smaller(n, 4); i++)
        put(b, at + i, _mm256_permute2x128_si256(z[i], z[4 + i], 0x20),
            _mm256_permute2x128_si256(z[8 + i], z[12 + i], 0x20));
    for (size_t i = 4; i < n; i++)
        put(b, at + i, _mm256_permute2x128_si256(z[i - 4], z[i], 0x31),
            _mm256_permute2x128_si256(z[4 + i], z[8 + i], 0x31));
}

static TARGET void salsa(const __m256i *input, const ssb_blocks *b, size_t at, size_t n) {
    __m256i x[WORDS], y[WORDS], z[WORDS];
    for (int i = 0; i < WORDS; i++) x[i] = input[i];
    x[6] = y[6] = load(b->low + at);
    x[7] = y[7] = load(b->high + at);
    x[8] = y[8] = load(b->number + at);
    SALSA_ROUNDS(x)
    for (int i = 0; i < WORDS; i++) z[i] = ADD(x[i], i >= 6 && i <= 8 ? y[i] : input[i]);
    put_all(z, b, at, n);
    ssbi_wipe(z, sizeof z);
}

static TARGET void chacha(const __m256i *input, const ssb_blocks *b, size_t at, size_t n) {
    __m256i x[WORDS], y[WORDS], z[WORDS];
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

TARGET void ssbi_salsa20_avx2(const uint32_t *subkey, const ssb_blocks *blocks, size_t n) {
    __m256i input[WORDS];
    SALSA_INPUT(input, subkey);
    for (size_t at = 0; at < n; at += LANES) salsa(input, blocks, at, smaller(n - at, LANES));
    ssbi_wipe(input, sizeof input);
}

TARGET void ssbi_chacha20_avx2(const uint32_t *key, const ssb_blocks *blocks, size_t n) {
    __m256i input[WORDS];
    CHACHA_INPUT(input, key);
    for (size_t at = 0; at < n; at += LANES) chacha(input, blocks, at, smaller(n - at, LANES));
    ssbi_wipe(input, sizeof input);
}

#endif
