/* quic_frames.c: bytes ↔ frames (RFC 9000, section 19; RFC 9221). Whatever a frame says about its own shape is verified
 * here; whether it may come now is for those it is meant for.
 *
 *   number  2 bits say how many bytes it has: 1, 2, 4 or 8; the rest is the number, big-endian */
#include "quic.h"

#include <string.h>

#define STREAM_COUNT_MAX (UINT64_C(1) << 60)
#define ID_LEAST 1u
#define TOKEN 16u

/* ---------------------------------------------------------------- numbers */

int ssbi_read_number(ssbi_reader *r, uint64_t *value) {
    const size_t left = (size_t)(r->end - r->at);
    if (left == 0) return 0;
    const size_t n = (size_t)1 << (r->at[0] >> 6);
    if (left < n) return 0;
    uint64_t v = r->at[0] & 0x3fu;
    for (size_t i = 1; i < n; i++) v = v << 8 | r->at[i];
    r->at += n;
    *value = v;
    return 1;
}

size_t ssbi_number_size(uint64_t value) { return value < 64 ? 1 : value < 16384 ? 2 : value < 1073741824 ? 4 : 8; }

void ssbi_write_number(ssbi_writer *w, uint64_t value) {
    const size_t n = ssbi_number_size(value);
    const unsigned marks = n == 1 ? 0u : n == 2 ? 0x40u : n == 4 ? 0x80u : 0xc0u;
    for (size_t i = 0; i < n; i++) w->at[i] = (uint8_t)(value >> (8 * (n - 1 - i)));
    w->at[0] |= (uint8_t)marks;
    w->at += n;
}

size_t ssbi_left(const ssbi_writer *w) { return (size_t)(w->end - w->at); }

uint64_t ssbi_whole_number(uint64_t cut, size_t bytes, uint64_t expected) {
    const uint64_t window = UINT64_C(1) << (8 * bytes), half = window / 2;
    const uint64_t number = (expected & ~(window - 1)) | cut;
    if (number + half <= expected && number < (UINT64_C(1) << 62) - window) return number + window;
    if (number > expected + half && number >= window) return number - window;
    return number;
}

/* ---------------------------------------------------------------- reading */

static int read_bytes(ssbi_reader *r, ssbi_frame *f, uint64_t n) {
    if (n > (uint64_t)(r->end - r->at)) return 0;
    f->data = r->at;
    f->n = (size_t)n;
    r->at += n;
    return 1;
}

static int read_length_and_bytes(ssbi_reader *r, ssbi_frame *f) {
    uint64_t n;
    return ssbi_read_number(r, &n) && read_bytes(r, f, n);
}

static int read_stream(ssbi_reader *r, ssbi_frame *f) {
    f->offset = 0;
    if (!ssbi_read_number(r, &f->stream)) return 0;
    if ((f->type & STREAM_OFFSET) && !ssbi_read_number(r, &f->offset)) return 0;
    const uint64_t left = (uint64_t)(r->end - r->at);
    if (f->type & STREAM_LENGTH ? !read_length_and_bytes(r, f) : !read_bytes(r, f, left)) return 0;
    return f->offset + f->n <= QUIC_NUMBER_MAX;
}

static int read_ack(ssbi_reader *r, ssbi_frame *f) {
    uint64_t gap, length, ignored;
    if (!ssbi_read_number(r, &f->value) || !ssbi_read_number(r, &f->offset)) return 0;
    if (!ssbi_read_number(r, &f->count) || !ssbi_read_number(r, &f->first) || f->first > f->value) return 0;
    f->data = r->at;
    uint64_t low = f->value - f->first;
    for (uint64_t i = 0; i < f->count; i++) {
        if (!ssbi_read_number(r, &gap) || !ssbi_read_number(r, &length) || gap + length + 2 > low) return 0;
        low -= gap + length + 2;
    }
    f->n = (size_t)(r->at - f->data);
    for (int i = 0; f->type == FRAME_ACK_ECN && i < 3; i++)
        if (!ssbi_read_number(r, &ignored)) return 0;
    return 1;
}

static int read_connection_id(ssbi_reader *r, ssbi_frame *f) {
    if (!ssbi_read_number(r, &f->stream) || !ssbi_read_number(r, &f->offset) || f->offset > f->stream) return 0;
    if (r->at == r->end) return 0;
    const uint64_t n = *r->at++;
    if (n < ID_LEAST || n > SSB_QUIC_ID || !read_bytes(r, f, n + TOKEN)) return 0;
    f->value = n;
    return 1;
}

static int read_close(ssbi_reader *r, ssbi_frame *f) {
    if (!ssbi_read_number(r, &f->value)) return 0;
    if (f->type == FRAME_CLOSE && !ssbi_read_number(r, &f->offset)) return 0;
    return read_length_and_bytes(r, f);
}

