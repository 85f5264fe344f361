/* inlet.c: inlets, the routes of arriving packets, and the list of those whose lane has no room. */
#include "internal.h"

#include <string.h>

ssb_inlet **ssbi_bucket(ssb_link *l, int32_t req) {
    return &l->_buckets[((uint32_t)req * 2654435761u) >> 26]; /* the golden ratio's multiple: 6 upper bits */
}

_Static_assert(SSB_BUCKETS == 64, "ssbi_bucket yields 6 bits");

ssb_inlet *ssbi_inlet_find(const ssb_link *l, int32_t req) {
    ssb_inlet *i = l->_buckets[((uint32_t)req * 2654435761u) >> 26];
    while (i != NULL && i->_req != req) i = i->_next;
    return i;
}

void ssb_inlet_init(ssb_inlet *i, ssb_link *l, int32_t req, ssb_lane *lane) {
    memset(i, 0, sizeof *i);
    i->_req = req;
    i->_lane = lane;
    if (l->_goodbye == LINK_CLOSED) return;
    ssb_inlet **bucket = ssbi_bucket(l, req);
    i->_link = l;
    i->_next = *bucket;
    *bucket = i;
}

void ssb_inlet_close(ssb_inlet *i) {
    ssb_link *l = i->_link;
    if (l == NULL) return;
    ssbi_inlet_gone(l, i);
    ssb_inlet **at = ssbi_bucket(l, i->_req);
    while (*at != i) at = &(*at)->_next;
    *at = i->_next;
    i->_next = NULL;
    i->_link = NULL;
}

/* ---------------------------------------------------------------- without room */

void ssbi_inlet_over(ssb_link *l, ssb_inlet *i) {
    if (i->_over) return;
    i->_over = 1;
    i->_next_over = l->_over;
    l->_over = i;
}

static void blocked_remove(ssb_link *l, ssb_inlet *i) {
    if (!i->_over) return;
    ssb_inlet **at = &l->_over;
    while (*at != i) at = &(*at)->_next_over;
    *at = i->_next_over;
    i->_next_over = NULL;
    i->_over = 0;
}

int ssbi_link_blocked(ssb_link *l) {
    while (l->_over != NULL && !ssbi_lane_over(l->_over->_lane)) blocked_remove(l, l->_over);
    return l->_over != NULL || ssbi_pool_shut(l->_hub);
}

ssb_lane *ssb_link_blocked(const ssb_link *l) { return l->_over != NULL ? l->_over->_lane : NULL; }

void ssbi_inlet_gone(ssb_link *l, ssb_inlet *i) {
    blocked_remove(l, i);
    if (l->_into != i) return;
    l->_into = NULL;
    l->_mode = SKIP;
    ssbi_keep(l->_hub, &l->_assembly, 0);
}
