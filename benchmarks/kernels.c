/* kernels.c: the box stream without Python, on every path of this machine, as ratios to libsodium in the same run. The
 * paths take turns. Two tables each: the best of all rounds, and the median over the rounds of the ratio within one.
 *
 *   cc -O3 -std=gnu11 -Icsrc benchmarks/kernels.c csrc/[!_]*.c -lsodium -o kernels && ./kernels
 *
 * As a library (-shared -fPIC) it is measured by kernels.py, with the libsodium whose addresses it is given; "system" is
 * then the one that it is linked with. */
#include "internal.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOTAL 65536u
#define BOXES 4096u
#define WIRE (TOTAL + BOXES * SSB_BOX_HEADER)
#define PATHS 7
#define ROUNDS 61

static const char *const NAMES[PATHS] = {"libsodium", "avx512", "avx2", "sse2", "neon", "portable", "system"};
static const size_t SIZES[][2] = {{9, 9},       {64, 64},     {256, 256},   {512, 512},
                                  {1024, 1024}, {2048, 2048}, {4096, 4096}, {9, 1000}};
static ssb_crypto tables[PATHS];
static ssb_kernel kernels[PATHS];
static int present[PATHS];
static uint8_t plain[TOTAL], wire[WIRE], first[WIRE], opened[WIRE];
static ssbi_box boxes[BOXES];
static uint16_t bodies[BOXES];
static double seconds[PATHS][2][ROUNDS], walls[PATHS][2][ROUNDS]; /* to seal, to open: of CPU, on the clock */

