/* kernel.h: what own kernels of XSalsa20-Poly1305 and ChaCha20-Poly1305 consist of, and where they exist.
 *
 * A secretbox needs Salsa20 blocks 0, 1, 2 … of its nonce: the first 32 bytes of block 0 are the key of its Poly1305,
 * all that follows covers the text. The upper 16 bytes of the nonce and the key make the sub-key (HSalsa20); the lower
 * 8 and the number of the block go into the block itself. So blocks of many boxes can be computed side by side, each in
 * a lane of its own. QUIC's packets need ChaCha20 blocks 0, 1, 2 … of theirs, and one each for the mask of the header.
 *
 * Constant time: no branch and no index here or in the kernels depends on keys, key stream, text or macs; they depend
 * on lengths, counters and pointers, which anybody on the wire can see. docs/kernels.md has the review. */
#ifndef SSBFAST_KERNEL_H
#define SSBFAST_KERNEL_H

#include "internal.h"

/* Kernels need gcc or clang and a machine of 64 bits; elsewhere, and with MSVC, libsodium works alone. */
#if defined(__SIZEOF_INT128__) && defined(__GNUC__) && !defined(_MSC_VER)
#define SSBI_KERNELS 1
#else
#define SSBI_KERNELS 0
#endif

#if SSBI_KERNELS && defined(__x86_64__)
#define SSBI_X86 1
#else
#define SSBI_X86 0
#endif

#if SSBI_KERNELS && defined(__aarch64__) && defined(__ARM_NEON) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define SSBI_NEON 1
#else
#define SSBI_NEON 0
#endif

/* Marks memory as public. The tests that follow secrets through the code define it for their tools. */
#ifndef SSBI_KNOWN
#define SSBI_KNOWN(p, n) ((void)0)
#endif

#define BLOCK 64u
#define WORDS 16
#define ROUNDS 20

/* "expand 32-byte k": the words of a block that are always the same. */
#define WORD_0 0x61707865u
#define WORD_1 0x3320646eu
#define WORD_2 0x79622d32u
#define WORD_3 0x6b206574u

/* The words of a block but for nonce (6, 7) and number (8, 9), which are 0, spread over lanes by SPREAD. Word by word:
 * compilers would leave a copy of a sub-key behind that they have loaded as a whole. */
#define SALSA_INPUT(x, subkey)                       \
    do {                                             \
        const volatile uint32_t *one = (subkey);     \
        x[0] = SPREAD(WORD_0);                     \
        x[5] = SPREAD(WORD_1);                     \
        x[10] = SPREAD(WORD_2);                    \
        x[15] = SPREAD(WORD_3);                    \
        for (int i = 0; i < 4; i++) {                \
            x[1 + i] = SPREAD(one[i]);               \
            x[6 + i] = SPREAD(0);                    \
            x[11 + i] = SPREAD(one[4 + i]);          \
        }                                            \
    } while (0)

/* Rounds over x[16], for any type of words; the file that uses it says what ADD, XOR and ROTATE are. */
#define SALSA_QUARTER(a, b, c, d)            \
    do {                                     \
        b = XOR(b, ROTATE(ADD(a, d), 7));    \
        c = XOR(c, ROTATE(ADD(b, a), 9));    \
        d = XOR(d, ROTATE(ADD(c, b), 13));   \
        a = XOR(a, ROTATE(ADD(d, c), 18));   \
    } while (0)

#define SALSA_ROUNDS(x)                                  \
    for (int round = 0; round < ROUNDS; round += 2) {    \
        SALSA_QUARTER(x[0], x[4], x[8], x[12]);          \
        SALSA_QUARTER(x[5], x[9], x[13], x[1]);          \
        SALSA_QUARTER(x[10], x[14], x[2], x[6]);         \
        SALSA_QUARTER(x[15], x[3], x[7], x[11]);         \
        SALSA_QUARTER(x[0], x[1], x[2], x[3]);           \
        SALSA_QUARTER(x[5], x[6], x[7], x[4]);           \
        SALSA_QUARTER(x[10], x[11], x[8], x[9]);         \
        SALSA_QUARTER(x[15], x[12], x[13], x[14]);       \
    }

/* The same for ChaCha20 (RFC 8439): key in 4 to 11, number in 12, nonce in 13 to 15. */
#define CHACHA_INPUT(x, key)                         \
    do {                                             \
        const volatile uint32_t *one = (key);        \
        x[0] = SPREAD(WORD_0);                       \
        x[1] = SPREAD(WORD_1);                       \
        x[2] = SPREAD(WORD_2);                       \
        x[3] = SPREAD(WORD_3);                       \
        for (int i = 0; i < 8; i++) {                \
            x[4 + i] = SPREAD(one[i]);               \
        }                                            \
        for (int i = 12; i < WORDS; i++) {           \
            x[i] = SPREAD(0);                        \
        }                                            \
    } while (0)

