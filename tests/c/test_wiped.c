/* test_wiped.c: what the kernels leave behind. A thread whose stack is ours seals and opens; afterwards no 8 bytes of
 * its stack may be a piece of a key or of key stream, nor 16 bytes a piece of a sub-key or of Poly1305's r and its powers
 * (single words compilers do leave behind, where registers are too few). And structs hold nothing once they are closed, have said
 * goodbye or have met a mistake.
 *
 * Sanitizers make stacks of their own: the search is for builds like the package's (SSB_LOOK). */
#include "check.h"

#include "poly1305.h"
#include "quic_packets.h"

#ifdef SSB_LOOK
#include <pthread.h>
#endif

#define BOXES 20u
#define BODY_MOST 4096u

static uint8_t key[SSB_KEY], nonce[SSB_NONCE];
static uint8_t plain[BOXES * BODY_MOST], wire[BOXES * (BODY_MOST + SSB_BOX_HEADER)];
static ssb_sealer sealer;
static ssb_opener opener;

static void begin(void) {
    ssb_sealer_init(&sealer, &CRYPTO, key, nonce);
    ssb_opener_init(&opener, &CRYPTO, key, nonce, SSB_BOX_BODY);
}

static int is_zero(const void *p, size_t n) { return sodium_is_zero(p, n); }

static void structs(void) {
    uint8_t goodbye[SSB_BOX_HEADER];
    size_t used;
    for (int way = 0; way < 4; way++) {
        begin();
        CHECK(ssb_seal(&sealer, plain, 100, wire) == SSB_OK);
        CHECK(ssb_seal(&sealer, plain, 100, wire + 134) == SSB_OK);
        CHECK(ssb_open(&opener, wire, 134, &used) == SSB_OK);
        CHECK(CRYPTO.kernel == NULL || (!is_zero(sealer._subkey, 32) && !is_zero(opener._subkey, 32)));
        if (way == 0) ssb_sealer_close(&sealer);
        if (way != 0) CHECK(ssb_seal_goodbye(&sealer, goodbye) == SSB_OK);
        if (way == 0) ssb_opener_close(&opener);
        if (way == 1) CHECK(ssb_open(&opener, wire, 134, &used) == SSB_E_HEADER);
        wire[200] ^= 1;
        if (way == 2) CHECK(ssb_open(&opener, wire + 134, 134, &used) == SSB_E_BODY);
        if (way == 3) { /* the goodbye itself */
            wire[200] ^= 1;
            CHECK(ssb_open(&opener, wire + 134, 134, &used) == SSB_OK);
            CHECK(ssb_open(&opener, goodbye, sizeof goodbye, &used) == SSB_ENDED);
        }
        CHECK(is_zero(sealer._key, SSB_KEY) && is_zero(sealer._nonce, SSB_NONCE) && is_zero(sealer._subkey, 32));
        CHECK(is_zero(opener._key, SSB_KEY) && is_zero(opener._nonce, SSB_NONCE) && is_zero(opener._subkey, 32));
    }
}

#ifdef SSB_LOOK

#define STACK (1u << 17)
#define FILL 0xa5
#define STREAM (2 * 64 + BODY_MOST)

static size_t body_n, boxes_n;
static int code;

static void *seal_all(void *unused) {
    code = ssb_seal(&sealer, plain, boxes_n * body_n, wire);
    return unused;
}

static void *open_all(void *unused) {
    uint16_t bodies[BOXES];
    size_t count, used, need, n = boxes_n * (SSB_BOX_HEADER + body_n);
    code = ssb_open_many(&opener, wire, n, bodies, boxes_n, &count, &used, &need);
    return unused;
}

/* No such piece of secret[0..n) lies in the stack. */
static void look(const uint8_t *stack, const void *secret, size_t n, size_t piece, const char *what) {
    const uint8_t *at = secret, *top = stack + STACK;
    while (*stack == FILL) stack++; /* never used */
    for (size_t i = 0; i + piece <= n; i += 8) {
        const uint8_t *found = memmem(stack, (size_t)(top - stack), at + i, piece);
        if (found == NULL) continue;
        fprintf(stderr, "%s, byte %zu: in the stack, %zu bytes below its top\n", what, i, (size_t)(top - found));
        exit(1);
    }
}

/* r and its powers up to the 16th, in limbs of 44 bits as they are kept. */
static void look_powers(const uint8_t *stack, const uint8_t *poly_key) {
#if SSBI_KERNELS
    ssbi_poly p;
    uint64_t power[3];
    ssbi_poly_begin(&p, poly_key);
    memcpy(power, p.r, sizeof power);
    for (int i = 1; i <= 16; i++) {
        look(stack, power, sizeof power, 16, "power of r");
        ssbi_poly_multiply(power, p.r);
    }
#else
    (void)stack, (void)poly_key;
#endif
}

