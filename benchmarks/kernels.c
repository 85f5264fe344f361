/* kernels.c: the box stream without Python, on every path of this machine, as ratios to libsodium in the same run.
 *
 *   cc -O3 -std=gnu11 -Icsrc benchmarks/kernels.c csrc/[!_]*.c -lsodium -o kernels && ./kernels */
#include "internal.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOTAL 65536u
#define BOXES 4096u
#define WIRE (TOTAL + BOXES * SSB_BOX_HEADER)
#define PATHS 5

static const char *const NAMES[PATHS] = {"libsodium", "portable", "sse2", "avx2", "avx512"};
static const size_t SIZES[][2] = {{9, 9},       {64, 64},     {256, 256},   {512, 512},
                                  {1024, 1024}, {2048, 2048}, {4096, 4096}, {9, 1000}};
static ssb_crypto tables[PATHS];
static ssb_kernel kernels[PATHS];
static uint8_t plain[TOTAL], wire[WIRE], first[WIRE], opened[WIRE];
static ssbi_box boxes[BOXES];
static uint16_t bodies[BOXES];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void check(int right) {
    if (right) return;
    fprintf(stderr, "an answer is WRONG\n");
    exit(1);
}

/* Boxes of these two sizes in turn; how many. */
static size_t lay_out(const size_t *size) {
    size_t count = 0, from = 0, to = 0;
    for (; count < BOXES && from + size[count % 2] <= TOTAL; count++) {
        boxes[count] = (ssbi_box){plain + from, wire + to, size[count % 2]};
        from += boxes[count].n;
        to += SSB_BOX_HEADER + boxes[count].n;
    }
    return count;
}

/* Seconds to seal and to open, `at_once` boxes a call. */
static void once(int path, size_t count, size_t at_once, double *best) {
    static const uint8_t key[SSB_KEY] = {1}, nonce[SSB_NONCE] = {2};
    const size_t all = (size_t)(boxes[count - 1].out - wire) + SSB_BOX_HEADER + boxes[count - 1].n;
    ssb_sealer s;
    ssb_opener o;
    size_t at = 0, got, used, need;
    ssb_sealer_init(&s, &tables[path], key, nonce);
    ssb_opener_init(&o, &tables[path], key, nonce, SSB_BOX_BODY);
    double began = now();
    for (size_t i = 0; i < count; i += at_once) check(ssbi_seal_boxes(&s, boxes + i, smaller(at_once, count - i)) == 0);
    best[0] = now() - began < best[0] ? now() - began : best[0];
    if (path == 0) memcpy(first, wire, all);
    check(memcmp(first, wire, all) == 0);
    memcpy(opened, wire, all);
    began = now();
    for (size_t i = 0; i < count; i += at_once, at += used) {
        const size_t n = at_once == 1 ? SSB_BOX_HEADER + boxes[i].n : all - at;
        check(ssb_open_many(&o, opened + at, n, bodies, smaller(at_once, count - i), &got, &used, &need) == SSB_OK);
    }
    best[1] = now() - began < best[1] ? now() - began : best[1];
    check(at == all && memcmp(opened + all - boxes[count - 1].n, boxes[count - 1].plain, boxes[count - 1].n) == 0);
}

static void row(const size_t *size, size_t at_once) {
    double best[PATHS][2] = {{9, 9}, {9, 9}, {9, 9}, {9, 9}, {9, 9}};
    const size_t count = lay_out(size);
    const double bytes = (double)(boxes[count - 1].plain + boxes[count - 1].n - plain);
    for (int round = 0; round < 60; round++)
        for (int path = 0; path < PATHS; path++)
            if (path == 0 || tables[path].kernel != NULL) once(path, count, at_once, best[path]);
    printf("| %zu", size[0]);
    if (size[1] != size[0]) printf("+%zu", size[1]);
    printf(" | %.0f/%.0f", bytes / best[0][0] / 1e6, bytes / best[0][1] / 1e6);
    for (int path = PATHS - 1; path > 0; path--)
        printf(" | %.1f/%.1f", best[0][0] / best[path][0], best[0][1] / best[path][1]);
    printf(" |\n");
}

int main(void) {
    check(sodium_init() >= 0);
    randombytes_buf(plain, sizeof plain);
    for (int i = 0; i < PATHS; i++) {
        tables[i] = (ssb_crypto){crypto_secretbox_easy, crypto_secretbox_open_easy, sodium_memzero, NULL};
        if (ssb_kernel_init(&kernels[i], NAMES[i]) == SSB_OK) tables[i].kernel = &kernels[i];
    }
    for (int single = 0; single < 2; single++) {
        printf("\n%s\n\n", single ? "One box a call:" : "Many boxes a call:");
        printf("| body bytes | libsodium %s MB/s | avx512 | avx2 | sse2 | portable |\n|---|---|---|---|---|---|\n",
               sodium_version_string());
        for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) row(SIZES[i], single ? 1 : BOXES);
    }
    return 0;
}
