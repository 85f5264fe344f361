/* test_quic_packets.c: protection of QUIC's packets against the RFCs' vectors and against libsodium: every length, headers
 * of all lengths, batches, packets damaged at each byte, and the edges of memory. */
#include "check.h"

#include "kernel.h"
#include "quic_packets.h"

#define MOST 1600u
#define BATCH 40u

static guarded guards[BATCH];
static ssbi_quic_keys keys;

static uint8_t key[32], iv[12], hp[32];

static void use_keys(void) {
    keys._aead = &AEAD;
    ssbi_quic_set_key(&keys, key, iv);
    ssbi_quic_set_hp(&keys, hp);
}

static size_t unhex(uint8_t *out, const char *text) {
    size_t n = 0;
    for (; *text != 0; text += 2, n++) {
        unsigned int byte;
        CHECK(sscanf(text, "%2x", &byte) == 1);
        out[n] = (uint8_t)byte;
    }
    return n;
}

static void random_keys(void) {
    random_fill(key, sizeof key);
    random_fill(iv, sizeof iv);
    random_fill(hp, sizeof hp);
    use_keys();
}

/* RFC 8439, 2.3.2. */
static void block_vector(void) {
    uint8_t bytes[32], out[64], want[64];
    uint32_t words[8];
    ssb_blocks blocks;
    memset(&blocks, 0, sizeof blocks);
    for (uint8_t i = 0; i < 32; i++) bytes[i] = i;
    for (int i = 0; i < 8; i++) words[i] = load32_le(bytes + 4 * i);
    CHECK(unhex(want, "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
                      "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e") == 64);
    blocks.number[0] = 1;
    blocks.first[0] = 0x09000000u;
    blocks.low[0] = 0x4a000000u;
    blocks.out[0] = out;
    (AEAD.kernel != NULL ? AEAD.kernel->_chacha : ssbi_chacha20_portable)(words, &blocks, 1);
    CHECK(memcmp(out, want, sizeof out) == 0);
}

/* RFC 8439, 2.8.2. */
static void aead_vector(void) {
    uint8_t wire[200];
    size_t n = unhex(wire, "50515253c0c1c2c3c4c5c6c7"
                           "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"
                           "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
                           "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691");
    const char text[] = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
                        "sunscreen would be it.";
    ssbi_quic_packet p = {wire, (uint32_t)n, 12, 0, 0};
    for (uint8_t i = 0; i < 32; i++) key[i] = (uint8_t)(0x80 + i);
    CHECK(unhex(iv, "070000004041424344454647") == 12);
    use_keys();
    ssbi_quic_open(&keys, &p, 1);
    CHECK(p.good && n == 12 + sizeof text - 1 + 16 && memcmp(wire + 12, text, sizeof text - 1) == 0);
}

/* RFC 9001, A.5. */
static void packet_vector(void) {
    uint8_t wire[21], want[21];
    ssbi_quic_packet p = {wire, 21, 4, 654360564, 0};
    CHECK(unhex(key, "c6d98ff3441c3fe1b2182094f69caa2ed4b716b65488960a7a984979fb23e1c8") == 32);
    CHECK(unhex(iv, "e0459b3474bdd0e44a41c144") == 12);
    CHECK(unhex(hp, "25a282b9e82f06f21f488917a4fc8f1b73573685608597d0efcb076b0ab7a7a4") == 32);
    use_keys();
    CHECK(unhex(wire, "4200bff401") == 5);
    CHECK(unhex(want, "4cfe4189655e5cd55c41f69080575d7999c25a5bfb") == 21);
    ssbi_quic_seal(&keys, &p, 1);
    CHECK(memcmp(wire, want, sizeof wire) == 0);
    p.head_n = 0;
    ssbi_quic_unmask(&keys, &p, 1, 1);
    CHECK(p.head_n == 4 && memcmp(wire, "\x42\x00\xbf\xf4", 4) == 0);
    ssbi_quic_open(&keys, &p, 1);
    CHECK(p.good && wire[4] == 1);
}

/* One packet as libsodium makes it. */
static void seal_apart(const ssbi_quic_packet *p, const uint8_t *plain, uint8_t *out) {
    uint8_t nonce[12], mask[5] = {0}, *sample = out + p->head_n - (p->at[0] & 3u) - 1 + 4;
    memcpy(nonce, iv, 12);
    for (int i = 0; i < 8; i++) nonce[4 + i] ^= (uint8_t)(p->number >> (56 - 8 * i));
    memcpy(out, plain, p->head_n);
    CHECK(crypto_aead_chacha20poly1305_ietf_encrypt(out + p->head_n, NULL, plain + p->head_n, p->n - p->head_n - 16, plain,
                                                    p->head_n, NULL, nonce, key) == 0);
    CHECK(crypto_stream_chacha20_ietf_xor_ic(mask, mask, 5, sample + 4, load32_le(sample), hp) == 0);
    const uint32_t number_n = (plain[0] & 3u) + 1;
    out[0] ^= mask[0] & 0x1f;
    for (uint32_t i = 0; i < number_n; i++) out[p->head_n - number_n + i] ^= mask[1 + i];
}

