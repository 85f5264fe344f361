/* test_packet_stream.c: heads written and read, cut anywhere. */
#include "check.h"

static void round_trip(uint8_t flags, uint32_t length, int32_t req, size_t cut, const guarded *g) {
    uint8_t head[SSB_PACKET_HEAD], got_flags = 0xaa;
    ssb_scanner s;
    size_t used = 0;
    int done = 0;
    int32_t got_req = 0;
    uint32_t got_length = 0;
    ssb_write_head(head, flags, length, req);
    ssb_scanner_init(&s);
    CHECK(ssb_scan_head(&s, guard_put(g, head, cut), cut, &used, &done, &got_flags, &got_req, &got_length) == SSB_OK);
    CHECK(used == cut && done == (cut == 9));
    if (!done) {
        uint8_t *rest = guard_put(g, head + cut, 9 - cut);
        CHECK(ssb_scan_head(&s, rest, 9 - cut, &used, &done, &got_flags, &got_req, &got_length) == SSB_OK);
        CHECK(used == 9 - cut && done);
    }
    CHECK(got_flags == (flags & 0x0f) && got_req == req && got_length == length);
    CHECK(ssb_scanner_left(&s) == length);
    if (length > 1) {
        ssb_scanner_take(&s, length - 1);
        CHECK(ssb_scanner_left(&s) == 1);
    }
}

int main(void) {
    const guarded g = guard_new(64);
    const int32_t reqs[] = {0, 1, -1, 255, -256, INT32_MAX, INT32_MIN};
    const uint32_t lengths[] = {0, 1, 255, 256, 65536, UINT32_MAX};
    for (size_t r = 0; r < sizeof reqs / sizeof *reqs; r++)
        for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++)
            for (unsigned flags = 0; flags < 256; flags++)
                for (size_t cut = 0; (flags & 3) != 3 && cut <= 9; cut++)
                    round_trip((uint8_t)flags, lengths[n], reqs[r], cut, &g);

    const uint8_t known[9] = {0x0a, 0, 0, 1, 2, 0xff, 0xff, 0xff, 0xfe};
    uint8_t out[9], flags = 0;
    ssb_write_head(out, 0x0a, 258, -2);
    CHECK(memcmp(out, known, 9) == 0);

    for (unsigned bad = 3; bad < 256; bad += 4) { /* type 3, whatever the other bits */
        ssb_scanner s;
        size_t used = 0;
        int done = 0;
        int32_t req = 0;
        uint32_t length = 0;
        ssb_scanner_init(&s);
        ssb_write_head(out, (uint8_t)bad, 1, 1);
        CHECK(ssb_scan_head(&s, out, 9, &used, &done, &flags, &req, &length) == SSB_E_TYPE);
    }
    return 0;
}
