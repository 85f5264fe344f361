/* quic_send.c: what is due becomes frames, frames packets, packets a train.
 *
 *   packet  0x40 | phase | 3 (1 byte) | peer's connection id | number (4 bytes) | frames | tag (16)
 *   frames  ACK, then what is due of the connection and its streams, then datagrams and bytes of streams, in turn first
 *
 * All packets of a train are equally long, but for the last: that is what UDP_SEGMENT wants. */
#include "quic.h"

#include <string.h>

#define FIXED_BIT 0x40u
#define PHASE_BIT 0x04u
#define NUMBER_BITS 0x03u /* 4 bytes */
#define ITEMS_MOST 64u    /* in a packet */
#define VALIDATION 1200u  /* RFC 9000, section 8.2.1 */
#define AMPLIFICATION 3u
#define NUMBER_FIELD 8u   /* longest variable-length number */
#define NEW_ID (1 + 2 * NUMBER_FIELD + 1 + SSB_QUIC_ID + 16) /* NEW_CONNECTION_ID */

static size_t head_size(const ssb_quic *q) { return 1u + q->remote[0].n + SSBI_QUIC_NUMBER; }

/* ---------------------------------------------------------------- items */

static int can_note(const ssb_quic *q, uint32_t first_item) {
    return q->item_next - first_item < ITEMS_MOST && q->item_next - q->item_first <= q->items_mask;
}

static void note(ssb_quic *q, uint8_t kind, const ssbi_stream *s, uint64_t offset, size_t n, int fin) {
    const uint16_t slot = s != NULL ? (uint16_t)(s - q->streams) : 0, generation = s != NULL ? s->generation : 0;
    q->items[q->item_next++ & q->items_mask] =
        (ssbi_item){offset, (uint16_t)n, slot, generation, kind, (uint8_t)fin};
}

/* ---------------------------------------------------------------- frames of the connection */

typedef struct {
    ssbi_writer w;
    uint32_t first_item;
} frames;

static int has_room(const ssb_quic *q, const frames *f, size_t n) {
    return ssbi_left(&f->w) >= n && can_note(q, f->first_item);
}

static void write_limit(ssb_quic *q, frames *f, uint8_t type, uint64_t limit, uint8_t kind) {
    *f->w.at++ = type;
    ssbi_write_number(&f->w, limit);
    note(q, kind, NULL, limit, 0, 0);
}

/* Ids are told in the order of their numbers. */
static void write_id(ssb_quic *q, frames *f, const ssb_quic_id *id) {
    *f->w.at++ = FRAME_NEW_CONNECTION_ID;
    ssbi_write_number(&f->w, id->number);
    ssbi_write_number(&f->w, 0); /* none is to be retired */
    *f->w.at++ = id->n;
    memcpy(f->w.at, id->id, id->n);
    memcpy(f->w.at + id->n, id->token, sizeof id->token);
    f->w.at += id->n + sizeof id->token;
    note(q, ITEM_ID, NULL, id->number, 0, 0);
    q->local_told = id->number + 1;
}

static void write_limits(ssb_quic *q, frames *f) {
    if (q->due_credit && has_room(q, f, 1 + NUMBER_FIELD)) {
        q->receive_max = greater(q->receive_max, q->delivered_all + q->window_all);
        write_limit(q, f, FRAME_MAX_DATA, q->receive_max, ITEM_CREDIT_ALL);
        q->due_credit = 0;
    }
    for (int uni = 0; uni < 2; uni++) {
        if (!q->due_streams[uni] || !has_room(q, f, 1 + NUMBER_FIELD)) continue;
        const uint64_t may = q->peer_over[uni] + (uni ? q->limits.peer_uni : q->limits.peer_bidi);
        q->peer_max[uni] = greater(q->peer_max[uni], may);
        write_limit(q, f, uni ? FRAME_MAX_STREAMS_UNI : FRAME_MAX_STREAMS_BIDI, q->peer_max[uni],
                    uni ? ITEM_STREAMS_UNI : ITEM_STREAMS_BIDI);
        q->due_streams[uni] = 0;
    }
    for (uint32_t i = 0; i < q->local_n && q->local_told < q->local_issued; i++)
        if (q->local[i].number >= q->local_told && has_room(q, f, NEW_ID)) write_id(q, f, &q->local[i]);
    while (q->retires_n > 0 && has_room(q, f, 1 + NUMBER_FIELD))
        write_limit(q, f, FRAME_RETIRE_CONNECTION_ID, q->retires[--q->retires_n], ITEM_RETIRE);
}

