/* kernel.c: which kernels this machine and this build offer, and the sub-key that all of them share. */
#include "kernel.h"

#include <string.h>

#define ADD(a, b) ((a) + (b))
#define XOR(a, b) ((a) ^ (b))
#define ROTATE(v, n) ((v) << (n) | (v) >> (32 - (n)))

void ssbi_hsalsa20(uint32_t *subkey, const uint8_t *key, const uint8_t *nonce) {
    uint32_t x[SALSA_WORDS] = {[0] = SALSA_C0, [5] = SALSA_C1, [10] = SALSA_C2, [15] = SALSA_C3};
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
#if SSBI_KERNELS
    ssbi_wipe(x, sizeof x);
#endif
}

#if SSBI_KERNELS

/* Longer bodies than this are libsodium's where four lanes are all there is: benchmarks/README.md has the figures. */
#define SSE2_LONGEST 1024u

/* __builtin_cpu_supports asks the operating system's side too (XGETBV): wide registers that are not saved when
 * threads change do not count. */
static int offers(const char *name) {
    __builtin_cpu_init();
    if (strcmp(name, "avx512") == 0) return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512ifma");
    if (strcmp(name, "avx2") == 0) return __builtin_cpu_supports("avx2") != 0;
    return strcmp(name, "sse2") == 0; /* part of x86-64 */
}

int ssb_kernel_init(ssb_kernel *k, const char *name) {
    memset(k, 0, sizeof *k);
    if (!offers(name)) return SSB_FULL;
    k->_blocks = ssbi_salsa20_sse2;
    k->_poly = ssbi_poly1305;
    k->_lanes = 4;
    k->_longest = SSE2_LONGEST;
    if (strcmp(name, "sse2") == 0) return SSB_OK;
    k->_longest = UINT16_MAX;
    k->_blocks = ssbi_salsa20_avx2;
    k->_poly = ssbi_poly1305_avx2;
    k->_lanes = 8;
    if (strcmp(name, "avx2") == 0) return SSB_OK;
    k->_blocks = ssbi_salsa20_avx512;
    k->_poly = ssbi_poly1305_ifma;
    k->_lanes = 16;
    return SSB_OK;
}

#else

int ssb_kernel_init(ssb_kernel *k, const char *name) {
    (void)name;
    memset(k, 0, sizeof *k);
    return SSB_FULL;
}

#endif
