/* blocks_neon.c: four Salsa20 or ChaCha20 blocks at once, one in each lane. NEON is part of arm64. */
#include "kernel.h"

#if SSBI_NEON

#include <arm_neon.h>

#define LANES 4
#define ADD(a, b) vaddq_u32(a, b)
#define XOR(a, b) veorq_u32(a, b)
#define ROTATE(v, n) vsriq_n_u32(vshlq_n_u32(v, n), v, 32 - (n))
#define SPREAD(v) vdupq_n_u32(v)

static inline uint32x4_t low_halves(uint32x4_t a, uint32x4_t b) {
    return vreinterpretq_u32_u64(vtrn1q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)));
}

static inline uint32x4_t high_halves(uint32x4_t a, uint32x4_t b) {
    return vreinterpretq_u32_u64(vtrn2q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)));
}

/* Four words of four lanes: rows become columns. */
static inline void transpose(uint32x4_t *x) {
    const uint32x4_t a = vtrn1q_u32(x[0], x[1]), b = vtrn2q_u32(x[0], x[1]);
    const uint32x4_t c = vtrn1q_u32(x[2], x[3]), d = vtrn2q_u32(x[2], x[3]);
    x[0] = low_halves(a, c);
    x[1] = low_halves(b, d);
    x[2] = high_halves(a, c);
    x[3] = high_halves(b, d);
}

static inline void put(const uint8_t *in, uint8_t *out, uint32x4_t words) {
    uint8x16_t stream = vreinterpretq_u8_u32(words);
    if (in != NULL) stream = veorq_u8(stream, vld1q_u8(in));
    vst1q_u8(out, stream);
}

/* Words of key stream, lane by lane, become blocks: z[i] is word i of all lanes. */
static inline void put_all(uint32x4_t *z, const ssb_blocks *b, size_t at, size_t n) {
    for (int g = 0; g < 4; g++) transpose(z + 4 * g);
    for (size_t i = 0; i < n; i++)
        for (size_t g = 0; g < 4; g++) {
            const uint8_t *in = b->in[at + i];
            put(in != NULL ? in + 16 * g : NULL, b->out[at + i] + 16 * g, z[4 * g + i]);
        }
}

static void salsa(const uint32x4_t *input, const ssb_blocks *b, size_t at, size_t n) {
    uint32x4_t x[WORDS], y[WORDS], z[WORDS];
    for (int i = 0; i < WORDS; i++) x[i] = input[i];
    x[6] = y[6] = vld1q_u32(b->low + at);
    x[7] = y[7] = vld1q_u32(b->high + at);
    x[8] = y[8] = vld1q_u32(b->number + at);
    SALSA_ROUNDS(x)
    for (int i = 0; i < WORDS; i++) z[i] = ADD(x[i], i >= 6 && i <= 8 ? y[i] : input[i]);
    put_all(z, b, at, n);
    ssbi_wipe(z, sizeof z);
}

static void chacha(const uint32x4_t *input, const ssb_blocks *b, size_t at, size_t n) {
    uint32x4_t x[WORDS], y[WORDS], z[WORDS];
    for (int i = 0; i < WORDS; i++) x[i] = input[i];
    x[12] = y[12] = vld1q_u32(b->number + at);
    x[13] = y[13] = vld1q_u32(b->first + at);
    x[14] = y[14] = vld1q_u32(b->low + at);
    x[15] = y[15] = vld1q_u32(b->high + at);
    CHACHA_ROUNDS(x)
    for (int i = 0; i < WORDS; i++) z[i] = ADD(x[i], i >= 12 ? y[i] : input[i]);
    put_all(z, b, at, n);
    ssbi_wipe(z, sizeof z);
}

void ssbi_salsa20_neon(const uint32_t *subkey, const ssb_blocks *blocks, size_t n) {
    uint32x4_t input[WORDS];
    SALSA_INPUT(input, subkey);
    for (size_t at = 0; at < n; at += LANES) salsa(input, blocks, at, smaller(n - at, LANES));
    ssbi_wipe(input, sizeof input);
}

void ssbi_chacha20_neon(const uint32_t *key, const ssb_blocks *blocks, size_t n) {
    uint32x4_t input[WORDS];
    CHACHA_INPUT(input, key);
    for (size_t at = 0; at < n; at += LANES) chacha(input, blocks, at, smaller(n - at, LANES));
    ssbi_wipe(input, sizeof input);
}

#endif
