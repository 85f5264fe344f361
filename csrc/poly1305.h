/* poly1305.h: what the three Poly1305s share: limbs of 44, 44 and 42 bits, and all that is scalar. */
#ifndef SSBFAST_POLY1305_H
#define SSBFAST_POLY1305_H

#include "kernel.h"

#if SSBI_KERNELS

#define MASK44 0xfffffffffffu
#define MASK42 0x3ffffffffffu
#define POLY_BLOCK 16u

typedef unsigned __int128 ssbi_u128;

typedef struct ssbi_poly {
    uint64_t r[3];
    uint64_t h[3]; /* h[0] and h[1] below 2^45, h[2] below 2^43 between two steps */
    uint64_t pad[2];
} ssbi_poly;

void ssbi_poly_begin(ssbi_poly *p, const uint8_t *key);
/* a = a * b mod 2^130 - 5, up to some multiple of it; all limbs within 44, 44 and 42 bits, but for a[1]'s last carry. */
void ssbi_poly_multiply(uint64_t *a, const uint64_t *b);
/* The rest m[0..n) of the message, and the mac. Wipes p. */
void ssbi_poly_end(ssbi_poly *p, const uint8_t *m, size_t n, uint8_t *mac);

#if SSBI_X86
size_t ssbi_poly_absorb_avx2(ssbi_poly *p, const uint8_t *m, size_t n);
size_t ssbi_poly_absorb_ifma(ssbi_poly *p, const uint8_t *m, size_t n);
#endif

#endif
#endif