static void write_due_of(ssb_quic *q, frames *f, ssbi_stream *s) {
    if ((s->due & DUE_RESET) && has_room(q, f, 1 + 3 * NUMBER_FIELD)) {
        *f->w.at++ = FRAME_RESET_STREAM;
        ssbi_write_number(&f->w, s->id);
        ssbi_write_number(&f->w, s->reset_code);
        ssbi_write_number(&f->w, s->next);
        note(q, ITEM_RESET, s, 0, 0, 0);
        s->due &= (uint8_t)~DUE_RESET;
    }
    if ((s->due & DUE_STOP) && s->known && has_room(q, f, 1 + 2 * NUMBER_FIELD)) {
        *f->w.at++ = FRAME_STOP_SENDING;
        ssbi_write_number(&f->w, s->id);
        ssbi_write_number(&f->w, s->stop_code);
        note(q, ITEM_STOP, s, 0, 0, 0);
        s->due &= (uint8_t)~DUE_STOP;
    }
    if ((s->due & DUE_CREDIT) && has_room(q, f, 1 + 2 * NUMBER_FIELD)) {
        s->receive_max = greater(s->receive_max, ssbi_credit(s));
        *f->w.at++ = FRAME_MAX_STREAM_DATA;
        ssbi_write_number(&f->w, s->id);
        ssbi_write_number(&f->w, s->receive_max);
        note(q, ITEM_CREDIT, s, s->receive_max, 0, 0);
        s->due &= (uint8_t)~DUE_CREDIT;
    }
}

static void write_due(ssb_quic *q, frames *f) {
    write_limits(q, f);
    if (!q->any_due) return;
    q->any_due = 0;
    for (uint32_t i = 0; i < q->limits.streams; i++) {
        ssbi_stream *s = &q->streams[i];
        if (q->ids[i] == QUIC_NONE || s->due == 0) continue;
        write_due_of(q, f, s);
        if (s->due != 0) q->any_due = 1;
    }
}

static void write_datagrams(ssb_quic *q, frames *f) {
    size_t n;
    while ((n = ssbi_fifo_front(&q->datagrams_out)) != SIZE_MAX) {
        const size_t whole = 1 + ssbi_number_size(n) + n;
        if (whole > q->congestion.datagram - head_size(q) - SSBI_QUIC_TAG) { /* or the peer's id is longer now */
            ssbi_fifo_drop(&q->datagrams_out);
            q->dropped++;
            continue;
        }
        if (!has_room(q, f, whole)) return;
        *f->w.at++ = FRAME_DATAGRAM_LENGTH;
        ssbi_write_number(&f->w, n);
        ssbi_fifo_take(&q->datagrams_out, f->w.at);
        f->w.at += n;
        note(q, ITEM_ONCE, NULL, 0, 0, 0);
    }
}

/* ---------------------------------------------------------------- frames of streams */

/* Write what the stream sends next. 0: it has nothing, or there is no room. */
static int write_stream(ssb_quic *q, frames *f, ssbi_stream *s) {
    uint64_t offset;
    size_t n, left = ssbi_left(&f->w);
    int fin;
    if (!ssbi_pick(q, s, left, &offset, &n, &fin)) return 0;
    const size_t head = 1 + ssbi_number_size(s->id) + (offset > 0 ? ssbi_number_size(offset) : 0);
    if (left < head + (n > 0) || !can_note(q, f->first_item)) return 0;
    if (n > left - head) {
        n = left - head;
        fin = 0;
    }
    uint8_t type = (uint8_t)(FRAME_STREAM | (offset > 0 ? STREAM_OFFSET : 0) | (fin ? STREAM_FIN : 0));
    if (head + n + ssbi_number_size(n) > left) { /* it fills the packet: PADDING first, no length */
        memset(f->w.at, FRAME_PADDING, left - head - n);
        f->w.at += left - head - n;
    } else {
        type |= STREAM_LENGTH;
    }
    *f->w.at++ = type;
    ssbi_write_number(&f->w, s->id);
    if (offset > 0) ssbi_write_number(&f->w, offset);
    if (type & STREAM_LENGTH) ssbi_write_number(&f->w, n);
    ssbi_segments_get(&s->out, offset, f->w.at, n);
    f->w.at += n;
    note(q, ITEM_STREAM, s, offset, n, fin);
    if (offset < s->next) {
        ssbi_ranges_remove(&s->lost, offset, offset + n);
    } else {
        s->next += n;
        q->sent_all += n;
    }
    if (fin) s->fin_sent = 1;
    return 1;
}