static double read_clock(clockid_t which) {
    struct timespec t;
    clock_gettime(which, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu_began, wall_began;

static void begin(void) {
    wall_began = read_clock(CLOCK_MONOTONIC);
    cpu_began = read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

static void end(int path, int way, int round) {
    seconds[path][way][round] = read_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu_began;
    walls[path][way][round] = read_clock(CLOCK_MONOTONIC) - wall_began;
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

/* Seal and open, `at_once` boxes a call. */
static void once(int path, size_t count, size_t at_once, int round) {
    static const uint8_t key[SSB_KEY] = {1}, nonce[SSB_NONCE] = {2};
    const size_t all = (size_t)(boxes[count - 1].out - wire) + SSB_BOX_HEADER + boxes[count - 1].n;
    ssb_sealer s;
    ssb_opener o;
    size_t at = 0, got, used, need;
    ssb_sealer_init(&s, &tables[path], key, nonce);
    ssb_opener_init(&o, &tables[path], key, nonce, SSB_BOX_BODY);
    begin();
    for (size_t i = 0; i < count; i += at_once) check(ssbi_seal_boxes(&s, boxes + i, smaller(at_once, count - i)) == 0);
    end(path, 0, round);
    if (path == 0) memcpy(first, wire, all);
    check(memcmp(first, wire, all) == 0);
    memcpy(opened, wire, all);
    begin();
    for (size_t i = 0; i < count; i += at_once, at += used) {
        const size_t n = at_once == 1 ? SSB_BOX_HEADER + boxes[i].n : all - at;
        check(ssb_open_many(&o, opened + at, n, bodies, smaller(at_once, count - i), &got, &used, &need) == SSB_OK);
    }
    end(path, 1, round);
    check(at == all && memcmp(opened + all - boxes[count - 1].n, boxes[count - 1].plain, boxes[count - 1].n) == 0);
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double best(int path, int way) {
    double least = seconds[path][way][0];
    for (int i = 1; i < ROUNDS; i++) least = seconds[path][way][i] < least ? seconds[path][way][i] : least;
    return least;
}

/* By how much libsodium takes longer. */
static double ratio(int path, int way, int medians) {
    double each[ROUNDS];
    if (!medians) return best(0, way) / best(path, way);
    for (int i = 0; i < ROUNDS; i++) each[i] = seconds[0][way][i] / seconds[path][way][i];
    qsort(each, ROUNDS, sizeof *each, compare);
    return each[ROUNDS / 2];
}

/* A line of both tables. */
static void row(char (*lines)[256], const size_t *size, size_t at_once) {
    const size_t count = lay_out(size);
    const double bytes = (double)(boxes[count - 1].plain + boxes[count - 1].n - plain);
    for (int round = 0; round < ROUNDS; round++)
        for (int path = 0; path < PATHS; path++)
            if (present[path]) once(path, count, at_once, round);
    for (int medians = 0; medians < 2; medians++) {
        char *line = lines[medians], sizes[32];
        snprintf(sizes, sizeof sizes, size[1] == size[0] ? "%zu" : "%zu+%zu", size[0], size[1]);
        int n = snprintf(line, 256, "| %s | %.0f/%.0f |", sizes, bytes / best(0, 0) / 1e6, bytes / best(0, 1) / 1e6);
        for (int path = 1; path < PATHS; path++)
            if (present[path])
                n += snprintf(line + n, 256 - (size_t)n, " %.1f/%.1f |", ratio(path, 0, medians),
                              ratio(path, 1, medians));
    }
}

static void report(const char *title, size_t at_once) {
    enum { ROWS = sizeof SIZES / sizeof *SIZES };
    static char lines[ROWS][2][256];
    for (size_t i = 0; i < ROWS; i++) row(lines[i], SIZES[i], at_once);
    for (int medians = 0; medians < 2; medians++) {
        printf("\n%s, %s:\n\n| body bytes | libsodium %s MB/s |", title, medians ? "median ratio" : "best",
               sodium_version_string());
        for (int path = 1; path < PATHS; path++)
            if (present[path]) printf(" %s |", NAMES[path]);
        printf("\n|---|---|");
        for (int path = 1; path < PATHS; path++)
            if (present[path]) printf("---|");
        printf("\n");
        for (size_t i = 0; i < ROWS; i++) printf("%s\n", lines[i][medians]);
    }
}

static void prepare(const ssb_crypto *base) {
    check(sodium_init() >= 0);
    randombytes_buf(plain, sizeof plain);
    for (int i = 0; i < PATHS; i++) {
        tables[i] = *base;
        if (ssb_kernel_init(&kernels[i], NAMES[i]) == SSB_OK) tables[i].kernel = &kernels[i];
        present[i] = i == 0 || tables[i].kernel != NULL;
    }
}

static const ssb_crypto LINKED = {crypto_secretbox_easy, crypto_secretbox_open_easy, sodium_memzero, NULL};

/* For kernels.py: boxes of a and b bytes in turn, `at_once` a call (0: all). out[clock][path][way][round] becomes seconds,
 * and 0 where there is no such path; clock 0 is CPU time, 1 the wall's; way 0 is to seal, 1 to open. *bytes: plain bytes
 * of a pass. */
void kernels_measure(const ssb_crypto *base, size_t a, size_t b, size_t at_once, int rounds, double *out,
                     size_t *bytes);
void kernels_measure(const ssb_crypto *base, size_t a, size_t b, size_t at_once, int rounds, double *out,
                     size_t *bytes) {
    const size_t size[2] = {a, b};
    prepare(base);
    tables[PATHS - 1] = LINKED;
    present[PATHS - 1] = 1;
    memset(seconds, 0, sizeof seconds);
    memset(walls, 0, sizeof walls);
    const size_t count = lay_out(size);
    check(rounds > 0 && rounds <= ROUNDS);
    for (int round = 0; round < rounds; round++)
        for (int path = 0; path < PATHS; path++)
            if (present[path]) once(path, count, at_once == 0 ? BOXES : at_once, round);
    for (int clock = 0; clock < 2; clock++)
        for (int path = 0; path < PATHS; path++)
            for (int way = 0; way < 2; way++)
                for (int round = 0; round < rounds; round++)
                    *out++ = (clock == 0 ? seconds : walls)[path][way][round];
    *bytes = (size_t)(boxes[count - 1].plain + boxes[count - 1].n - plain);
}

int main(void) {
    prepare(&LINKED);
    report("Many boxes a call", BOXES);
    report("One box a call", 1);
    return 0;
}
