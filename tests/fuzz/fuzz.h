/* fuzz.h: what the fuzz targets share: choices read off the input, and boxes made of them.
 *
 * A target is a program for libFuzzer; SSBFAST_BACKEND names the kernel, as for the other tests of the core. Inputs are
 * not wire bytes but choices (sizes, cuts, places to damage), so that every one of them gets past the macs. */
#ifndef SSBFAST_TESTS_FUZZ_H
#define SSBFAST_TESTS_FUZZ_H

#include "check.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

typedef struct { /* what is left of the input; zeros behind its end */
    const uint8_t *at;
    size_t n;
} choices;

static inline uint32_t choose(choices *c, uint32_t below) {
    uint32_t v = 0;
    for (uint32_t most = 1; most < below && c->n > 0; most <<= 8) {
        v = v << 8 | *c->at++;
        c->n--;
        if (most >= 1u << 24) break;
    }
    return v % below;
}

static const ssb_crypto SODIUM = {crypto_secretbox_easy, crypto_secretbox_open_easy, sodium_memzero, NULL};

#define BOXES 40u
#define MOST 24000u /* bytes of a stream */

static uint8_t text[MOST]; /* what is sealed */
static uint8_t the_key[SSB_KEY], the_nonce[SSB_NONCE];

static inline void text_begin(void) {
    crypto_begin();
    random_fill(text, sizeof text);
}

/* A key, and a nonce that often carries soon, into any of its bytes. */
static inline void choose_keys(choices *c) {
    const size_t ones = choose(c, SSB_NONCE + 1);
    random_state = 1 + choose(c, 65536);
    random_fill(the_key, SSB_KEY);
    random_fill(the_nonce, SSB_NONCE);
    memset(the_nonce + SSB_NONCE - ones, 0xff, ones);
    the_nonce[SSB_NONCE - 1] = (uint8_t)(the_nonce[SSB_NONCE - 1] - choose(c, 64));
}

/* Sizes of up to BOXES boxes, MOST bytes with their headers and a goodbye; how many. Mostly few and short: many runs
 * find more than long ones. */
static inline size_t choose_sizes(choices *c, uint16_t *sizes) {
    const size_t count = 1 + choose(c, choose(c, 8) == 1 ? BOXES : 4);
    size_t all = SSB_BOX_HEADER, i = 0;
    for (; i < count; i++) {
        sizes[i] = (uint16_t)(1 + (choose(c, 16) == 1 ? choose(c, SSB_BOX_BODY) : choose(c, 256)));
        all += SSB_BOX_HEADER + sizes[i];
        if (all > MOST) break;
    }
    return i;
}

#endif
