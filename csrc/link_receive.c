/* link_receive.c: open → scan → re-number → queue at the destination, or hand to Python as an event.
 *
 *   input     ciphertext: the caller's buffer, or what was kept of it (_input)
 *   ahead     boxes at the beginning of the input that are open already, where they lie (_opened)
 *   plain     the box in hand: _cursor, in the caller's buffer, in the scratch area or in _plain
 *   packet    the one in hand: _flags, _req, _mode, _into; the scanner knows how much of its body is to come
 *
 * Boxes are opened ahead, but what they hold is not looked at before its turn, and a bad one waits for its turn as
 * well: whole input, byte-wise input and input interrupted by full queues give the same. */
#include "internal.h"

#include <string.h>

#define STREAM_OPENS (SSB_STREAM | 2u) /* a JSON packet in a stream; the first one of a stream opens it */

static const uint8_t END_BODY[4] = {'t', 'r', 'u', 'e'};
#define END_FLAGS (SSB_STREAM | SSB_END | 2u)

/* ---------------------------------------------------------------- packets */

static void begin_empty(ssb_link *l, const ssb_inlet *inlet) {
    if (l->_flags == 0 && l->_req == 0) l->_mode = EMPTY;
    else if (l->_req == 0) l->_mode = SKIP;
    else if (l->_flags & SSB_END) l->_mode = EMPTY;
    else l->_mode = inlet != NULL ? SKIP : EMPTY;
}

/* Decide what to do with a packet whose head has been read. */
static int begin_packet(ssb_link *l, uint32_t length) {
    ssb_inlet *inlet = l->_req != 0 ? ssbi_inlet_find(l, l->_req) : NULL;
    const uint32_t limit = l->_req < 0 ? l->_limits.answer_body : l->_limits.call_body;
    uint8_t head[SSB_PACKET_HEAD];
    l->_into = NULL;
    if (length == 0) {
        begin_empty(l, inlet);
        return SSB_OK;
    }
    if (l->_flags == SSB_STREAM && inlet != NULL) {
        l->_mode = inlet->_lane != NULL ? SPLICE : DELIVER;
        l->_into = inlet;
        return SSB_OK;
    }
    if (length > limit) {
        l->_mode = SKIP;
        return l->_flags == SSB_STREAM && l->_req != 0 ? SSB_OK : SSB_E_PACKET;
    }
    l->_mode = l->_req == 0 ? SKIP : GATHER;
    if (inlet == NULL || inlet->_lane == NULL || (l->_flags & SSB_END) || l->_req == 0) return SSB_OK;
    l->_into = inlet;
    if (!ssbi_lane_open(inlet->_lane)) return SSB_OK;
    ssb_write_head(head, l->_flags, length, inlet->_lane->_req);
    return ssbi_append(l->_hub, &l->_assembly, head, sizeof head) == SSB_OK ? SSB_OK : SSB_E_MEMORY;
}

/* End the packet in hand. A stream that was just opened can get an inlet before its bytes. */
static int end_packet(ssb_link *l, int reported) {
    const int opens = reported && l->_flags == STREAM_OPENS && l->_req > 0 && ssbi_inlet_find(l, l->_req) == NULL;
    l->_mode = HEAD;
    l->_into = NULL;
    return opens ? SSB_AGAIN : SSB_OK;
}

static void advance(ssb_link *l, size_t n) {
    l->_cursor += n;
    l->_cursor_n -= n;
    ssb_scanner_take(&l->_scanner, (uint32_t)n);
}

static int splice(ssb_link *l, size_t n) {
    ssb_lane *lane = l->_into->_lane;
    if (n > 0 && ssbi_lane_open(lane)) {
        const int code = ssbi_lane_splice(lane, l->_cursor, n);
        if (code != SSB_OK) return code;
        if (ssbi_lane_over(lane)) ssbi_inlet_over(l, l->_into);
    }
    advance(l, n);
    return SSB_OK;
}

