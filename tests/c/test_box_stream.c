/* test_box_stream.c: two box streams at once, each way of feeding, every length, every mistake. */
#include "check.h"

#define MOST 20000u

typedef struct {
    ssb_sealer sealer;
    ssb_opener opener;
} stream;

static stream stream_new(uint8_t seed) {
    stream s;
    uint8_t key[SSB_KEY], nonce[SSB_NONCE];
    memset(key, seed, sizeof key);
    memset(nonce, 0xff, sizeof nonce); /* the counter wraps with the first box */
    ssb_sealer_init(&s.sealer, &CRYPTO, key, nonce);
    ssb_opener_init(&s.opener, &CRYPTO, key, nonce, SSB_BOX_BODY);
    return s;
}

static guarded in_guard, out_guard;

/* Every length of one box, and both streams in turns. */
static void lengths(void) {
    stream two[2] = {stream_new(1), stream_new(2)};
    uint8_t plain[SSB_BOX_BODY];
    random_fill(plain, sizeof plain);
    for (size_t n = 1; n <= SSB_BOX_BODY; n++) {
        for (int i = 0; i < 2; i++) {
            uint8_t *out = guard_end(&out_guard, ssb_sealed_size(n));
            size_t used = 0;
            CHECK(ssb_seal(&two[i].sealer, guard_put(&in_guard, plain, n), n, out) == SSB_OK);
            CHECK(ssb_sealed_size(n) == SSB_BOX_HEADER + n);
            CHECK(ssb_open(&two[i].opener, out, SSB_BOX_HEADER + n, &used) == SSB_OK);
            CHECK(used == SSB_BOX_HEADER + n);
            CHECK(memcmp(out + SSB_BOX_HEADER, plain, n) == 0);
        }
    }
}

/* The protocol guide's formula, with libsodium alone. */
static void formula(void) {
    uint8_t key[SSB_KEY], n0[SSB_NONCE] = {0}, n1[SSB_NONCE] = {0}, body[16 + 5], header[34];
    uint8_t text[18] = {0, 5}, out[39];
    ssb_sealer s;
    memset(key, 7, sizeof key);
    n1[23] = 1;
    ssb_sealer_init(&s, &CRYPTO, key, n0);
    const uint8_t hello[5] = {'h', 'e', 'l', 'l', 'o'};
    CHECK(ssb_seal(&s, hello, 5, out) == SSB_OK);
    CHECK(crypto_secretbox_easy(body, hello, 5, n1, key) == 0);
    memcpy(text + 2, body, 16);
    CHECK(crypto_secretbox_easy(header, text, 18, n0, key) == 0);
    CHECK(memcmp(out, header, 34) == 0 && memcmp(out + 34, body + 16, 5) == 0);
}

/* Bytes that come one by one, or many at once: ssb_open wants the whole box, ssb_open_many takes what is there. */
static void feeding(size_t step) {
    stream s = stream_new(3);
    static uint8_t plain[MOST], wire[MOST + 400], got[MOST], buffer[MOST + 400];
    random_fill(plain, MOST);
    const size_t sealed = ssb_sealed_size(MOST);
    CHECK(ssb_seal(&s.sealer, plain, MOST, wire) == SSB_OK);
    CHECK(ssb_seal_goodbye(&s.sealer, wire + sealed) == SSB_OK);
    size_t have = 0, got_n = 0, need = SSB_BOX_HEADER, headers = 0;
    int code = SSB_MORE;
    for (size_t at = 0; at < sealed + SSB_BOX_HEADER;) {
        const size_t n = at + step < sealed + SSB_BOX_HEADER ? step : sealed + SSB_BOX_HEADER - at;
        memcpy(buffer + have, wire + at, n);
        at += n;
        have += n;
        while (have >= need) {
            uint16_t bodies[3];
            size_t count = 0, used = 0;
            uint8_t *in = guard_put(&in_guard, buffer, have);
            code = ssb_open_many(&s.opener, in, have, bodies, 3, &count, &used, &need);
            CHECK(code >= 0);
            size_t from = SSB_BOX_HEADER;
            for (size_t i = 0; i < count; i++) {
                memcpy(got + got_n, in + from, bodies[i]);
                got_n += bodies[i];
                from += SSB_BOX_HEADER + bodies[i];
            }
            headers++;
            memcpy(buffer, in + used, have - used); /* as that call left them */
            have -= used;
            if (code != SSB_MORE) need = SSB_BOX_HEADER;
            if (code == SSB_ENDED) break;
        }
    }
    CHECK(code == SSB_ENDED && have == 0);
    CHECK(got_n == MOST && memcmp(got, plain, MOST) == 0);
    size_t used = 1;
    CHECK(ssb_open(&s.opener, buffer, 0, &used) == SSB_ENDED && used == 0);
    CHECK(ssb_open(&s.opener, buffer, 1, &used) == SSB_E_AFTER && used == 0);
}

