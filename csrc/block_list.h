/* block_list.h: blocks that wait until there are enough of them for the lanes of a kernel, or no more come. */
#ifndef SSBFAST_BLOCK_LIST_H
#define SSBFAST_BLOCK_LIST_H

#include "kernel.h"

#define FEW 2 /* blocks that are done sooner one by one than in any lanes */

typedef void ssbi_cipher(const uint32_t *key, const ssb_blocks *blocks, size_t n);

typedef struct {
    ssbi_cipher *in_lanes, *alone;
    size_t lanes;
    const uint32_t *key;
    size_t n;
    ssb_blocks blocks;
} ssbi_block_list;

static inline void ssbi_list_init(ssbi_block_list *l, ssbi_cipher *in_lanes, ssbi_cipher *alone, size_t lanes,
                                  const uint32_t *key) {
    l->in_lanes = in_lanes;
    l->alone = alone;
    l->lanes = lanes;
    l->key = key;
    l->n = 0;
}

static inline void ssbi_list_run(ssbi_block_list *l) {
    ssb_blocks *b = &l->blocks;
    const size_t n = l->n;
    l->n = 0;
    if (n == 0) return;
    if (n <= FEW) {
        l->alone(l->key, b, n);
        return;
    }
    for (size_t i = n; i < SSB_BLOCKS && i % l->lanes != 0; i++)
        b->first[i] = b->low[i] = b->high[i] = b->number[i] = 0;
    l->in_lanes(l->key, b, n);
}

static inline void ssbi_list_add(ssbi_block_list *l, const uint32_t *nonce, uint32_t number, const uint8_t *in,
                                 uint8_t *out) {
    if (l->n == SSB_BLOCKS) ssbi_list_run(l);
    const size_t i = l->n++;
    l->blocks.first[i] = nonce[0];
    l->blocks.low[i] = nonce[1];
    l->blocks.high[i] = nonce[2];
    l->blocks.number[i] = number;
    l->blocks.in[i] = in;
    l->blocks.out[i] = out;
}

static inline void ssbi_cover(uint8_t *out, const uint8_t *in, const uint8_t *stream, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = in[i] ^ stream[i];
}

#endif