static void next_turn(ssb_quic *q) { q->turn = q->turn + 1 < q->limits.streams ? q->turn + 1 : 0; }

static void write_streams(ssb_quic *q, frames *f) {
    for (uint32_t passed = 0; passed < q->limits.streams;) {
        ssbi_stream *s = &q->streams[q->turn];
        if (q->ids[q->turn] != QUIC_NONE && s->sends && !s->resetting && write_stream(q, f, s)) {
            q->turn_used = 1;
            if (ssbi_left(&f->w) == 0) return; /* it may have more */
            continue;
        }
        next_turn(q);
        passed++;
    }
}

/* Datagrams and streams come first in turn: neither waits for the other to have nothing more. */
static void write_bytes(ssb_quic *q, frames *f) {
    if (q->streams_first) write_streams(q, f);
    const uint8_t *before = f->w.at;
    write_datagrams(q, f);
    const uint8_t had = f->w.at != before;
    if (!q->streams_first) write_streams(q, f);
    q->streams_first = had;
}

/* ---------------------------------------------------------------- packets */

static uint8_t *write_head(const ssb_quic *q, uint8_t *out) {
    *out++ = (uint8_t)(FIXED_BIT | (q->phase ? PHASE_BIT : 0) | NUMBER_BITS);
    memcpy(out, q->remote[0].id, q->remote[0].n);
    out += q->remote[0].n;
    for (int i = 3; i >= 0; i--) *out++ = (uint8_t)(q->number >> (8 * i));
    return out;
}

/* Account for a packet whose frames are written; its length. */
static size_t finish(ssb_quic *q, uint8_t *out, const frames *f, ssbi_quic_packet *p) {
    const size_t n = (size_t)(f->w.at - out) + SSBI_QUIC_TAG;
    *p = (ssbi_quic_packet){out, (uint32_t)n, (uint32_t)head_size(q), q->number, 0};
    if (q->item_next != f->first_item) {
        q->ping = 0;
        if (q->probes > 0) q->probes--;
        if (!q->eliciting_since) q->heard = q->now;
        q->eliciting_since = 1;
        ssbi_paced(&q->congestion, n, q->rtt, q->now);
    }
    ssbi_sent_packet(q, n, f->first_item);
    return n;
}

/* Behind an update of keys other frames bring an ACK along even if nothing asks for one: a peer that only acknowledges
 * would not be told that its update has come. */
static int write_ack(ssb_quic *q, frames *f) {
    if (q->ack_at == SSB_QUIC_NEVER && q->phase_acked) return 0;
    return ssbi_write_ack(&f->w, &q->received, (q->now - q->newest_at) >> 3);
}

/* Write the next packet of a train, up to `size` bytes; 0 where there is none. */
static size_t build(ssb_quic *q, uint8_t *out, size_t size, ssbi_quic_packet *p) {
    frames f = {{out + head_size(q), out + size - SSBI_QUIC_TAG}, q->item_next};
    const int acks = write_ack(q, &f);
    const uint8_t *others = f.w.at;
    if (ssbi_may_send(q)) {
        write_due(q, &f);
        /* Pacing is asked in any case: its timer is due until it was. */
        if (ssbi_pace_allows(&q->congestion, q->rtt, q->now) || q->probes > 0) {
            write_bytes(q, &f);
            q->congestion.full = ssbi_left(&f.w) == 0;
        }
        if (q->ping && f.w.at == others && has_room(q, &f, 1)) {
            *f.w.at++ = FRAME_PING;
            note(q, ITEM_ONCE, NULL, 0, 0, 0);
        }
    }
    if (f.w.at == others && (!acks || q->ack_at > q->now)) return 0;
    if (acks) {
        if (f.w.at != others && can_note(q, f.first_item)) note(q, ITEM_ACK, NULL, q->newest, 0, 0);
        q->ack_at = SSB_QUIC_NEVER;
        q->unacked = 0;
        q->phase_acked = 1;
    }
    (void)write_head(q, out);
    return finish(q, out, &f, p);
}

/* ---------------------------------------------------------------- packets of their own */

/* Write a packet with one frame of 8 bytes; 0 where the path does not let it be. It is padded, unless it goes to an
 * address from which too little has come for that: RFC 9000, section 8.2.1. */
