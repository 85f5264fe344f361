/* kernel.c: which kernels this machine and this build offer, and the sub-key that all of them share. */
#include "poly1305.h"

#include <string.h>

#define ADD(a, b) ((a) + (b))
#define XOR(a, b) ((a) ^ (b))
#define ROTATE(v, n) ((v) << (n) | (v) >> (32 - (n)))

#if defined(__GNUC__)
#define APART __attribute__((noinline)) /* with a stack frame of its own */
#else
#define APART
#endif

static APART void derive(uint32_t *subkey, const uint8_t *key, const uint8_t *nonce) {
    uint32_t x[WORDS] = {[0] = WORD_0, [5] = WORD_1, [10] = WORD_2, [15] = WORD_3};
    for (int i = 0; i < 4; i++) {
        x[1 + i] = load32_le(key + 4 * i);
        x[6 + i] = load32_le(nonce + 4 * i);
        x[11 + i] = load32_le(key + 16 + 4 * i);
    }
    SALSA_ROUNDS(x)
    for (int i = 0; i < 4; i++) {
        subkey[i] = x[5 * i];
        subkey[4 + i] = x[6 + i];
    }
    ssbi_wipe(x, sizeof x);
}

/* The stack that a call before has used: sixteen words are more than x86-64 has registers for. */
static APART void wipe_frame(void) {
    uint8_t frame[512];
    ssbi_wipe(frame, sizeof frame);
}

void ssbi_hsalsa20(uint32_t *subkey, const uint8_t *key, const uint8_t *nonce) {
    derive(subkey, key, nonce);
    wipe_frame();
}

#if SSBI_KERNELS

#if SSBI_X86
/* Longer bodies than this are libsodium's, where we have four lanes at the most: on x86-64 it goes four or eight blocks
 * at a time itself, elsewhere one. benchmarks/NOTES.md has the figures. */
#define LONGEST 1024u
#else
#define LONGEST UINT16_MAX
#endif

static int use(ssb_kernel *k, ssb_kernel wanted) {
    *k = wanted;
    return SSB_OK;
}

/* __builtin_cpu_supports asks the operating system's side too (XGETBV): wide registers that are not saved when
 * threads change do not count. SSE2 is part of x86-64, NEON of arm64. */
int ssb_kernel_init(ssb_kernel *k, const char *name) {
    memset(k, 0, sizeof *k);
#if SSBI_X86
    __builtin_cpu_init();
    if (strcmp(name, "avx512") == 0 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512ifma"))
        return use(k, (ssb_kernel){ssbi_salsa20_avx512, ssbi_chacha20_avx512, ssbi_poly_absorb_ifma, UINT16_MAX, 16});
    if (strcmp(name, "avx2") == 0 && __builtin_cpu_supports("avx2"))
        return use(k, (ssb_kernel){ssbi_salsa20_avx2, ssbi_chacha20_avx2, ssbi_poly_absorb_avx2, UINT16_MAX, 8});
    if (strcmp(name, "sse2") == 0)
        return use(k, (ssb_kernel){ssbi_salsa20_sse2, ssbi_chacha20_sse2, NULL, LONGEST, 4});
#endif
#if SSBI_NEON
    if (strcmp(name, "neon") == 0)
        return use(k, (ssb_kernel){ssbi_salsa20_neon, ssbi_chacha20_neon, NULL, LONGEST, 4});
#endif
    if (strcmp(name, "portable") == 0)
        return use(k, (ssb_kernel){ssbi_salsa20_portable, ssbi_chacha20_portable, NULL, LONGEST, 1});
    return SSB_FULL;
}

#else

int ssb_kernel_init(ssb_kernel *k, const char *name) {
    (void)name;
    memset(k, 0, sizeof *k);
    return SSB_FULL;
}

#endif
