/* quic_datagrams.c: unreliable datagrams (RFC 9221) that wait to be sent or read.
 *
 *   entry  length (2 bytes, big-endian) || the datagram; entries lie in a ring, one behind the other
 *
 * Where there is no room the oldest are dropped: what is late is of the least use. */
#include "quic.h"

#include <string.h>

static void fifo_copy(const ssbi_fifo *f, uint32_t at, uint8_t *out, const uint8_t *in, size_t n) {
    for (size_t done = 0; done < n;) {
        const uint32_t place = (uint32_t)(at + done) & (f->size - 1);
        const size_t k = smaller(n - done, f->size - place);
        if (out != NULL) memcpy(out + done, f->bytes + place, k);
        else memcpy(f->bytes + place, in + done, k);
        done += k;
    }
}

int ssbi_fifo_put(ssbi_fifo *f, const uint8_t *data, size_t n) {
    const uint8_t head[2] = {(uint8_t)(n >> 8), (uint8_t)n};
    int dropped = 0;
    if (n > UINT16_MAX || n + sizeof head > f->size) return -1;
    for (; n + sizeof head > f->size - (f->end - f->first); dropped++) ssbi_fifo_drop(f);
    fifo_copy(f, f->end, NULL, head, sizeof head);
    fifo_copy(f, f->end + 2, NULL, data, n);
    f->end += (uint32_t)(n + sizeof head);
    return dropped;
}

size_t ssbi_fifo_front(const ssbi_fifo *f) {
    uint8_t head[2];
    if (f->first == f->end) return SIZE_MAX;
    fifo_copy(f, f->first, head, NULL, sizeof head);
    return (size_t)head[0] << 8 | head[1];
}

void ssbi_fifo_drop(ssbi_fifo *f) { f->first += (uint32_t)(ssbi_fifo_front(f) + 2); }

void ssbi_fifo_take(ssbi_fifo *f, uint8_t *out) {
    fifo_copy(f, f->first + 2, out, NULL, ssbi_fifo_front(f));
    ssbi_fifo_drop(f);
}

uint32_t ssb_quic_datagram_room(const ssb_quic *q) {
    const uint64_t around = 1u + q->remote[0].n + SSBI_QUIC_NUMBER + SSBI_QUIC_TAG;
    const uint64_t frame = lesser(q->congestion.datagram - around, q->datagram_send), head = 1 + ssbi_number_size(frame);
    return frame > head ? (uint32_t)(frame - head) : 0;
}

int ssb_quic_datagram(ssb_quic *q, const uint8_t *data, size_t n) {
    if (q->state != QUIC_ALIVE) return SSB_E_CLOSED;
    if (n > ssb_quic_datagram_room(q)) return SSB_E_PACKET;
    const int dropped = ssbi_fifo_put(&q->datagrams_out, data, n);
    return dropped < 0 ? SSB_E_PACKET : dropped > 0 ? SSB_FULL : SSB_OK;
}

int64_t ssb_quic_take_datagram(ssb_quic *q, uint8_t *out, size_t room) {
    const size_t n = ssbi_fifo_front(&q->datagrams_in);
    if (n > room) return -1;
    ssbi_fifo_take(&q->datagrams_in, out);
    return (int64_t)n;
}
