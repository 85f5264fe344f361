/* salsa20_portable.c: Salsa20 one block at a time, in plain C. What it gains over libsodium's is the sub-key that is
 * kept, and that opening does not compute block 0 twice. */
#include "kernel.h"

#define ADD(a, b) ((a) + (b))
#define XOR(a, b) ((a) ^ (b))
#define ROTATE(v, n) ((v) << (n) | (v) >> (32 - (n)))
#define SPREAD(v) (v)

static inline void put(const uint8_t *in, uint8_t *out, uint32_t word) {
    if (in != NULL) word ^= load32_le(in);
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(word >> (8 * i));
}

void ssbi_salsa20_portable(const uint32_t *subkey, const ssb_blocks *blocks, size_t n) {
    uint32_t input[SALSA_WORDS], x[SALSA_WORDS];
    SALSA_INPUT(input, subkey);
    for (size_t at = 0; at < n; at++) {
        const uint8_t *in = blocks->in[at];
        input[6] = blocks->low[at];
        input[7] = blocks->high[at];
        input[8] = blocks->number[at];
        for (int i = 0; i < SALSA_WORDS; i++) x[i] = input[i];
        SALSA_ROUNDS(x)
        for (int i = 0; i < SALSA_WORDS; i++)
            put(in != NULL ? in + 4 * i : NULL, blocks->out[at] + 4 * i, x[i] + input[i]);
    }
    ssbi_wipe(x, sizeof x);
    ssbi_wipe(input, sizeof input);
}