/* Hand the complete packet in _assembly, head included, to the lane. */
static int hand_over(ssb_link *l) {
    ssb_lane *lane = l->_into->_lane;
    int code = SSB_OK;
    if (l->_assembly._bytes > 0 && ssbi_lane_open(lane)) {
        code = ssbi_lane_take_packet(lane, &l->_assembly);
        if (ssbi_lane_over(lane)) ssbi_inlet_over(l, l->_into);
    }
    ssbi_keep(l->_hub, &l->_assembly, 0);
    return code;
}

static int gather(ssb_link *l, ssbi_events *e, size_t n) {
    const uint32_t left = ssb_scanner_left(&l->_scanner);
    if (l->_into == NULL && l->_assembly._bytes == 0 && n == left) { /* all of it is here: the usual case */
        uint8_t *body = ssbi_event(e, SSB_EV_PACKET, l->_flags, l->_req, n);
        if (body == NULL) return SSB_AGAIN;
        memcpy(body, l->_cursor, n);
        advance(l, n);
        return end_packet(l, 1);
    }
    if (n > 0) {
        const int dropped = l->_into != NULL && l->_assembly._bytes == 0; /* its lane was closed before the head */
        if (!dropped && ssbi_append(l->_hub, &l->_assembly, l->_cursor, n) != SSB_OK) return SSB_E_MEMORY;
        advance(l, n);
    }
    if (n < left) return SSB_OK;
    if (l->_into != NULL) {
        const int code = hand_over(l);
        return code != SSB_OK ? code : end_packet(l, 0);
    }
    const size_t size = (size_t)l->_assembly._bytes;
    uint8_t *body = ssbi_event(e, SSB_EV_PACKET, l->_flags, l->_req, size);
    if (body == NULL) return SSB_AGAIN;
    ssbi_copy(l->_hub, &l->_assembly, body, size);
    ssbi_keep(l->_hub, &l->_assembly, 0);
    return end_packet(l, 1);
}

static int report_empty(ssb_link *l, ssbi_events *e) {
    uint8_t kind = SSB_EV_PACKET, flags = l->_flags;
    size_t n = 0;
    if (l->_req == 0) kind = SSB_EV_GOODBYE;
    if (l->_flags & SSB_END) {
        flags = END_FLAGS;
        n = sizeof END_BODY;
    }
    uint8_t *body = ssbi_event(e, kind, flags, l->_req, n);
    if (body == NULL) return SSB_AGAIN;
    memcpy(body, END_BODY, n);
    return end_packet(l, 1);
}

/* Go on with the packet in hand as far as the cursor and the room for events allow. */
static int continue_packet(ssb_link *l, ssbi_events *e) {
    const uint32_t left = ssb_scanner_left(&l->_scanner);
    const size_t n = smaller(left, l->_cursor_n);
    size_t k;
    int code;
    switch (l->_mode) {
    case GATHER:
        return gather(l, e, n);
    case EMPTY:
        return report_empty(l, e);
    case SPLICE:
        code = splice(l, n);
        if (code != SSB_OK) return code;
        break;
    case DELIVER:
        k = n > 0 ? ssbi_chunk(e, l->_req, l->_cursor, n) : 0;
        advance(l, k);
        if (k < n) {
            e->need = SSB_EVENT_HEAD + 1;
            return SSB_AGAIN;
        }
        break;
    default:
        advance(l, n);
    }
    return n == left ? end_packet(l, 0) : SSB_OK;
}

/* Scan at the cursor until it is used up or there is something to report. */
static int scan(ssb_link *l, ssbi_events *e) {
    for (;;) {
        if (l->_mode == HEAD) {
            uint32_t length = 0;
            size_t used = 0;
            int head_done = 0;
            if (l->_cursor_n == 0) return SSB_OK;
            int code = ssb_scan_head(&l->_scanner, l->_cursor, l->_cursor_n, &used, &head_done, &l->_flags, &l->_req,
                                     &length);
            l->_cursor += used;
            l->_cursor_n -= used;
            if (code != SSB_OK) return code;
            if (!head_done) return SSB_OK;
            code = begin_packet(l, length);
            if (code != SSB_OK) return code;
        }
        const int code = continue_packet(l, e);
        if (code != SSB_OK) return code;
        if (l->_mode != HEAD) return SSB_OK; /* the cursor is used up */
    }
}