static void step(uint8_t *n) {
    for (int i = SSB_NONCE - 1; i >= 0 && ++n[i] == 0; i--) continue;
}

static uint8_t *on_own_stack(void *(*work)(void *)) {
    uint8_t *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(stack != MAP_FAILED);
    memset(stack, FILL, STACK);
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstack(&attributes, stack, STACK) == 0);
    CHECK(pthread_create(&thread, &attributes, work, NULL) == 0 && pthread_join(thread, NULL) == 0);
    return stack;
}

static void of_boxes(void *(*work)(void *)) {
    static uint8_t stream[STREAM];
    uint8_t *stack = on_own_stack(work), subkey[32], at[SSB_NONCE];
    CHECK(code == SSB_OK);
    look(stack, key, sizeof key, 8, "key");
    CHECK(crypto_core_hsalsa20(subkey, nonce, key, NULL) == 0);
    look(stack, subkey, sizeof subkey, 16, "sub-key");
    memcpy(at, nonce, sizeof at);
    for (size_t i = 0; i < 2 * boxes_n; i++, step(at)) {
        const size_t n = i % 2 ? 64 + body_n : 64;
        CHECK(crypto_stream_xsalsa20(stream, n, at, key) == 0);
        look(stack, stream, n, 8, i % 2 ? "key stream of a body" : "key stream of a header");
        look_powers(stack, stream);
    }
    CHECK(munmap(stack, STACK) == 0);
}

static ssbi_quic_keys packet_keys;
static ssbi_quic_packet packets[BOXES];
static uint8_t hp[32];

static void *seal_packets(void *unused) {
    ssbi_quic_seal(&packet_keys, packets, boxes_n);
    return unused;
}

static void *open_packets(void *unused) {
    ssbi_quic_unmask(&packet_keys, packets, boxes_n, 9);
    ssbi_quic_open(&packet_keys, packets, boxes_n);
    return unused;
}

static void of_packets(void *(*work)(void *)) {
    static uint8_t stream[STREAM];
    uint8_t *stack = on_own_stack(work), at[12];
    look(stack, key, sizeof key, 16, "key");
    look(stack, hp, sizeof hp, 16, "key of headers");
    for (size_t i = 0; i < boxes_n; i++) {
        memcpy(at, packet_keys._iv, sizeof at);
        at[11] ^= (uint8_t)packets[i].number;
        CHECK(crypto_stream_chacha20_ietf(stream, 64 + body_n, at, packet_keys._key) == 0);
        look(stack, stream, 32, 8, "key of a tag");
        look(stack, stream + 64, body_n, 8, "key stream of a packet");
        look_powers(stack, stream);
    }
    CHECK(munmap(stack, STACK) == 0);
}

static void search_packets(void) {
    static const size_t sizes[] = {24, 64, 200, 700, 1436};
    uint8_t iv[12];
    packet_keys._aead = &AEAD;
    random_fill(iv, sizeof iv);
    random_fill(hp, sizeof hp);
    ssbi_quic_set_key(&packet_keys, key, iv);
    ssbi_quic_set_hp(&packet_keys, hp);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (boxes_n = 1; boxes_n <= BOXES; boxes_n += 5) {
            body_n = sizes[i];
            for (uint32_t n = 0; n < boxes_n; n++) {
                packets[n] = (ssbi_quic_packet){wire + n * 1500, (uint32_t)(13 + body_n + 16), 13, n, 0};
                wire[n * 1500] = 0x43;
            }
            of_packets(seal_packets);
            of_packets(open_packets);
            for (size_t n = 0; n < boxes_n; n++) CHECK(packets[n].good);
        }
}

static void search(void) {
    static const size_t sizes[] = {1, 9, 33, 64, 200, 400, 1000, 4096};
    if (CRYPTO.kernel == NULL) return;
    KERNEL._longest = UINT16_MAX; /* ours for all lengths */
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (boxes_n = 1; boxes_n <= BOXES; boxes_n += 5) {
            body_n = sizes[i];
            if (body_n != SSB_BOX_BODY && boxes_n > 1) continue; /* ssb_seal cuts where boxes are full */
            begin();
            of_boxes(seal_all);
            of_boxes(open_all);
        }
}

#endif

int main(void) {
    crypto_begin();
    random_fill(key, sizeof key);
    random_fill(nonce, sizeof nonce);
    random_fill(plain, sizeof plain);
    structs();
#ifdef SSB_LOOK
    search();
    if (AEAD.kernel != NULL) search_packets();
#endif
    return 0;
}
