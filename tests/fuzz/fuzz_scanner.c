/* fuzz_scanner.c: however plain bytes are cut, the scanner finds the heads that lie where the lengths before them say,
 * and the same mistake. */
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    return 0;
}

static uint32_t big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    choices c = {data, n};
    random_state = 1 + choose(&c, 256);
    const uint32_t pieces = 1 + choose(&c, 40);
    const uint8_t *plain = c.at;
    uint64_t head = 0; /* where the next one lies */
    ssb_scanner s;
    ssb_scanner_init(&s);
    for (size_t at = 0; at < c.n;) {
        const size_t rest = c.n - at, cut = 1 + random_below(pieces), piece = cut < rest ? cut : rest;
        size_t used = 0;
        if (ssb_scanner_left(&s) > 0) {
            used = piece < ssb_scanner_left(&s) ? piece : ssb_scanner_left(&s);
            ssb_scanner_take(&s, (uint32_t)used);
        } else {
            uint8_t flags = 0, *in = malloc(piece);
            int32_t req = 0;
            uint32_t length = 0;
            int done = 0;
            CHECK(in != NULL);
            memcpy(in, plain + at, piece);
            const int code = ssb_scan_head(&s, in, piece, &used, &done, &flags, &req, &length);
            free(in);
            CHECK(used > 0 && used <= piece && done == (at + used == head + SSB_PACKET_HEAD));
            CHECK((code == SSB_E_TYPE) == (done && (plain[head] & 3) == 3));
            if (code == SSB_E_TYPE) return 0;
            if (done) {
                CHECK(flags == (plain[head] & 15) && length == big_endian(plain + head + 1));
                CHECK((uint32_t)req == big_endian(plain + head + 5));
                head += SSB_PACKET_HEAD + length;
            }
        }
        at += used;
    }
    return 0;
}
