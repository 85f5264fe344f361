/* link.c: the life of a link, and its control packets. What arrives: link_receive.c; what leaves: link_flush.c. */
#include "internal.h"

#include <string.h>

void ssb_link_init(ssb_link *l, ssb_hub *h, uint32_t id, const ssb_crypto *crypto, const ssb_limits *limits,
                   const uint8_t *send_key, const uint8_t *send_nonce, const uint8_t *receive_key,
                   const uint8_t *receive_nonce, int split) {
    memset(l, 0, sizeof *l);
    l->_hub = h;
    l->_id = id;
    l->_limits = *limits;
    if (l->_limits.box_body > UINT16_MAX) l->_limits.box_body = UINT16_MAX; /* what the scratch area holds */
    l->_split = split != 0;
    l->_need = SSB_BOX_HEADER;
    ssb_sealer_init(&l->_sealer, crypto, send_key, send_nonce);
    ssb_opener_init(&l->_opener, crypto, receive_key, receive_nonce, l->_limits.box_body);
    ssb_scanner_init(&l->_scanner);
    l->_next_link = h->_links;
    if (h->_links != NULL) h->_links->_previous_link = l;
    h->_links = l;
}

static void leave_hub(ssb_link *l) {
    if (l->_next_link != NULL) l->_next_link->_previous_link = l->_previous_link;
    if (l->_previous_link != NULL) l->_previous_link->_next_link = l->_next_link;
    else l->_hub->_links = l->_next_link;
    l->_next_link = l->_previous_link = NULL;
}

int ssb_link_control(ssb_link *l, uint8_t flags, int32_t req, const uint8_t *body, size_t body_n) {
    const size_t size = SSB_PACKET_HEAD + body_n;
    uint8_t head[SSB_PACKET_HEAD];
    if (l->_goodbye != GOODBYE_NONE || body_n >= UINT32_MAX - SSB_PACKET_HEAD) return SSB_E_CLOSED;
    if (body_n == 0 && (flags != 0 || req != 0)) return SSB_E_CLOSED;
    if (l->_control._bytes + size > l->_limits.control_backlog) return SSB_FULL;
    if (ssbi_slabs_for(size) >= ssbi_slabs_free(l->_hub)) return SSB_FULL;
    const uint32_t before = l->_control._slabs;
    ssb_write_head(head, flags, (uint32_t)body_n, req);
    if (ssbi_append(l->_hub, &l->_control, head, sizeof head) != SSB_OK) return SSB_FULL;
    if (body_n > 0 && ssbi_append(l->_hub, &l->_control, body, body_n) != SSB_OK) return SSB_FULL; /* both fit */
    l->_hub->_outgoing += l->_control._slabs - before;
    ssbi_link_dirty(l);
    return SSB_OK;
}

void ssb_link_goodbye(ssb_link *l) {
    if (l->_goodbye != GOODBYE_NONE) return;
    l->_goodbye = GOODBYE_WANTED;
    ssbi_link_dirty(l);
}

size_t ssb_link_queued(const ssb_link *l) { return (size_t)l->_lane_bytes; }
size_t ssb_link_control_queued(const ssb_link *l) { return (size_t)l->_control._bytes; }

void ssb_link_close(ssb_link *l) {
    if (l->_goodbye == LINK_CLOSED) return;
    while (l->_lanes != NULL) ssb_lane_close(l->_lanes);
    for (size_t b = 0; b < SSB_BUCKETS; b++)
        while (l->_buckets[b] != NULL) ssb_inlet_close(l->_buckets[b]);
    ssbi_receive_close(l);
    l->_hub->_outgoing -= l->_control._slabs;
    ssbi_keep(l->_hub, &l->_control, 0);
    ssbi_link_clean(l);
    leave_hub(l);
    ssb_sealer_close(&l->_sealer);
    ssb_opener_close(&l->_opener);
    l->_dead = SSB_E_CLOSED;
    l->_goodbye = LINK_CLOSED;
}