static size_t build_probe(ssb_quic *q, uint8_t *out, size_t room, uint8_t type, const uint8_t *data, uint32_t path,
                          ssbi_quic_packet *p) {
    const size_t least = head_size(q) + 1 + SSB_QUIC_CHALLENGE + SSBI_QUIC_TAG;
    const uint64_t allowed = path == q->path ? UINT64_MAX : AMPLIFICATION * q->path_received - q->path_sent;
    size_t size = smaller(smaller(room, VALIDATION), q->congestion.datagram);
    if (size > allowed) size = least;
    if (size > allowed || !can_note(q, q->item_next)) return 0;
    frames f = {{write_head(q, out), out + size - SSBI_QUIC_TAG}, q->item_next};
    *f.w.at++ = type;
    memcpy(f.w.at, data, SSB_QUIC_CHALLENGE);
    f.w.at += SSB_QUIC_CHALLENGE;
    memset(f.w.at, FRAME_PADDING, ssbi_left(&f.w));
    f.w.at = f.w.end;
    note(q, path == q->path ? ITEM_ONCE : ITEM_PATH, NULL, 0, 0, 0);
    if (path != q->path) q->path_sent += size;
    return finish(q, out, &f, p);
}

/* A packet that only tries a size: a PING and PADDING. */
static size_t build_mtu(ssb_quic *q, uint8_t *out, ssbi_quic_packet *p) {
    q->mtu.flying = 1;
    if (!can_note(q, q->item_next)) {
        ssbi_mtu_lost(q, q->mtu.probe);
        return 0;
    }
    frames f = {{write_head(q, out), out + q->mtu.probe - SSBI_QUIC_TAG}, q->item_next};
    *f.w.at++ = FRAME_PING;
    memset(f.w.at, FRAME_PADDING, ssbi_left(&f.w));
    f.w.at = f.w.end;
    note(q, ITEM_MTU, NULL, q->mtu.probe, 0, 0);
    return finish(q, out, &f, p);
}

static size_t build_path(ssb_quic *q, uint8_t *out, size_t room, uint32_t *path, ssbi_quic_packet *p) {
    size_t n = 0;
    if (q->asked == ASKED_DUE) {
        *path = q->asked_path;
        n = build_probe(q, out, room, FRAME_PATH_CHALLENGE, q->challenge, *path, p);
        if (n > 0) q->asked = ASKED_SENT;
        q->challenge_at = q->now + ssbi_pto(q);
    }
    while (n == 0 && q->answers_n > 0) {
        q->answers_n--;
        *path = q->answers[q->answers_n].path;
        if (*path != q->path && (q->asked == ASKED_NOTHING || *path != q->asked_path)) continue;
        n = build_probe(q, out, room, FRAME_PATH_RESPONSE, q->answers[q->answers_n].data, *path, p);
    }
    return n;
}

static size_t build_close(ssb_quic *q, uint8_t *out, ssbi_quic_packet *p) {
    const int ours = q->by == SSB_QUIC_BY_US;
    frames f = {{write_head(q, out), out + q->congestion.datagram - SSBI_QUIC_TAG}, q->item_next};
    *f.w.at++ = ours ? FRAME_CLOSE_APPLICATION : FRAME_CLOSE;
    ssbi_write_number(&f.w, q->code);
    if (!ours) ssbi_write_number(&f.w, q->close_frame);
    ssbi_write_number(&f.w, 0); /* no reason */
    q->close_due = 0;
    return finish(q, out, &f, p);
}

size_t ssb_quic_send(ssb_quic *q, uint8_t *out, size_t room, size_t *segment, uint32_t *path, uint64_t now) {
    ssbi_quic_packet packets[SSB_QUIC_TRAIN];
    size_t n = 0, count = 0;
    q->now = greater(q->now, now);
    *segment = 0;
    *path = q->path;
    if (room < q->limits.datagram_most || q->state >= QUIC_DRAINING) return 0;
    if (q->state == QUIC_CLOSING) {
        if (q->close_due) n = build_close(q, out, &packets[count++]);
    } else if ((n = build_path(q, out, room, path, &packets[0])) > 0) {
        count = 1;
    } else if (ssbi_mtu_due(q) && (n = build_mtu(q, out, &packets[0])) > 0) {
        *path = q->path;
        count = 1;
    } else {
        const size_t most = q->congestion.datagram;
        *path = q->path;
        while (count < SSB_QUIC_TRAIN && room - n >= most) {
            const size_t size = build(q, out + n, most, &packets[count]);
            if (size == 0) break;
            n += size;
            count++;
            if (size < most) break;
        }
        if (q->turn_used) next_turn(q);
        q->turn_used = 0;
    }
    if (count == 0) return 0;
    *segment = packets[0].n;
    ssbi_quic_seal(&q->send_keys, packets, count);
    return n;
}
