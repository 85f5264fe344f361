/* test_kernels.c: the kernel that SSBFAST_BACKEND names against libsodium, box by box and byte by byte. Every length,
 * random batches, carries of the nonce, input damaged at every kind of place, and the edges of memory. */
#include "check.h"

#include "kernel.h"

#define MOST 90000u
#define BOXES 40u

static const ssb_crypto SODIUM = {crypto_secretbox_easy, crypto_secretbox_open_easy, sodium_memzero, NULL};
static guarded one_guard, two_guard;
static uint8_t plain[MOST], wire[MOST], other[MOST];
static uint8_t key[SSB_KEY], nonce[SSB_NONCE];

typedef struct {
    ssb_sealer kernel, sodium;
    ssb_opener open_kernel, open_sodium;
} both;

static void begin(both *b, uint32_t body_max) {
    ssb_sealer_init(&b->kernel, &CRYPTO, key, nonce);
    ssb_sealer_init(&b->sodium, &SODIUM, key, nonce);
    ssb_opener_init(&b->open_kernel, &CRYPTO, key, nonce, body_max);
    ssb_opener_init(&b->open_sodium, &SODIUM, key, nonce, body_max);
}

/* A nonce that will carry within `most` boxes or so, into a random number of bytes. */
static void carrying(uint32_t most) {
    const size_t ones = random_below(SSB_NONCE + 1);
    random_fill(nonce, SSB_NONCE);
    memset(nonce + SSB_NONCE - ones, 0xff, ones);
    nonce[SSB_NONCE - 1] = (uint8_t)(nonce[SSB_NONCE - 1] - random_below(most));
}

static void lengths(void) {
    both b;
    begin(&b, SSB_BOX_BODY);
    random_fill(plain, SSB_BOX_BODY);
    for (size_t n = 1; n <= SSB_BOX_BODY; n++) {
        const size_t sealed = SSB_BOX_HEADER + n;
        uint8_t *in = guard_put(&one_guard, plain, n), *out = guard_end(&two_guard, sealed);
        size_t used = 0;
        CHECK(ssb_seal(&b.kernel, in, n, out) == SSB_OK);
        CHECK(ssb_seal(&b.sodium, plain, n, wire) == SSB_OK);
        CHECK(memcmp(out, wire, sealed) == 0);
        CHECK(memcmp(b.kernel._nonce, b.sodium._nonce, SSB_NONCE) == 0);
        CHECK(ssb_open(&b.open_kernel, out, sealed, &used) == SSB_OK && used == sealed);
        CHECK(memcmp(out + SSB_BOX_HEADER, plain, n) == 0);
    }
}

/* A stream of boxes of random sizes; its length. */
static size_t stream(both *b, uint16_t *sizes, size_t boxes) {
    static const uint32_t kinds[] = {10, 40, 100, 700, 4096};
    size_t at = 0;
    for (size_t i = 0; i < boxes; i++) {
        const size_t n = 1 + random_below(kinds[random_below(5)]);
        if (at + SSB_BOX_HEADER + n + SSB_BOX_HEADER > MOST) break;
        CHECK(ssb_seal(&b->sodium, plain + at, n, wire + at) == SSB_OK);
        CHECK(ssb_seal(&b->kernel, plain + at, n, other + at) == SSB_OK);
        sizes[i] = (uint16_t)n;
        at += SSB_BOX_HEADER + n;
    }
    CHECK(memcmp(wire, other, at) == 0);
    return at;
}

/* Open wire[0..n) with both, some boxes a call: same codes, counts, plain texts and nonces, up to the end. */
static void open_both(both *b, size_t n, size_t boxes) {
    uint8_t *one = guard_put(&one_guard, wire, n), *two = guard_put(&two_guard, wire, n);
    uint16_t got[BOXES], want[BOXES];
    size_t at = 0;
    for (;;) {
        size_t count[2], used[2], need[2];
        const int code = ssb_open_many(&b->open_kernel, one + at, n - at, got, boxes, &count[0], &used[0], &need[0]);
        const int same = ssb_open_many(&b->open_sodium, two + at, n - at, want, boxes, &count[1], &used[1], &need[1]);
        CHECK(code == same && count[0] == count[1] && used[0] == used[1] && need[0] == need[1]);
        size_t body = at + SSB_BOX_HEADER;
        for (size_t i = 0; i < count[0]; i++) {
            CHECK(got[i] == want[i] && memcmp(one + body, two + body, got[i]) == 0);
            body += SSB_BOX_HEADER + got[i];
        }
        CHECK(memcmp(b->open_kernel._nonce, b->open_sodium._nonce, SSB_NONCE) == 0);
        CHECK(b->open_kernel._body_n == b->open_sodium._body_n && b->open_kernel._dead == b->open_sodium._dead);
        at += used[0];
        if (code != SSB_OK) return;
    }
}

