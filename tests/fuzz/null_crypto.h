/* null_crypto.h: a crypto table, and a kernel beside it, that neither encrypt nor hash: a run costs what the core costs.
 *
 *   box = mac(16) | text as it is        mac = lower half of the nonce(8) | mark of key and upper half(4) | length(4)
 *
 * A mac so still says which box comes when, and whose it is; it does not cover the text, so that damage shows as another
 * packet. Table and kernel make the same bytes. It stands in for kernel.c, blocks_*.c and poly1305*.c. */
#ifndef SSBFAST_TESTS_NULL_CRYPTO_H
#define SSBFAST_TESTS_NULL_CRYPTO_H

#include "kernel.h"

#include <string.h>

/* Of the fuzzer's own bookkeeping: its small copies would each be a call of the sanitizer. */
#define UNCHECKED __attribute__((no_sanitize("address")))

UNCHECKED void ssbi_hsalsa20(uint32_t *subkey, const uint8_t *key, const uint8_t *nonce) {
    uint32_t upper;
    memset(subkey, 0, 32);
    memcpy(subkey, key, 4);
    memcpy(&upper, nonce + 12, sizeof upper);
    subkey[0] ^= upper;
}

/* Block 0 of a nonce: what the mac needs of it. All else that covers a text is 0. */
UNCHECKED void ssbi_salsa20_portable(const uint32_t *subkey, const ssb_blocks *blocks, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (blocks->in[i] != NULL) {
            if (blocks->in[i] != blocks->out[i]) memcpy(blocks->out[i], blocks->in[i], BLOCK);
            continue;
        }
        memset(blocks->out[i], 0, BLOCK);
        if (blocks->number[i] != 0) continue;
        memcpy(blocks->out[i], &blocks->low[i], 4);
        memcpy(blocks->out[i] + 4, &blocks->high[i], 4);
        memcpy(blocks->out[i] + 8, subkey, 4);
    }
}

UNCHECKED void ssbi_poly1305(const ssb_kernel *k, uint8_t *mac, const uint8_t *key, const uint8_t *m, size_t n) {
    const uint32_t length = (uint32_t)n;
    (void)k, (void)m;
    memcpy(mac, key, 12);
    memcpy(mac + 12, &length, sizeof length);
}

UNCHECKED static void null_mac(uint8_t *mac, const uint8_t *nonce, const uint8_t *key, size_t n) {
    uint8_t block[12];
    uint32_t subkey[8];
    ssbi_hsalsa20(subkey, key, nonce);
    memcpy(block, nonce + 16, 8);
    memcpy(block + 8, subkey, 4);
    ssbi_poly1305(NULL, mac, block, NULL, n);
}

UNCHECKED static int null_verify(const uint8_t *mac, const uint8_t *nonce, const uint8_t *key, size_t n) {
    uint64_t want[2], have[2];
    null_mac((uint8_t *)want, nonce, key, n);
    memcpy(have, mac, SSB_MAC);
    return ((want[0] ^ have[0]) | (want[1] ^ have[1])) == 0;
}

static int null_box(unsigned char *c, const unsigned char *m, unsigned long long n, const unsigned char *nonce,
                    const unsigned char *key) {
    if (c + SSB_MAC != m) memmove(c + SSB_MAC, m, n);
    null_mac(c, nonce, key, n);
    return 0;
}

static int null_open(unsigned char *m, const unsigned char *c, unsigned long long c_n, const unsigned char *nonce,
                     const unsigned char *key) {
    if (!null_verify(c, nonce, key, c_n - SSB_MAC)) return -1;
    if (c + SSB_MAC != m) memmove(m, c + SSB_MAC, c_n - SSB_MAC);
    return 0;
}

static void null_wipe(void *p, size_t n) { memset(p, 0, n); }

/* Boxes above 512 bytes are left to the table, as kernels leave long ones to libsodium. */
static const ssb_kernel NULL_KERNEL = {ssbi_salsa20_portable, NULL, NULL, 512, 4};
static const ssb_crypto NULL_TABLE = {null_box, null_open, null_wipe, NULL};
static const ssb_crypto NULL_BATCHES = {null_box, null_open, null_wipe, &NULL_KERNEL};

#endif
