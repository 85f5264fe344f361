/* fuzz_seal.c: whatever boxes are sealed, in batches of any size and in place or not, the bytes and the nonce that is
 * left are libsodium's. */
#include "fuzz.h"

#include "internal.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    text_begin();
    return 0;
}

/* All boxes one behind the other in `out`; the texts that are sealed in place are there already. */
static void lay_out(choices *c, const uint16_t *sizes, size_t count, uint8_t *out, ssbi_box *boxes) {
    for (size_t i = 0; i < count; i++) {
        const uint8_t *plain = text + choose(c, 1024);
        boxes[i] = (ssbi_box){plain, out, sizes[i]};
        if (choose(c, 4) == 0) boxes[i].plain = memcpy(out + SSB_BOX_HEADER, plain, sizes[i]);
        out += SSB_BOX_HEADER + sizes[i];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    choices c = {data, n};
    uint16_t sizes[BOXES];
    ssbi_box boxes[BOXES];
    ssb_sealer kernel, sodium;
    size_t all = 0;
    choose_keys(&c);
    const size_t count = choose_sizes(&c, sizes);
    for (size_t i = 0; i < count; i++) all += SSB_BOX_HEADER + sizes[i];
    uint8_t *out = malloc(all + 1), *want = malloc(all + 1);
    CHECK(out != NULL && want != NULL);
    lay_out(&c, sizes, count, out, boxes);
    ssb_sealer_init(&kernel, &CRYPTO, the_key, the_nonce);
    ssb_sealer_init(&sodium, &SODIUM, the_key, the_nonce);
    for (size_t i = 0, at = 0; i < count; at += SSB_BOX_HEADER + sizes[i++])
        CHECK(ssb_seal(&sodium, boxes[i].plain, sizes[i], want + at) == SSB_OK);
    for (size_t i = 0; i < count;) {
        const size_t batch = smaller(1 + choose(&c, BOXES), count - i);
        CHECK(ssbi_seal_boxes(&kernel, boxes + i, batch) == SSB_OK);
        i += batch;
    }
    CHECK(memcmp(out, want, all) == 0);
    CHECK(memcmp(kernel._nonce, sodium._nonce, SSB_NONCE) == 0);
    free(out);
    free(want);
    return 0;
}