/* `count` packets, of these lengths and with these connection ids, each at the end of a page: sealed, unmasked, opened. */
static void exchange(const uint32_t *lengths, size_t cid_n, size_t count) {
    static uint8_t plain[BATCH][MOST], want[BATCH][MOST];
    ssbi_quic_packet p[BATCH] = {{0}};
    for (size_t i = 0; i < count; i++) {
        random_fill(plain[i], lengths[i]);
        plain[i][0] = (uint8_t)(0x40 | (plain[i][0] & 0x1f));
        const uint32_t number_n = (plain[i][0] & 3u) + 1;
        const uint64_t number = (uint64_t)random_below(UINT32_MAX) << random_below(31);
        p[i] = (ssbi_quic_packet){guard_put(&guards[i], plain[i], lengths[i]), lengths[i], (uint32_t)(1 + cid_n + number_n),
                                  number, 0};
        seal_apart(&p[i], plain[i], want[i]);
    }
    ssbi_quic_seal(&keys, p, count);
    for (size_t i = 0; i < count; i++) CHECK(memcmp(p[i].at, want[i], p[i].n) == 0);
    const size_t forged = random_below(3) == 0 ? random_below((uint32_t)count) : count;
    uint8_t bit = (uint8_t)(1u << random_below(8)), *place = NULL;
    if (forged < count) place = p[forged].at + p[forged].n - 1 - random_below(p[forged].n - p[forged].head_n);
    if (place != NULL) *place ^= bit;
    for (size_t i = 0; i < count; i++) p[i].head_n = 0;
    ssbi_quic_unmask(&keys, p, count, 1 + cid_n);
    for (size_t i = 0; i < count; i++) {
        if (i != forged) CHECK(memcmp(p[i].at, plain[i], p[i].head_n) == 0);
        if (i == forged) p[i].head_n = (uint32_t)(1 + cid_n + (p[i].at[0] & 3u) + 1); /* some header */
    }
    if (place != NULL) memcpy(want[forged], p[forged].at, p[forged].n);
    ssbi_quic_open(&keys, p, count);
    for (size_t i = 0; i < count; i++) {
        CHECK(p[i].good == (i != forged));
        if (i == forged)
            CHECK(memcmp(p[i].at, want[i], p[i].n) == 0); /* as it was, for other keys to try */
        else
            CHECK(memcmp(p[i].at + p[i].head_n, plain[i] + p[i].head_n, p[i].n - p[i].head_n - 16) == 0);
    }
}

static void every_length(void) {
    uint32_t lengths[BATCH];
    for (uint32_t n = 45; n < MOST; n++) {
        lengths[0] = n;
        exchange(lengths, n % 21, 1);
    }
    for (int round = 0; round < 300; round++) {
        const size_t count = 1 + random_below(BATCH);
        const uint32_t alike = 45 + random_below(MOST - 45);
        for (size_t i = 0; i < count; i++) lengths[i] = random_below(2) ? alike : 45 + random_below(MOST - 45);
        random_keys();
        exchange(lengths, random_below(21), count);
    }
}

/* The middle one of three packets damaged at each byte of header, text and tag. */
static void every_place(void) {
    uint8_t wire[3][90];
    for (uint32_t at = 0; at < 90; at++) {
        ssbi_quic_packet p[3];
        for (uint32_t i = 0; i < 3; i++) {
            random_fill(wire[i], sizeof wire[i]);
            wire[i][0] = 0x43;
            p[i] = (ssbi_quic_packet){wire[i], 90, 13, 77 + i, 0};
        }
        ssbi_quic_seal(&keys, p, 3);
        wire[1][at] ^= (uint8_t)(1u << random_below(at == 0 ? 2 : 8));
        ssbi_quic_unmask(&keys, p, 3, 9);
        ssbi_quic_open(&keys, p, 3);
        CHECK(p[0].good && !p[1].good && p[2].good);
    }
}

/* The number of a block is the last part of a sample: it wraps for nothing. */
static void key_stream(void) {
    uint8_t bytes[32], out[SSB_BLOCKS][64], nonce[12], want[64];
    uint32_t words[8];
    ssb_blocks b;
    for (uint32_t n = 1; n <= SSB_BLOCKS; n++) {
        random_fill(bytes, sizeof bytes);
        for (int i = 0; i < 8; i++) words[i] = load32_le(bytes + 4 * i);
        for (uint32_t i = 0; i < SSB_BLOCKS; i++) {
            b.first[i] = random_below(UINT32_MAX);
            b.low[i] = random_below(UINT32_MAX);
            b.high[i] = random_below(UINT32_MAX);
            b.number[i] = i % 5 == 0 ? UINT32_MAX : random_below(UINT32_MAX);
            b.in[i] = i % 3 == 0 ? out[i] : NULL;
            b.out[i] = out[i];
            if (b.in[i] != NULL) memset(out[i], 0, 64);
        }
        (AEAD.kernel != NULL ? AEAD.kernel->_chacha : ssbi_chacha20_portable)(words, &b, n);
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t of_nonce[3] = {b.first[i], b.low[i], b.high[i]};
            for (int k = 0; k < 12; k++) nonce[k] = (uint8_t)(of_nonce[k / 4] >> (8 * (k % 4)));
            memset(want, 0, sizeof want);
            CHECK(crypto_stream_chacha20_ietf_xor_ic(want, want, 64, nonce, b.number[i], bytes) == 0);
            CHECK(memcmp(out[i], want, 64) == 0);
        }
    }
}

int main(void) {
    crypto_begin();
    KERNEL._longest = UINT16_MAX; /* ours for all lengths */
    for (size_t i = 0; i < BATCH; i++) guards[i] = guard_new(MOST);
    block_vector();
    aead_vector();
    packet_vector();
    random_keys();
    key_stream();
    every_length();
    every_place();
    return 0;
}
