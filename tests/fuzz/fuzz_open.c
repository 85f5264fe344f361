/* fuzz_open.c: a stream of boxes, damaged or not and cut anywhere, is opened as libsodium does it: the same codes,
 * counts, texts, nonces, and the same box is found to be the bad one. */
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    text_begin();
    return 0;
}

/* A header that is authentic, and whose length is not its body's. */
static void lie(uint8_t *header, const ssb_sealer *before, uint32_t length) {
    uint8_t said[18];
    CHECK(crypto_secretbox_open_easy(said, header, SSB_BOX_HEADER, before->_nonce, the_key) == 0);
    said[0] = (uint8_t)(length >> 8);
    said[1] = (uint8_t)length;
    CHECK(crypto_secretbox_easy(header, said, sizeof said, before->_nonce, the_key) == 0);
}

/* The stream; how many bytes. */
static size_t write_stream(choices *c, uint8_t *wire) {
    uint16_t sizes[BOXES];
    const size_t count = choose_sizes(c, sizes);
    size_t at = 0;
    ssb_sealer s;
    ssb_sealer_init(&s, &SODIUM, the_key, the_nonce);
    for (size_t i = 0; i < count; i++) {
        const ssb_sealer before = s;
        CHECK(ssb_seal(&s, text + choose(c, 256), sizes[i], wire + at) == SSB_OK);
        if (choose(c, 16) == 1) lie(wire + at, &before, choose(c, 65536));
        at += SSB_BOX_HEADER + sizes[i];
    }
    if (choose(c, 4) == 1) {
        CHECK(ssb_seal_goodbye(&s, wire + at) == SSB_OK);
        at += SSB_BOX_HEADER;
    }
    for (uint32_t i = choose(c, 4); i > 1 && at > 0; i--) wire[choose(c, (uint32_t)at)] ^= (uint8_t)choose(c, 256);
    return at;
}

static void same(const ssb_opener *a, const ssb_opener *b) {
    CHECK(memcmp(a->_nonce, b->_nonce, SSB_NONCE) == 0 && a->_body_n == b->_body_n && a->_dead == b->_dead);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static uint8_t wire[MOST];
    choices c = {data, n};
    uint16_t got[BOXES], want[BOXES];
    ssb_opener kernel, sodium;
    choose_keys(&c);
    const size_t all = write_stream(&c, wire);
    const uint32_t body_max = choose(&c, 4) == 1 ? 1 + choose(&c, 65535) : SSB_BOX_BODY, boxes = 1 + choose(&c, BOXES);
    ssb_opener_init(&kernel, &CRYPTO, the_key, the_nonce, body_max);
    ssb_opener_init(&sodium, &SODIUM, the_key, the_nonce, body_max);
    uint8_t *one = malloc(all + 1), *two = malloc(all + 1);
    CHECK(one != NULL && two != NULL);
    memcpy(one, wire, all);
    memcpy(two, wire, all);
    size_t at = 0, here = choose(&c, 2) ? all : choose(&c, (uint32_t)all + 1);
    for (int code = SSB_OK; code == SSB_OK || code == SSB_MORE;) {
        size_t count[2], used[2], need[2], body = at + SSB_BOX_HEADER;
        code = ssb_open_many(&kernel, one + at, here - at, got, boxes, &count[0], &used[0], &need[0]);
        CHECK(code == ssb_open_many(&sodium, two + at, here - at, want, boxes, &count[1], &used[1], &need[1]));
        CHECK(count[0] == count[1] && used[0] == used[1] && need[0] == need[1]);
        for (size_t i = 0; i < count[0]; body += SSB_BOX_HEADER + got[i++])
            CHECK(got[i] == want[i] && memcmp(one + body, two + body, got[i]) == 0);
        same(&kernel, &sodium);
        at += used[0];
        if (code == SSB_MORE && here == all) break;
        if (code == SSB_MORE) here = c.n == 0 ? all : here + 1 + choose(&c, (uint32_t)(all - here));
    }
    free(one);
    free(two);
    return 0;
}