/* ---------------------------------------------------------------- boxes */

/* Keep the rest of the caller's buffer. */
static int keep_rest(ssb_link *l, size_t n) {
    if (n == 0) return SSB_OK;
    if (ssbi_append(l->_hub, &l->_input, l->_rest, n) != SSB_OK) return SSB_E_MEMORY;
    l->_rest += n;
    l->_rest_n -= n;
    return SSB_OK;
}

/* Length of a box that was opened ahead, from its plain header. */
static size_t opened_size(const uint8_t *box) {
    return SSB_BOX_HEADER + ((size_t)box[SSB_MAC] << 8 | box[SSB_MAC + 1]);
}

/* Open the next box, which begins in the caller's buffer. */
static int open_here(ssb_link *l) {
    uint16_t bodies[SSBI_BATCH];
    size_t used = 0;
    int code = SSB_OK;
    if (l->_opened == 0)
        (void)ssbi_open_batch(&l->_opener, l->_rest, l->_rest_n, bodies, SSBI_BATCH, &l->_opened);
    if (l->_opened > 0) {
        used = opened_size(l->_rest);
        l->_opened -= used;
    } else {
        code = ssbi_open_one(&l->_opener, l->_rest, l->_rest_n, &used);
    }
    if (code == SSB_MORE) {
        l->_need = used;
        return l->_rest_n > 0 && keep_rest(l, l->_rest_n) != SSB_OK ? SSB_E_MEMORY : SSB_MORE;
    }
    if (code == SSB_OK) {
        l->_cursor = l->_rest + SSB_BOX_HEADER;
        l->_cursor_n = used - SSB_BOX_HEADER;
    }
    if (code >= 0) {
        l->_rest += used;
        l->_rest_n -= used;
    }
    return code;
}

/* Take the next box, which begins in _input and was opened before it got there. */
static void take_opened(ssb_link *l) {
    uint8_t *box = l->_hub->_scratch;
    ssbi_copy(l->_hub, &l->_input, box, SSB_BOX_HEADER);
    const size_t size = opened_size(box);
    ssbi_copy(l->_hub, &l->_input, box, size);
    ssbi_drop(l->_hub, &l->_input, size);
    l->_opened -= size;
    l->_cursor = box + SSB_BOX_HEADER;
    l->_cursor_n = size - SSB_BOX_HEADER;
}

/* Open the next box, which begins in _input: put it together in the scratch area, first for its header, then whole. */
static int open_kept(ssb_link *l) {
    if (l->_opened > 0) {
        take_opened(l);
        return SSB_OK;
    }
    for (;;) {
        uint8_t *box = l->_hub->_scratch;
        size_t used = 0;
        if (l->_input._bytes + l->_rest_n < l->_need) {
            const int code = keep_rest(l, l->_rest_n);
            return code != SSB_OK ? code : SSB_MORE;
        }
        const size_t kept = smaller(l->_need, (size_t)l->_input._bytes), fresh = l->_need - kept;
        ssbi_copy(l->_hub, &l->_input, box, kept);
        if (fresh > 0) memcpy(box + kept, l->_rest, fresh);
        const int code = ssb_open(&l->_opener, box, l->_need, &used);
        if (code == SSB_MORE) {
            l->_need = used;
            continue;
        }
        if (code < 0) return code;
        ssbi_drop(l->_hub, &l->_input, kept);
        l->_rest += fresh;
        l->_rest_n -= fresh;
        l->_need = SSB_BOX_HEADER;
        if (code == SSB_OK) {
            l->_cursor = box + SSB_BOX_HEADER;
            l->_cursor_n = used - SSB_BOX_HEADER;
        }
        return code;
    }
}

