/* blocks_portable.c: Salsa20 or ChaCha20 one block at a time, in plain C. What it gains over libsodium's is the sub-key
 * that is kept, and that opening does not compute block 0 twice. */
#include "kernel.h"

#define ADD(a, b) ((a) + (b))
#define XOR(a, b) ((a) ^ (b))
#define ROTATE(v, n) ((v) << (n) | (v) >> (32 - (n)))
#define SPREAD(v) (v)

static inline void put(const uint8_t *in, uint8_t *out, uint32_t word) {
    if (in != NULL) word ^= load32_le(in);
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(word >> (8 * i));
}

static inline void put_all(const ssb_blocks *blocks, size_t at, const uint32_t *x, const uint32_t *input) {
    const uint8_t *in = blocks->in[at];
    for (int i = 0; i < WORDS; i++) put(in != NULL ? in + 4 * i : NULL, blocks->out[at] + 4 * i, x[i] + input[i]);
}

void ssbi_salsa20_portable(const uint32_t *subkey, const ssb_blocks *blocks, size_t n) {
    uint32_t input[WORDS], x[WORDS];
    SALSA_INPUT(input, subkey);
    for (size_t at = 0; at < n; at++) {
        input[6] = blocks->low[at];
        input[7] = blocks->high[at];
        input[8] = blocks->number[at];
        for (int i = 0; i < WORDS; i++) x[i] = input[i];
        SALSA_ROUNDS(x)
        put_all(blocks, at, x, input);
    }
    ssbi_wipe(x, sizeof x);
    ssbi_wipe(input, sizeof input);
}

void ssbi_chacha20_portable(const uint32_t *key, const ssb_blocks *blocks, size_t n) {
    uint32_t input[WORDS], x[WORDS];
    CHACHA_INPUT(input, key);
    for (size_t at = 0; at < n; at++) {
        input[12] = blocks->number[at];
        input[13] = blocks->first[at];
        input[14] = blocks->low[at];
        input[15] = blocks->high[at];
        for (int i = 0; i < WORDS; i++) x[i] = input[i];
        CHACHA_ROUNDS(x)
        put_all(blocks, at, x, input);
    }
    ssbi_wipe(x, sizeof x);
    ssbi_wipe(input, sizeof input);
}