#define CHACHA_QUARTER(a, b, c, d)   \
    do {                             \
        a = ADD(a, b);               \
        d = ROTATE(XOR(d, a), 16);   \
        c = ADD(c, d);               \
        b = ROTATE(XOR(b, c), 12);   \
        a = ADD(a, b);               \
        d = ROTATE(XOR(d, a), 8);    \
        c = ADD(c, d);               \
        b = ROTATE(XOR(b, c), 7);    \
    } while (0)

#define CHACHA_ROUNDS(x)                                 \
    for (int round = 0; round < ROUNDS; round += 2) {    \
        CHACHA_QUARTER(x[0], x[4], x[8], x[12]);         \
        CHACHA_QUARTER(x[1], x[5], x[9], x[13]);         \
        CHACHA_QUARTER(x[2], x[6], x[10], x[14]);        \
        CHACHA_QUARTER(x[3], x[7], x[11], x[15]);        \
        CHACHA_QUARTER(x[0], x[5], x[10], x[15]);        \
        CHACHA_QUARTER(x[1], x[6], x[11], x[12]);        \
        CHACHA_QUARTER(x[2], x[7], x[8], x[13]);         \
        CHACHA_QUARTER(x[3], x[4], x[9], x[14]);         \
    }

static inline uint32_t load32_le(const uint8_t *p) {
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static inline uint64_t load64(const uint8_t *p) { return (uint64_t)load32(p) << 32 | load32(p + 4); }

static inline void store64(uint8_t *p, uint64_t v) {
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)(v >> (56 - 8 * i));
}

/* kernel.c: the sub-key of a key and the first 16 bytes of a nonce. */
void ssbi_hsalsa20(uint32_t *subkey, const uint8_t *key, const uint8_t *nonce);

/* memset that no compiler leaves out. */
static inline void ssbi_wipe(void *p, size_t n) {
#if defined(__GNUC__)
    uint8_t *bytes = p;
    for (size_t i = 0; i < n; i++) bytes[i] = 0;
    __asm__ __volatile__("" : : "r"(p) : "memory");
#else
    volatile uint8_t *bytes = p;
    for (size_t i = 0; i < n; i++) bytes[i] = 0;
#endif
}

/* blocks_*.c: n <= SSB_BLOCKS blocks, in as many sweeps as it takes. The columns are read up to the last lane of the
 * last sweep; what those that are not wanted compute goes nowhere. */
void ssbi_salsa20_portable(const uint32_t *subkey, const ssb_blocks *blocks, size_t n);
void ssbi_chacha20_portable(const uint32_t *key, const ssb_blocks *blocks, size_t n);

#if SSBI_KERNELS
/* poly1305.c: the mac(16) of m[0..n) under key(32); as ChaCha20-Poly1305 makes it, of additional data and text
 * (RFC 8439, section 2.8). */
void ssbi_poly1305(const ssb_kernel *k, uint8_t *mac, const uint8_t *key, const uint8_t *m, size_t n);
void ssbi_poly1305_aead(const ssb_kernel *k, uint8_t *mac, const uint8_t *key, const uint8_t *ad, size_t ad_n,
                        const uint8_t *m, size_t n);
/* box_batch.c: 0 if two macs are the same. No early end: how much of a forged mac is right must not show. */
int ssbi_macs_differ(const uint8_t *a, const uint8_t *b);
#endif

#if SSBI_X86
void ssbi_salsa20_sse2(const uint32_t *subkey, const ssb_blocks *blocks, size_t n);
void ssbi_salsa20_avx2(const uint32_t *subkey, const ssb_blocks *blocks, size_t n);
void ssbi_salsa20_avx512(const uint32_t *subkey, const ssb_blocks *blocks, size_t n);
void ssbi_chacha20_sse2(const uint32_t *key, const ssb_blocks *blocks, size_t n);
void ssbi_chacha20_avx2(const uint32_t *key, const ssb_blocks *blocks, size_t n);
void ssbi_chacha20_avx512(const uint32_t *key, const ssb_blocks *blocks, size_t n);
#endif

#if SSBI_NEON
void ssbi_salsa20_neon(const uint32_t *subkey, const ssb_blocks *blocks, size_t n);
void ssbi_chacha20_neon(const uint32_t *key, const ssb_blocks *blocks, size_t n);
#endif

#endif
