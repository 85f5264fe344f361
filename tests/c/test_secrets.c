/* test_secrets.c: no branch and no address depends on a secret. Keys and texts are marked undefined; under valgrind
 * (SSB_VALGRIND) or clang's memory sanitizer (SSB_MSAN), which knows AVX-512 as well, every jump or access that such
 * bytes decide about is an error. Otherwise it only runs.
 *
 * The core is built with secrets.h in front: SSBI_KNOWN in box_batch.c tells the two things that opening may show, whether
 * a mac is right and how long an authentic body is. */
#include "secrets.h"

#include "check.h"

#include "kernel.h"
#include "quic_packets.h"

#if SSBI_KERNELS

static void blocks_of(void (*cipher)(const uint32_t *, const ssb_blocks *, size_t)) {
    uint8_t key[32], nonce[16], in[20][64], out[20][64];
    uint32_t subkey[8];
    ssb_blocks blocks;
    memset(&blocks, 0, sizeof blocks);
    random_fill(key, sizeof key);
    random_fill(nonce, sizeof nonce);
    random_fill(in[0], sizeof in);
    SECRET(key, sizeof key);
    SECRET(in, sizeof in);
    ssbi_hsalsa20(subkey, key, nonce);
    for (uint32_t i = 0; i < 20; i++) {
        blocks.low[i] = blocks.number[i] = i;
        blocks.in[i] = i % 3 ? in[i] : NULL;
        blocks.out[i] = out[i];
    }
    for (size_t n = 1; n <= 20; n++) cipher(subkey, &blocks, n);
}

static void poly(void) {
    static uint8_t m[2100];
    uint8_t key[32], mac[16], want[16];
    for (size_t n = 0; n <= sizeof m; n += n < 300 ? 1 : 67) {
        random_fill(key, sizeof key);
        random_fill(m, n);
        CHECK(crypto_onetimeauth(want, m, n, key) == 0);
        SECRET(key, sizeof key);
        SECRET(m, sizeof m);
        ssbi_poly1305(CRYPTO.kernel, mac, key, m, n);
        KNOWN(key, sizeof key);
        KNOWN(m, sizeof m);
        KNOWN(mac, sizeof mac);
        KNOWN(want, sizeof want); /* libsodium is not instrumented */
        CHECK(memcmp(mac, want, sizeof mac) == 0);
    }
}

static void sealing(void) {
    static uint8_t plain[9000], out[10000];
    uint8_t key[SSB_KEY], nonce[SSB_NONCE] = {0};
    ssb_sealer s;
    random_fill(key, sizeof key);
    random_fill(plain, sizeof plain);
    SECRET(key, sizeof key);
    SECRET(plain, sizeof plain);
    ssb_sealer_init(&s, &CRYPTO, key, nonce);
    for (size_t n = 1; n <= sizeof plain; n = n * 5 / 4 + 1) CHECK(ssb_seal(&s, plain, n, out) == SSB_OK);
}

/* Packets of one size, sealed, unmasked, opened: as they are, or one of them forged. */
static void packets(void) {
    static uint8_t wire[20][1500], text[1500];
    ssbi_quic_keys k = {._aead = &AEAD};
    ssbi_quic_packet p[20];
    uint8_t key[32];
    for (uint32_t n = 30; n <= sizeof wire[0]; n = n * 3 / 2)
        for (uint32_t forged = 0; forged < 2; forged++) {
            random_fill(text, n);
            for (uint32_t i = 0; i < 20; i++) {
                memcpy(wire[i], text, n);
                wire[i][0] = (uint8_t)(0x40 | i % 4);
                p[i] = (ssbi_quic_packet){wire[i], n, 9 + i % 4 + 1, 1000 + i, 0};
                SECRET(wire[i] + p[i].head_n, n - p[i].head_n);
            }
            random_fill(key, sizeof key);
            SECRET(key, sizeof key);
            ssbi_quic_set_key(&k, key, key);
            ssbi_quic_set_hp(&k, key);
            ssbi_quic_seal(&k, p, 20);
            KNOWN(wire, sizeof wire);
            wire[7][n - 1] ^= (uint8_t)forged;
            ssbi_quic_unmask(&k, p, 20, 9);
            for (uint32_t i = 0; i < 20; i++) p[i].number = 1000 + i;
            ssbi_quic_open(&k, p, 20);
            KNOWN(wire, sizeof wire);
            for (uint32_t i = 0; i < 20; i++) {
                CHECK(p[i].good == !(forged && i == 7));
                if (p[i].good) CHECK(memcmp(wire[i] + p[i].head_n, text + p[i].head_n, n - p[i].head_n - 16) == 0);
            }
        }
}