/* Scan the plain bytes of a box that were kept over SSB_AGAIN. */
static int scan_kept(ssb_link *l, ssbi_events *e) {
    int code = SSB_OK;
    while (l->_plain._bytes > 0 && code == SSB_OK) {
        size_t n = 0;
        /* The scanner only reads; the slab is memory of our own pool. */
        const uint8_t *front = ssbi_front(l->_hub, &l->_plain, &n);
        l->_cursor = l->_hub->_slabs + (front - l->_hub->_slabs);
        l->_cursor_n = n;
        code = scan(l, e);
        ssbi_drop(l->_hub, &l->_plain, n - l->_cursor_n);
        l->_cursor_n = 0;
    }
    return code;
}

static int in_scratch(const ssb_link *l) {
    return l->_cursor_n > 0 && l->_cursor >= l->_hub->_scratch && l->_cursor < l->_hub->_slabs;
}

static int run(ssb_link *l, ssbi_events *e) {
    int code = l->_plain._bytes > 0 ? scan_kept(l, e) : scan(l, e);
    while (code == SSB_OK) {
        if (ssbi_link_blocked(l)) {
            code = keep_rest(l, l->_rest_n);
            return code != SSB_OK ? code : SSB_BLOCKED;
        }
        code = l->_input._bytes > 0 ? open_kept(l) : open_here(l);
        if (code == SSB_MORE) return SSB_OK;
        if (code == SSB_ENDED && l->_input._bytes + l->_rest_n > 0) return SSB_E_AFTER;
        if (code == SSB_OK) code = scan(l, e);
    }
    if (code == SSB_AGAIN && in_scratch(l)) { /* another link may use the scratch area in between */
        if (ssbi_append(l->_hub, &l->_plain, l->_cursor, l->_cursor_n) != SSB_OK) return SSB_E_MEMORY;
        l->_cursor_n = 0;
    }
    return code;
}

/* ---------------------------------------------------------------- the calls */

void ssbi_receive_close(ssb_link *l) {
    ssbi_keep(l->_hub, &l->_input, 0);
    ssbi_keep(l->_hub, &l->_plain, 0);
    ssbi_keep(l->_hub, &l->_assembly, 0);
    l->_cursor = l->_rest = NULL;
    l->_cursor_n = l->_rest_n = l->_opened = 0;
    l->_into = NULL;
    l->_mode = HEAD;
}

int ssb_link_proceed(ssb_link *l, uint8_t *ev, size_t *ev_n, size_t *need) {
    ssbi_events e = {ev, *ev_n, 0, 0, l->_limits.events > 0 ? l->_limits.events : UINT32_MAX, NULL};
    int code = l->_dead;
    if (code == 0) {
        code = run(l, &e);
        if (code < 0) {
            ssbi_receive_close(l);
            ssb_opener_close(&l->_opener);
            l->_dead = (int8_t)code;
        }
    }
    *ev_n = e.n;
    *need = e.need;
    return code;
}

int ssb_link_receive(ssb_link *l, uint8_t *in, size_t n, uint8_t *ev, size_t *ev_n, size_t *need) {
    if (l->_dead == 0) {
        if (l->_rest_n > 0 || l->_cursor_n > 0) { /* SSB_AGAIN has not been answered */
            *ev_n = *need = 0;
            return SSB_E_CLOSED;
        }
        l->_rest = in;
        l->_rest_n = n;
    }
    return ssb_link_proceed(l, ev, ev_n, need);
}

int ssb_link_keep(ssb_link *l, const uint8_t *in, size_t n) {
    if (l->_dead != 0) return l->_dead;
    int code = SSB_OK;
    if (l->_cursor_n > 0) { /* the rest of a box of the caller's buffer */
        code = ssbi_append(l->_hub, &l->_plain, l->_cursor, l->_cursor_n);
        l->_cursor_n = 0;
    }
    if (code == SSB_OK) code = keep_rest(l, l->_rest_n);
    if (code == SSB_OK && n > 0) code = ssbi_append(l->_hub, &l->_input, in, n);
    if (code == SSB_OK) return SSB_OK;
    ssbi_receive_close(l);
    ssb_opener_close(&l->_opener);
    l->_dead = SSB_E_MEMORY;
    return SSB_E_MEMORY;
}

size_t ssb_link_held(const ssb_link *l) {
    return (size_t)(l->_input._bytes + l->_plain._bytes + l->_assembly._bytes);
}