static void mistakes(void) {
    uint8_t wire[SSB_BOX_HEADER + 100], copy[sizeof wire], plain[100] = {0};
    for (size_t at = 0; at < sizeof wire; at++) { /* any bit wrong */
        stream s = stream_new(4);
        size_t used = 0;
        CHECK(ssb_seal(&s.sealer, plain, 100, wire) == SSB_OK);
        wire[at] ^= (uint8_t)(1u << random_below(8));
        const int want = at < SSB_BOX_HEADER ? SSB_E_HEADER : SSB_E_BODY;
        CHECK(ssb_open(&s.opener, wire, sizeof wire, &used) == want && used == 0);
        CHECK(ssb_open(&s.opener, wire, sizeof wire, &used) == want); /* and dead */
        CHECK(sodium_is_zero(s.opener._key, SSB_KEY));
    }
    { /* longer than agreed: told by the header alone */
        stream s = stream_new(5);
        size_t used = 0;
        s.opener._body_max = 99;
        CHECK(ssb_seal(&s.sealer, plain, 100, wire) == SSB_OK);
        CHECK(ssb_open(&s.opener, guard_put(&in_guard, wire, SSB_BOX_HEADER), SSB_BOX_HEADER, &used) == SSB_E_LENGTH);
    }
    { /* empty, but not the goodbye: its mac is not zero */
        stream s = stream_new(6);
        size_t used = 0;
        uint8_t text[18] = {0};
        text[17] = 1;
        CHECK(crypto_secretbox_easy(wire, text, 18, s.sealer._nonce, s.sealer._key) == 0);
        CHECK(ssb_open(&s.opener, wire, SSB_BOX_HEADER, &used) == SSB_E_LENGTH);
    }
    { /* replayed, and swapped */
        stream s = stream_new(7);
        size_t used = 0;
        CHECK(ssb_seal(&s.sealer, plain, 100, wire) == SSB_OK);
        memcpy(copy, wire, sizeof wire);
        CHECK(ssb_open(&s.opener, wire, sizeof wire, &used) == SSB_OK);
        CHECK(ssb_open(&s.opener, copy, sizeof copy, &used) == SSB_E_HEADER);
    }
    { /* nothing after our own goodbye */
        stream s = stream_new(8);
        CHECK(ssb_seal_goodbye(&s.sealer, wire) == SSB_OK);
        CHECK(sodium_is_zero(s.sealer._key, SSB_KEY));
        CHECK(ssb_seal(&s.sealer, plain, 1, wire) == SSB_E_CLOSED);
        CHECK(ssb_seal_goodbye(&s.sealer, wire) == SSB_E_CLOSED);
    }
}