#define OPEN_BOXES 20u
#define OPEN_MOST (OPEN_BOXES * (SSB_BOX_BODY + SSB_BOX_HEADER))

/* Boxes of this size, opened as far as they are good: in one batch, one by one, header first, with one bit
 * wrong, or (5) to another place. */
static void open_ways(size_t n, int way, uint8_t *wire, const uint8_t *plain) {
    const size_t each = SSB_BOX_HEADER + n, all = OPEN_BOXES * each, bad = OPEN_BOXES / 2 * each;
    uint8_t key[SSB_KEY], nonce[SSB_NONCE] = {0}, body[SSB_BOX_BODY];
    uint16_t bodies[SSBI_BATCH];
    size_t at = 0, used = 1;
    ssb_sealer s;
    ssb_opener o;
    random_fill(key, sizeof key);
    ssb_sealer_init(&s, &CRYPTO, key, nonce);
    for (size_t i = 0; i < OPEN_BOXES; i++) CHECK(ssb_seal(&s, plain + i * n, n, wire + i * each) == SSB_OK);
    KNOWN(wire, all);
    if (way == 3 || way == 4) wire[bad + (way == 3 ? random_below(SSB_BOX_HEADER) : SSB_BOX_HEADER + random_below((uint32_t)n))] ^= 1;
    SECRET(key, sizeof key);
    ssb_opener_init(&o, &CRYPTO, key, nonce, SSB_BOX_BODY);
    while (used > 0 && at < all) {
        if (way == 5) {
            used = ssb_open_whole(&o, wire + at, each, body) ? each : 0;
            memcpy(wire + at + SSB_BOX_HEADER, body, n);
            at += used;
            continue;
        }
        if (way == 2) CHECK(ssbi_open_batch(&o, wire + at, SSB_BOX_HEADER, bodies, 1, &used) == 0 && used == 0);
        (void)ssbi_open_batch(&o, wire + at, way == 2 ? each : all - at, bodies, way == 0 ? SSBI_BATCH : 1, &used);
        at += used;
    }
    CHECK(at == (way == 3 || way == 4 ? bad : all));
    KNOWN(wire, all);
    for (size_t i = 0; i < at / each; i++) CHECK(memcmp(wire + i * each + SSB_BOX_HEADER, plain + i * n, n) == 0);
}

static void opening(void) {
    static uint8_t plain[OPEN_MOST], wire[OPEN_MOST];
    random_fill(plain, sizeof plain);
    static const size_t sizes[] = {1, 2, 9, 31, 32, 33, 64, 96, 97, 200, 319, 384, 700, 1000, 4095, 4096};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int way = 0; way < 6; way++) open_ways(sizes[i], way, wire, plain);
}

int main(void) {
    crypto_begin();
    if (CRYPTO.kernel == NULL) return 0;
    blocks_of(CRYPTO.kernel->_salsa);
    blocks_of(CRYPTO.kernel->_chacha);
    poly();
    KERNEL._longest = UINT16_MAX; /* ours for all lengths: libsodium is not what is tested here */
    packets();
    sealing();
    opening();
    return 0;
}

#else

int main(void) { return 0; }

#endif
