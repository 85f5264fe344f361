/* check.h: what the C tests share. A failed check ends the program with its place. */
#ifndef SSBFAST_TESTS_CHECK_H
#define SSBFAST_TESTS_CHECK_H

#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE
#endif
#include "ssbfast.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(what)                                                             \
    do {                                                                        \
        if (!(what)) {                                                          \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);  \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

static ssb_kernel KERNEL;
static ssb_crypto CRYPTO = {crypto_secretbox_easy, crypto_secretbox_open_easy, sodium_memzero, NULL};
static ssb_aead AEAD = {crypto_aead_chacha20poly1305_ietf_encrypt, crypto_aead_chacha20poly1305_ietf_decrypt,
                        sodium_memzero, NULL};

/* Whether SSBFAST_WITHOUT, names with commas, has this one. */
static inline int left_out(const char *name) {
    const char *names = getenv("SSBFAST_WITHOUT");
    for (size_t n; names != NULL; names = names[n] == ',' ? names + n + 1 : NULL) {
        n = strcspn(names, ",");
        if (n == strlen(name) && strncmp(names, name, n) == 0) return 1;
    }
    return 0;
}

/* Call it first. The environment variable SSBFAST_BACKEND names the kernel to be tested; without it, libsodium alone.
 * A path that this machine does not offer, or that SSBFAST_WITHOUT names, ends the program with 77. */
static inline void crypto_begin(void) {
    const char *name = getenv("SSBFAST_BACKEND");
    CHECK(sodium_init() >= 0);
    if (name == NULL || strcmp(name, "") == 0 || strcmp(name, "libsodium") == 0) return;
    if (left_out(name) || ssb_kernel_init(&KERNEL, name) != SSB_OK) exit(77);
    CRYPTO.kernel = AEAD.kernel = &KERNEL;
}

/* ---------------------------------------------------------------- memory that ends where a page begins to fault */

typedef struct {
    uint8_t *page;
    size_t size; /* without the guard */
} guarded;

static inline guarded guard_new(size_t most) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    guarded g = {NULL, (most + page - 1) / page * page};
    void *p = mmap(NULL, g.size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    g.page = p;
    CHECK(mprotect(g.page + g.size, page, PROT_NONE) == 0);
    return g;
}

/* n bytes whose last one is the last before the guard. */
static inline uint8_t *guard_end(const guarded *g, size_t n) {
    CHECK(n <= g->size);
    return g->page + (g->size - n);
}

/* The same, with a copy of data in it. */
static inline uint8_t *guard_put(const guarded *g, const uint8_t *data, size_t n) {
    uint8_t *p = guard_end(g, n);
    if (n > 0) memcpy(p, data, n);
    return p;
}

/* ---------------------------------------------------------------- numbers that look random, the same each time */

static uint64_t random_state = 1;

static inline uint32_t random_below(uint32_t n) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % n;
}

static inline void random_fill(uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)random_below(256);
}

#endif