/* Many texts, or a head and its body, in one call: the bytes of one call each. */
static void parts(void) {
    static const uint32_t sizes[] = {9, 1, 0, 4096, 64, 4097, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 8200};
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    stream one = stream_new(9), many = stream_new(9);
    static uint8_t plain[MOST], wire[MOST + 4000];
    uint8_t head[SSB_PACKET_HEAD];
    size_t plain_n = 0, wire_n = 0;
    random_fill(plain, sizeof plain);
    for (size_t i = 0; i < COUNT; plain_n += sizes[i++]) {
        CHECK(ssb_seal(&one.sealer, plain + plain_n, sizes[i], wire + wire_n) == SSB_OK);
        wire_n += ssb_sealed_size(sizes[i]);
    }
    CHECK(ssb_sealed_parts_size(sizes, COUNT) == wire_n && ssb_sealed_parts_size(sizes, 0) == 0);
    uint8_t *out = guard_end(&out_guard, wire_n);
    CHECK(ssb_seal_parts(&many.sealer, guard_put(&in_guard, plain, plain_n), sizes, COUNT, out) == SSB_OK);
    CHECK(memcmp(out, wire, wire_n) == 0);
    for (uint32_t n = 0; n < 9000; n += 1 + n / 2) {
        const size_t whole = ssb_sealed_size(sizeof head) + ssb_sealed_size(n);
        ssb_write_head(head, 0x0e, n, -5);
        CHECK(ssb_seal(&one.sealer, head, sizeof head, wire) == SSB_OK);
        CHECK(ssb_seal(&one.sealer, plain, n, wire + ssb_sealed_size(sizeof head)) == SSB_OK);
        out = guard_end(&out_guard, whole);
        CHECK(ssb_seal_packet(&many.sealer, 0x0e, -5, guard_put(&in_guard, plain, n), n, out) == SSB_OK);
        CHECK(memcmp(out, wire, whole) == 0);
    }
    ssb_sealer_close(&many.sealer);
    CHECK(ssb_seal_parts(&many.sealer, plain, sizes, COUNT, wire) == SSB_E_CLOSED);
    CHECK(ssb_seal_packet(&many.sealer, 0, 1, plain, 1, wire) == SSB_E_CLOSED);
}

/* Opened from where nothing may be written, or not at all; then ssb_open finds the same bytes as if nobody had looked. */
static void wholes(void) {
    static uint8_t plain[SSB_BOX_BODY], wire[2 * MOST];
    random_fill(plain, sizeof plain);
    for (size_t n = 1; n <= SSB_BOX_BODY; n += 1 + n / 8) {
        stream s = stream_new(10);
        const size_t box_n = SSB_BOX_HEADER + n, some[] = {box_n, box_n + 7, box_n - 1, SSB_BOX_HEADER - 1};
        size_t used = 0;
        for (size_t i = 0; i < 8; i++) { /* the first boxes carry: they are for libsodium */
            CHECK(ssb_seal(&s.sealer, plain, n, wire) == SSB_OK);
            memset(wire + box_n, 1, 7);
            const size_t given = some[i % 4];
            const uint8_t *in = guard_put(&in_guard, wire, given);
            uint8_t *out = guard_end(&out_guard, n);
            memset(out, 0xee, n);
            const int whole = ssb_open_whole(&s.opener, in, given, out);
            CHECK(memcmp(in, wire, given) == 0);
            CHECK(!whole || given == box_n);
            CHECK(whole || given != box_n || i == 0 || CRYPTO.kernel == NULL || n > CRYPTO.kernel->_longest);
            if (whole) {
                CHECK(memcmp(out, plain, n) == 0);
                continue;
            }
            for (size_t at = 0; at < n; at++) CHECK(out[at] == 0xee);
            CHECK(ssb_open(&s.opener, wire, box_n, &used) == SSB_OK && used == box_n);
            CHECK(memcmp(wire + SSB_BOX_HEADER, plain, n) == 0);
        }
        CHECK(ssb_seal_goodbye(&s.sealer, wire) == SSB_OK);
        CHECK(!ssb_open_whole(&s.opener, wire, SSB_BOX_HEADER, guard_end(&out_guard, 0)));
        CHECK(ssb_open(&s.opener, wire, SSB_BOX_HEADER, &used) == SSB_ENDED);
        CHECK(!ssb_open_whole(&s.opener, wire, SSB_BOX_HEADER, guard_end(&out_guard, 0)));
    }
}

int main(void) {
    crypto_begin();
    in_guard = guard_new(MOST + 4096);
    out_guard = guard_new(MOST + 4096);
    lengths();
    formula();
    for (size_t step = 1; step < 5000; step += step < 40 ? 1 : 997) feeding(step);
    feeding(MOST * 2);
    mistakes();
    parts();
    wholes();
    CHECK(ssb_sealed_size(0) == 0 && ssb_sealed_size(4096) == 4130 && ssb_sealed_size(4097) == 4097 + 68);
    return 0;
}