static int read_body(ssbi_reader *r, ssbi_frame *f) {
    switch (f->type) {
    case FRAME_PADDING:
        while (r->at < r->end && *r->at == 0) r->at++;
        return 1;
    case FRAME_PING:
    case FRAME_HANDSHAKE_DONE:
        return 1;
    case FRAME_ACK:
    case FRAME_ACK_ECN:
        return read_ack(r, f);
    case FRAME_RESET_STREAM: /* value: the code; offset: the final size */
        return ssbi_read_number(r, &f->stream) && ssbi_read_number(r, &f->value) && ssbi_read_number(r, &f->offset);
    case FRAME_STOP_SENDING:
    case FRAME_MAX_STREAM_DATA:
    case FRAME_STREAM_DATA_BLOCKED:
        return ssbi_read_number(r, &f->stream) && ssbi_read_number(r, &f->value);
    case FRAME_CRYPTO:
        return ssbi_read_number(r, &f->offset) && read_length_and_bytes(r, f) && f->offset + f->n <= QUIC_NUMBER_MAX;
    case FRAME_NEW_TOKEN:
        return read_length_and_bytes(r, f) && f->n > 0;
    case FRAME_MAX_DATA:
    case FRAME_DATA_BLOCKED:
        return ssbi_read_number(r, &f->value);
    case FRAME_MAX_STREAMS_BIDI:
    case FRAME_MAX_STREAMS_UNI:
    case FRAME_STREAMS_BLOCKED_BIDI:
    case FRAME_STREAMS_BLOCKED_UNI:
        return ssbi_read_number(r, &f->value) && f->value <= STREAM_COUNT_MAX;
    case FRAME_NEW_CONNECTION_ID:
        return read_connection_id(r, f);
    case FRAME_RETIRE_CONNECTION_ID:
        return ssbi_read_number(r, &f->stream);
    case FRAME_PATH_CHALLENGE:
    case FRAME_PATH_RESPONSE:
        return read_bytes(r, f, SSB_QUIC_CHALLENGE);
    case FRAME_CLOSE:
    case FRAME_CLOSE_APPLICATION:
        return read_close(r, f);
    case FRAME_DATAGRAM:
        return read_bytes(r, f, (uint64_t)(r->end - r->at));
    case FRAME_DATAGRAM_LENGTH:
        return read_length_and_bytes(r, f);
    default:
        return f->type >= FRAME_STREAM && f->type < FRAME_MAX_DATA && read_stream(r, f);
    }
}

uint64_t ssbi_read_frame(ssbi_reader *r, ssbi_frame *f) {
    const uint8_t *begin = r->at;
    if (!ssbi_read_number(r, &f->type)) return QUIC_FRAME_ENCODING;
    /* A type has its shortest form, RFC 9000, section 12.4. */
    if ((size_t)(r->at - begin) != ssbi_number_size(f->type)) return QUIC_PROTOCOL;
    return read_body(r, f) ? QUIC_OK : QUIC_FRAME_ENCODING;
}

int ssbi_next_acked(ssbi_frame *f, uint64_t *low, uint64_t *high) {
    ssbi_reader r = {f->data, f->data + f->n};
    uint64_t gap, length;
    if (*high == QUIC_NONE) {
        *high = f->value;
        *low = f->value - f->first;
        return 1;
    }
    if (!ssbi_read_number(&r, &gap) || !ssbi_read_number(&r, &length)) return 0;
    f->n -= (size_t)(r.at - f->data);
    f->data = r.at;
    *high = *low - gap - 2;
    *low = *high - length;
    return 1;
}

/* ---------------------------------------------------------------- writing */

#define ACK_RANGES 64u

int ssbi_write_ack(ssbi_writer *w, const ssbi_ranges *numbers, uint64_t delay) {
    if (numbers->n == 0) return 0;
    const uint32_t last = numbers->n - 1;
    const ssb_quic_range *r = numbers->at;
    const uint64_t largest = r[last].end - 1, first = largest - r[last].first;
    size_t size = 1 + ssbi_number_size(largest) + ssbi_number_size(delay) + 2 + ssbi_number_size(first);
    uint32_t count = 0;
    if (size > ssbi_left(w)) return 0;
    for (uint32_t i = last; i > 0 && count < ACK_RANGES; i--, count++) {
        size += ssbi_number_size(r[i].first - r[i - 1].end - 1) + ssbi_number_size(r[i - 1].end - 1 - r[i - 1].first);
        if (size > ssbi_left(w)) break;
    }
    *w->at++ = FRAME_ACK;
    ssbi_write_number(w, largest);
    ssbi_write_number(w, delay);
    ssbi_write_number(w, count);
    ssbi_write_number(w, first);
    for (uint32_t i = last; count > 0; i--, count--) {
        ssbi_write_number(w, r[i].first - r[i - 1].end - 1);
        ssbi_write_number(w, r[i - 1].end - 1 - r[i - 1].first);
    }
    return 1;
}
