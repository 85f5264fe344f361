/* test_secrets.c: no branch and no address depends on a secret. Keys and texts are marked undefined; under valgrind
 * (SSB_VALGRIND) or clang's memory sanitizer (SSB_MSAN), which knows AVX-512 as well, every jump or access that such
 * bytes decide about is an error. Otherwise it only runs. */
#include "check.h"

#include "kernel.h"

#if defined(SSB_VALGRIND)
#include <valgrind/memcheck.h>
#define SECRET(p, n) VALGRIND_MAKE_MEM_UNDEFINED(p, n)
#define KNOWN(p, n) VALGRIND_MAKE_MEM_DEFINED(p, n)
#elif defined(SSB_MSAN)
#include <sanitizer/msan_interface.h>
#define SECRET(p, n) __msan_poison(p, n)
#define KNOWN(p, n) __msan_unpoison(p, n)
#else
#define SECRET(p, n) ((void)(p), (void)(n))
#define KNOWN(p, n) ((void)(p), (void)(n))
#endif

#if SSBI_KERNELS

static void salsa(void) {
    uint8_t key[32], nonce[16], in[20][64], out[20][64];
    uint32_t subkey[8];
    ssb_blocks blocks = {{0}, {0}, {0}, {0}, {0}};
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
    for (size_t n = 1; n <= 20; n++) CRYPTO.kernel->_blocks(subkey, &blocks, n);
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
        CRYPTO.kernel->_poly(mac, key, m, n);
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

int main(void) {
    crypto_begin();
    if (CRYPTO.kernel == NULL) return 0;
    salsa();
    poly();
    KERNEL._longest = UINT16_MAX; /* ours for all lengths: libsodium is not what is tested here */
    sealing();
    return 0;
}

#else

int main(void) { return 0; }

#endif