static void damage(size_t n) {
    wire[random_below((uint32_t)n)] ^= (uint8_t)(1u << random_below(8));
}

static void streams(int rounds) {
    for (int i = 0; i < rounds; i++) {
        uint16_t sizes[BOXES];
        both b;
        random_fill(key, SSB_KEY);
        carrying(60);
        begin(&b, random_below(4) > 0 ? SSB_BOX_BODY : 300);
        size_t n = stream(&b, sizes, 1 + random_below(BOXES));
        if (random_below(3) == 0) {
            CHECK(ssb_seal_goodbye(&b.sodium, wire + n) == SSB_OK);
            n += SSB_BOX_HEADER;
        }
        if (random_below(2) == 0) damage(n);
        if (random_below(2) == 0) n -= random_below(n < 200 ? (uint32_t)n : 200);
        open_both(&b, n, 1 + random_below(BOXES));
    }
}

/* The middle one of three boxes damaged at each byte. */
static void every_place(void) {
    const size_t each = SSB_BOX_HEADER + 200;
    both b;
    for (size_t at = 0; at < each; at++) {
        begin(&b, SSB_BOX_BODY);
        for (size_t i = 0; i < 3; i++) CHECK(ssb_seal(&b.sodium, plain, 200, wire + i * each) == SSB_OK);
        wire[each + at] ^= (uint8_t)(1u << random_below(8));
        open_both(&b, 3 * each, 8);
        CHECK(b.open_kernel._dead == (at < SSB_BOX_HEADER ? SSB_E_HEADER : SSB_E_BODY));
        CHECK(sodium_is_zero((const uint8_t *)b.open_kernel._subkey, sizeof b.open_kernel._subkey));
    }
}

/* Bodies of any length that two bytes can say, for links that accept them. */
static void long_bodies(void) {
    for (int i = 0; i < 40; i++) {
        const size_t n = 4097 + random_below(61439);
        uint8_t text[18], n1[SSB_NONCE];
        both b;
        carrying(3);
        begin(&b, UINT16_MAX);
        memcpy(n1, nonce, SSB_NONCE);
        for (int at = SSB_NONCE - 1; at >= 0 && ++n1[at] == 0; at--) continue;
        CHECK(crypto_secretbox_easy(wire + 18, plain, n, n1, key) == 0);
        text[0] = (uint8_t)(n >> 8);
        text[1] = (uint8_t)n;
        memcpy(text + 2, wire + 18, 16);
        CHECK(crypto_secretbox_easy(wire, text, 18, nonce, key) == 0);
        open_both(&b, SSB_BOX_HEADER + n, 2);
    }
}

/* Keys and messages that drive Poly1305's limbs to their edges, for every length around all thresholds: sums that are
 * 2^130 - 5 or a little more, and carries through all limbs. */
static void macs(void) {
#if SSBI_KERNELS
    static const uint8_t fills[] = {0xff, 0x00, 0xfb, 0x01};
    if (CRYPTO.kernel == NULL) return;
    for (uint32_t i = 0; i < 4000; i++) {
        const size_t n = i < 1300 ? i : random_below(4200);
        uint8_t poly_key[32], mac[16], want[16];
        memset(poly_key, random_below(2) ? 0xff : 0, sizeof poly_key);
        if (random_below(2)) {
            memset(poly_key, 0, 16);
            poly_key[0] = (uint8_t)random_below(6);
        } else if (random_below(2)) {
            random_fill(poly_key, sizeof poly_key);
        }
        memset(plain, fills[random_below(4)], n);
        for (uint32_t k = random_below(4); k > 0 && n > 0; k--) plain[random_below((uint32_t)n)] = fills[random_below(4)];
        CHECK(crypto_onetimeauth(want, plain, n, poly_key) == 0);
        ssbi_poly1305(CRYPTO.kernel, mac, poly_key, guard_put(&one_guard, plain, n), n);
        CHECK(memcmp(mac, want, sizeof mac) == 0);
    }
    random_fill(plain, MOST);
#endif
}

int main(void) {
    crypto_begin();
    CHECK(ssb_kernel_init(&KERNEL, "quick") == SSB_FULL);
    crypto_begin();
    one_guard = guard_new(MOST);
    two_guard = guard_new(MOST);
    random_fill(plain, MOST);
    lengths();
    streams(600);
    every_place();
    long_bodies();
    macs();
    return 0;
}
