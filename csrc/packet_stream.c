/* packet_stream.c: packet = head(9) || body.
 *
 *   flags(1)  0x08 stream, 0x04 end, low two bits 0 bytes, 1 text, 2 JSON; upper bits unused
 *   length(4, unsigned big-endian)  of the body
 *   req(4, signed big-endian) */
#include "internal.h"

#include <string.h>

#define FLAGS_USED 0x0fu
#define TYPE_BAD 3u

void ssb_scanner_init(ssb_scanner *s) { memset(s, 0, sizeof *s); }

int ssb_scan_head(ssb_scanner *s, const uint8_t *in, size_t n, size_t *used, int *head_done, uint8_t *flags,
                  int32_t *req, uint32_t *length) {
    const size_t take = smaller(n, (size_t)(SSB_PACKET_HEAD - s->_have));
    if (take > 0) memcpy(s->_raw + s->_have, in, take);
    *used = take;
    s->_have = (uint8_t)(s->_have + take);
    *head_done = s->_have == SSB_PACKET_HEAD;
    if (!*head_done) return SSB_OK;
    const uint32_t number = load32(s->_raw + 5);
    s->_have = 0;
    *flags = s->_raw[0] & FLAGS_USED;
    *length = s->_left = load32(s->_raw + 1);
    memcpy(req, &number, sizeof *req); /* two's complement, without the implementation-defined conversion */
    return (*flags & SSB_TYPE_MASK) == TYPE_BAD ? SSB_E_TYPE : SSB_OK;
}

uint32_t ssb_scanner_left(const ssb_scanner *s) { return s->_left; }

void ssb_scanner_take(ssb_scanner *s, uint32_t n) { s->_left -= n; }

void ssb_write_head(uint8_t *out, uint8_t flags, uint32_t length, int32_t req) {
    const uint32_t number = (uint32_t)req;
    out[0] = flags;
    for (int i = 0; i < 4; i++) {
        out[1 + i] = (uint8_t)(length >> (24 - 8 * i));
        out[5 + i] = (uint8_t)(number >> (24 - 8 * i));
    }
}

int ssb_scan_packets(const uint8_t *in, size_t n, uint32_t call_body, uint32_t answer_body, ssb_packet *packets,
                     size_t most, size_t *count, size_t *used, size_t *need) {
    *count = *used = 0;
    *need = SSB_PACKET_HEAD;
    while (*count < most) {
        ssb_packet p;
        ssb_scanner s;
        size_t head;
        int done;
        uint8_t flags;
        ssb_scanner_init(&s);
        const int code = ssb_scan_head(&s, in + *used, n - *used, &head, &done, &flags, &p.req, &p.length);
        if (code != SSB_OK) return code;
        if (!done) return SSB_MORE;
        if (p.length > (p.req < 0 ? answer_body : call_body)) return SSB_E_PACKET;
        *need = SSB_PACKET_HEAD + (size_t)p.length;
        if (n - *used < *need) return SSB_MORE;
        p.at = (uint32_t)*used + SSB_PACKET_HEAD;
        p.flags = flags;
        *used += *need;
        *need = SSB_PACKET_HEAD;
        if (p.req != 0 || (flags == 0 && p.length == 0)) packets[(*count)++] = p;
    }
    return SSB_OK;
}
