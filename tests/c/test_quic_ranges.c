/* test_quic_ranges.c: sets of numbers against a plain array of marks. */
#include "check.h"

#include "quic.h"

#define SPACE 1500u

static uint8_t marks[SPACE];
static ssbi_ranges set;

static void compare(void) {
    uint32_t runs = 0;
    for (uint32_t i = 0; i < SPACE; i++) {
        CHECK(ssbi_ranges_has(&set, i) == marks[i]);
        if (marks[i] && (i == 0 || !marks[i - 1])) {
            CHECK(runs < set.n && set.at[runs].first == i);
            runs++;
        }
        if (marks[i] && (i + 1 == SPACE || !marks[i + 1])) CHECK(set.at[runs - 1].end == i + 1);
    }
    CHECK(runs == set.n);
}

static uint32_t count_runs(void) {
    uint32_t runs = 0;
    for (uint32_t i = 0; i < SPACE; i++) runs += marks[i] && (i == 0 || !marks[i - 1]);
    return runs;
}

/* What the marks would have after the change, or as they were where that is too many ranges. */
static int change(uint32_t first, uint32_t end, uint8_t value) {
    uint8_t before[SPACE];
    memcpy(before, marks, SPACE);
    if (first < end) memset(marks + first, value, end - first);
    if (count_runs() <= SSBI_RANGES) return 1;
    memcpy(marks, before, SPACE);
    return 0;
}

static void random_changes(uint32_t longest, uint32_t rounds) {
    memset(marks, 0, SPACE);
    set.n = 0;
    for (uint32_t i = 0; i < rounds; i++) {
        const uint32_t first = random_below(SPACE), end = first + random_below(longest);
        const uint32_t last = end < SPACE ? end : SPACE;
        if (random_below(3) > 0) {
            CHECK((ssbi_ranges_add(&set, first, last) == SSB_OK) == change(first, last, 1));
        } else if (set.n > 0 && random_below(20) == 0) {
            const uint32_t gone = random_below(set.n + 1);
            const uint64_t below = gone > 0 ? set.at[gone - 1].end : 0;
            memset(marks, 0, below);
            ssbi_ranges_drop(&set, gone);
        } else {
            ssbi_ranges_remove(&set, first, last);
            (void)change(first, last, 0);
        }
        compare();
    }
}

int main(void) {
    random_changes(40, 3000);
    random_changes(3, 6000); /* full now and then */
    set.n = 0;
    for (uint32_t i = 0; i < SSBI_RANGES; i++) CHECK(ssbi_ranges_add(&set, 2 * i, 2 * i + 1) == SSB_OK);
    CHECK(ssbi_ranges_add(&set, 2 * SSBI_RANGES, 2 * SSBI_RANGES + 1) == SSB_FULL);
    CHECK(ssbi_ranges_add(&set, 1, 2) == SSB_OK && set.n == SSBI_RANGES - 1); /* a gap closed */
    CHECK(ssbi_ranges_add(&set, QUIC_NUMBER_MAX, QUIC_NUMBER_MAX + 1) == SSB_OK);
    CHECK(ssbi_ranges_has(&set, QUIC_NUMBER_MAX) && !ssbi_ranges_has(&set, QUIC_NUMBER_MAX - 1));
    return 0;
}
