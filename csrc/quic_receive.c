/* quic_receive.c: datagrams → packets → frames → what they do.
 *
 *   datagrams  up to SSB_QUIC_TRAIN at once: the masks of their headers are taken off in one sweep
 *   run        neighbours that the same keys open; a key update ends one
 *   packet     authentic and new: its frames are taken in order; the first that is wrong ends the connection
 *
 * Where a frame finds no room to be remembered, its packet counts as lost: it is not acknowledged. */
#include "quic.h"

#include <string.h>

#define LONG_BIT 0x80u
#define FIXED_BIT 0x40u
#define PHASE_BIT 0x04u
#define RESERVED_BITS 0x18u
#define RESET_LEAST 21u     /* RFC 9000, section 10.3 */
#define TOKEN 16u
#define CRYPTO_MOST 16384u  /* bytes of tickets, which are dropped */
#define ACK_EVERY 2u        /* packets; a batch of them counts as one */
#define PREVIOUS_PTOS 3u

/* ---------------------------------------------------------------- connection ids */

static int find_local(const ssb_quic *q, const uint8_t *id) {
    for (uint32_t i = 0; i < q->local_n; i++)
        if (memcmp(q->local[i].id, id, q->local_size) == 0) return (int)i;
    return -1;
}

static void retire(ssb_quic *q, uint64_t number) {
    if (q->retires_n < RETIRES) q->retires[q->retires_n++] = number;
}

static void forget_remote(ssb_quic *q, uint32_t i) {
    retire(q, q->remote[i].number);
    q->remote_n--;
    memmove(&q->remote[i], &q->remote[i + 1], (q->remote_n - i) * sizeof q->remote[0]);
}

static uint64_t take_new_id(ssb_quic *q, const ssbi_frame *f) {
    ssb_quic_id id = {f->stream, {0}, (uint8_t)f->value, 1, {0}};
    memcpy(id.id, f->data, id.n);
    memcpy(id.token, f->data + id.n, TOKEN);
    if (q->remote[0].n == 0) return QUIC_PROTOCOL;
    for (uint32_t i = 0; i < q->remote_n; i++) {
        const ssb_quic_id *known = &q->remote[i];
        const int same = known->n == id.n && memcmp(known->id, id.id, id.n) == 0;
        if (known->number != id.number) {
            if (same) return QUIC_PROTOCOL;
            continue;
        }
        if (!same) return QUIC_PROTOCOL;
        return QUIC_OK; /* said again */
    }
    if (q->retires_n > RETIRES - SSB_QUIC_IDS - 1) return QUIC_ID_LIMIT;
    if (id.number < q->remote_prior) {
        retire(q, id.number);
        return QUIC_OK;
    }
    q->remote_prior = greater(q->remote_prior, f->offset);
    uint32_t left = 0;
    for (uint32_t i = 0; i < q->remote_n; i++) left += q->remote[i].number >= q->remote_prior;
    if (left >= q->id_limit || left >= SSB_QUIC_IDS) return QUIC_ID_LIMIT;
    for (uint32_t i = q->remote_n; i-- > 0;)
        if (q->remote[i].number < q->remote_prior) forget_remote(q, i);
    q->remote[q->remote_n++] = id;
    return QUIC_OK;
}

static uint64_t take_retired_id(ssb_quic *q, const ssbi_frame *f, const uint8_t *used) {
    if (f->stream >= q->local_issued) return QUIC_PROTOCOL;
    for (uint32_t i = 0; i < q->local_n; i++) {
        if (q->local[i].number != f->stream) continue;
        if (memcmp(q->local[i].id, used, q->local_size) == 0) return QUIC_PROTOCOL;
        q->local_n--;
        memmove(&q->local[i], &q->local[i + 1], (q->local_n - i) * sizeof q->local[0]);
        raise_event(q, NULL, SSB_QUIC_ID_SHORT);
        break;
    }
    return QUIC_OK;
}

void ssb_quic_new_id(ssb_quic *q, const uint8_t *random) {
    if (q->state != QUIC_ALIVE || q->local_n >= q->local_most) return;
    ssb_quic_id *id = &q->local[q->local_n++];
    *id = (ssb_quic_id){q->local_issued++, {0}, q->local_size, 1, {0}};
    memcpy(id->id, random, q->local_size);
    memcpy(id->token, random + SSB_QUIC_ID, TOKEN);
    if (q->local_n < q->local_most) raise_event(q, NULL, SSB_QUIC_ID_SHORT);
}

/* A datagram that nothing else can be made of: the end, if it carries the peer's token for the id that is in use. Tokens
 * of other ids do not count: RFC 9000, section 10.3.1. */
static int is_reset(const ssb_quic *q, const uint8_t *at, size_t n) {
    if (n < RESET_LEAST || (at[0] & LONG_BIT)) return 0;
    return q->remote[0].has_token && ssbi_quic_same(q->remote[0].token, at + n - TOKEN, TOKEN);
}

/* ---------------------------------------------------------------- paths */

static void take_challenge(ssb_quic *q, uint32_t path, const uint8_t *data) {
    if (q->answers_n == ANSWERS) return;
    q->answers[q->answers_n].path = path;
    memcpy(q->answers[q->answers_n++].data, data, SSB_QUIC_CHALLENGE);
}

static void take_response(ssb_quic *q, const uint8_t *data) {
    if (q->asked != ASKED_SENT || memcmp(q->challenge, data, SSB_QUIC_CHALLENGE) != 0) return;
    q->asked = ASKED_NOTHING;
    q->path = q->asked_path;
    q->path_first = q->number;
    /* Another path has another capacity, of which what was sent before says nothing: RFC 9000, section 9.4. */
    const uint64_t flight = q->congestion.in_flight;
    ssbi_congestion_init(&q->congestion, 10 * (uint64_t)QUIC_DATAGRAM_LEAST, q->congestion.most, QUIC_DATAGRAM_LEAST);
    q->congestion.in_flight = flight;
    q->congestion.recovery_from = q->first_sample = q->now;
    ssbi_mtu_init(q);
    q->rtt_known = 0;
    q->timeouts = 0;
    raise_event(q, NULL, SSB_QUIC_MOVED);
}

/* The peer's newest packet came by another path than it is reached by. */
static void follow(ssb_quic *q, uint32_t path, uint32_t n) {
    if (q->caller || (q->asked != ASKED_NOTHING && q->asked_path == path)) return;
    q->asked = ASKED_RANDOM;
    q->asked_path = path;
    q->path_received = n;
    q->path_sent = 0;
    q->challenge_until = q->now + 3 * ssbi_pto(q);
    raise_event(q, NULL, SSB_QUIC_PATH);
}

/* ---------------------------------------------------------------- frames */

typedef struct {
    uint32_t path;
    const uint8_t *id; /* of ours, that the packet was sent to */
    int old_keys;
    int eliciting, unfit;
    int moves; /* a frame that says the peer is there, not only looks: RFC 9000, section 9.1 */
} taken;

static uint64_t take_datagram(ssb_quic *q, const ssbi_frame *f) {
    const uint64_t size = 1 + (f->type == FRAME_DATAGRAM ? 0 : ssbi_number_size(f->n)) + f->n;
    if (size > q->datagram_receive) return QUIC_PROTOCOL;
    const int dropped = ssbi_fifo_put(&q->datagrams_in, f->data, f->n);
    q->dropped += dropped < 0 ? 1 : (unsigned)dropped;
    if (dropped >= 0) raise_event(q, NULL, SSB_QUIC_DATAGRAM);
    return QUIC_OK;
}

static uint64_t take_streams_limit(ssb_quic *q, const ssbi_frame *f) {
    const int uni = f->type == FRAME_MAX_STREAMS_UNI;
    q->local_max[uni] = greater(q->local_max[uni], f->value);
    return QUIC_OK;
}

static uint64_t take_close(ssb_quic *q, const ssbi_frame *f) {
    q->by = f->type == FRAME_CLOSE ? SSB_QUIC_BY_PEER_ERROR : SSB_QUIC_BY_PEER;
    q->code = f->value;
    q->state = QUIC_DRAINING;
    q->over_at = q->now + 3 * ssbi_pto(q);
    raise_event(q, NULL, SSB_QUIC_CLOSED);
    return QUIC_OK;
}

static uint64_t take_frame(ssb_quic *q, ssbi_frame *f, taken *t) {
    switch (f->type) {
    case FRAME_PADDING:
    case FRAME_PING:
    case FRAME_DATA_BLOCKED:
    case FRAME_STREAMS_BLOCKED_BIDI:
    case FRAME_STREAMS_BLOCKED_UNI:
        return QUIC_OK;
    case FRAME_ACK:
    case FRAME_ACK_ECN:
        return ssbi_take_ack(q, f, t->old_keys);
    case FRAME_RESET_STREAM:
        return ssbi_take_reset(q, f);
    case FRAME_STOP_SENDING:
        return ssbi_take_stop(q, f);
    case FRAME_CRYPTO:
        q->crypto += f->n;
        return q->crypto > CRYPTO_MOST ? QUIC_CRYPTO_BUFFER : QUIC_OK;
    case FRAME_NEW_TOKEN:
    case FRAME_HANDSHAKE_DONE:
        return q->caller ? QUIC_OK : QUIC_PROTOCOL;
    case FRAME_MAX_DATA:
        q->send_max = greater(q->send_max, f->value);
        return QUIC_OK;
    case FRAME_MAX_STREAM_DATA:
        return ssbi_take_credit(q, f);
    case FRAME_MAX_STREAMS_BIDI:
    case FRAME_MAX_STREAMS_UNI:
        return take_streams_limit(q, f);
    case FRAME_STREAM_DATA_BLOCKED:
        return ssbi_check_blocked(q, f);
    case FRAME_NEW_CONNECTION_ID:
        return take_new_id(q, f);
    case FRAME_RETIRE_CONNECTION_ID:
        return take_retired_id(q, f, t->id);
    case FRAME_PATH_CHALLENGE:
        take_challenge(q, t->path, f->data);
        return QUIC_OK;
    case FRAME_PATH_RESPONSE:
        take_response(q, f->data);
        return QUIC_OK;
    case FRAME_CLOSE:
    case FRAME_CLOSE_APPLICATION:
        return take_close(q, f);
    case FRAME_DATAGRAM:
    case FRAME_DATAGRAM_LENGTH:
        return take_datagram(q, f);
    default:
        return ssbi_take_stream(q, f, &t->unfit);
    }
}

static int elicits(uint64_t type) {
    return type != FRAME_PADDING && type != FRAME_ACK && type != FRAME_ACK_ECN && type != FRAME_CLOSE &&
           type != FRAME_CLOSE_APPLICATION;
}

static int only_looks(uint64_t type) {
    return type == FRAME_PADDING || type == FRAME_NEW_CONNECTION_ID || type == FRAME_PATH_CHALLENGE ||
           type == FRAME_PATH_RESPONSE;
}

/* ---------------------------------------------------------------- packets */

static int is_duplicate(const ssb_quic *q, uint64_t number) {
    return number < q->floor || ssbi_ranges_has(&q->received, number);
}

static void remember(ssb_quic *q, uint64_t number) {
    if (ssbi_ranges_add(&q->received, number, number + 1) == SSB_OK) return;
    q->floor = greater(q->floor, q->received.at[0].end);
    ssbi_ranges_drop(&q->received, 1);
    if (number >= q->floor) (void)ssbi_ranges_add(&q->received, number, number + 1);
}

static void plan_ack(ssb_quic *q, uint64_t number, int expected) {
    q->unacked++;
    if (!expected || q->unacked >= ACK_EVERY || number < q->newest) q->ack_at = q->now;
    else q->ack_at = lesser(q->ack_at, q->now + q->own_delay_max);
}

static void take_packet(ssb_quic *q, const ssbi_quic_packet *p, taken *t) {
    ssbi_reader r = {p->at + p->head_n, p->at + p->n - SSBI_QUIC_TAG};
    ssbi_frame f = {0, 0, 0, 0, 0, 0, NULL, 0};
    if ((p->at[0] & RESERVED_BITS) || r.at == r.end) {
        ssbi_quic_end(q, SSB_QUIC_BY_ERROR, QUIC_PROTOCOL, 0);
        return;
    }
    q->received_packets++;
    if (is_duplicate(q, p->number)) {
        q->duplicates++;
        return;
    }
    q->heard = q->now;
    q->eliciting_since = 0;
    while (r.at < r.end && q->state == QUIC_ALIVE) {
        uint64_t code = ssbi_read_frame(&r, &f);
        if (code == QUIC_OK) code = take_frame(q, &f, t);
        if (code != QUIC_OK) {
            ssbi_quic_end(q, SSB_QUIC_BY_ERROR, code, f.type);
            return;
        }
        t->eliciting |= elicits(f.type);
        t->moves |= !only_looks(f.type);
    }
    if (t->unfit) return;
    remember(q, p->number);
    const int first = q->newest == QUIC_NONE, expected = first || p->number == q->newest + 1;
    const int newer = first || p->number > q->newest;
    if (t->eliciting) plan_ack(q, p->number, expected);
    if (!newer) return;
    q->newest = p->number;
    q->newest_at = q->now;
    if (t->path != q->path && t->moves) follow(q, t->path, p->n);
}

/* ---------------------------------------------------------------- keys */

enum { KEYS_CURRENT, KEYS_NEXT, KEYS_PREVIOUS, KEYS_NONE };

static int choose_keys(const ssb_quic *q, const ssbi_quic_packet *p) {
    const int phase = (p->at[0] & PHASE_BIT) != 0;
    if (phase == q->phase) return KEYS_CURRENT;
    if (p->number < q->phase_first) return q->has_previous && q->now < q->previous_until ? KEYS_PREVIOUS : KEYS_NONE;
    return q->has_next ? KEYS_NEXT : KEYS_NONE;
}

/* The peer has updated its keys, and so do we: RFC 9001, section 6.2. */
static void update_keys(ssb_quic *q, uint64_t number) {
    if (!q->phase_acked) {
        ssbi_quic_end(q, SSB_QUIC_BY_ERROR, QUIC_KEY_UPDATE, 0);
        return;
    }
    q->previous_receive = q->receive_keys;
    q->receive_keys = q->next_receive;
    q->send_keys = q->next_send;
    q->aead->wipe(&q->next_send, sizeof q->next_send);
    q->aead->wipe(&q->next_receive, sizeof q->next_receive);
    q->has_previous = 1;
    q->has_next = 0;
    q->phase ^= 1;
    q->phase_acked = 0;
    q->phase_first = number;
    q->phase_sent = q->number;
    q->previous_until = q->now + PREVIOUS_PTOS * ssbi_pto(q);
    q->updates++;
    raise_event(q, NULL, SSB_QUIC_KEYS);
}

static void take_forged(ssb_quic *q, const ssbi_quic_packet *p) {
    if (is_reset(q, p->at, p->n)) {
        q->by = SSB_QUIC_BY_SILENCE;
        ssbi_quic_over(q);
    } else if (++q->forged >= q->limits.forged) {
        ssbi_quic_end(q, SSB_QUIC_BY_ERROR, QUIC_AEAD_LIMIT, 0);
    }
}

/* Open p[0 .. count), which the same keys are for, and take them. */
static void take_run(ssb_quic *q, ssbi_quic_packet *p, size_t count, int keys, uint32_t path) {
    if (keys == KEYS_NONE) return;
    const ssbi_quic_keys *all[] = {&q->receive_keys, &q->next_receive, &q->previous_receive};
    ssbi_quic_open(all[keys], p, count);
    for (size_t i = 0; i < count && q->state == QUIC_ALIVE; i++) {
        taken t = {path, p[i].at + 1, keys == KEYS_PREVIOUS, 0, 0, 0};
        if (!p[i].good) {
            take_forged(q, &p[i]);
            continue;
        }
        if (keys == KEYS_NEXT) update_keys(q, p[i].number);
        else if (keys == KEYS_CURRENT) q->phase_first = lesser(q->phase_first, p[i].number);
        if (path == q->asked_path && q->asked != ASKED_NOTHING) q->path_received += p[i].n;
        if (q->state == QUIC_ALIVE) take_packet(q, &p[i], &t);
    }
}

static void take_packets(ssb_quic *q, ssbi_quic_packet *p, size_t count, uint32_t path) {
    const size_t number_at = 1u + q->local_size;
    const uint64_t expected = q->newest == QUIC_NONE ? 0 : q->newest + 1;
    size_t run;
    ssbi_quic_unmask(&q->receive_keys, p, count, number_at);
    for (size_t i = 0; i < count; i++) {
        uint64_t cut = 0;
        for (size_t j = number_at; j < p[i].head_n; j++) cut = cut << 8 | p[i].at[j];
        p[i].number = ssbi_whole_number(cut, p[i].head_n - number_at, expected);
    }
    for (size_t i = 0; i < count && q->state == QUIC_ALIVE; i += run) {
        const int keys = choose_keys(q, &p[i]);
        run = 1; /* after an update the same bit means other keys */
        while (keys == KEYS_CURRENT && i + run < count && choose_keys(q, &p[i + run]) == keys) run++;
        take_run(q, p + i, run, keys, path);
    }
}

/* ---------------------------------------------------------------- datagrams */

static int is_for_us(const ssb_quic *q, const uint8_t *at, size_t n) {
    if (n < 1u + q->local_size + SSBI_QUIC_NUMBER + SSBI_QUIC_SAMPLE) return 0;
    return (at[0] & (LONG_BIT | FIXED_BIT)) == FIXED_BIT && find_local(q, at + 1) >= 0;
}

int ssb_quic_receive(ssb_quic *q, uint32_t path, uint8_t *in, size_t n, size_t segment, uint64_t now) {
    ssbi_quic_packet packets[SSB_QUIC_TRAIN];
    q->now = greater(q->now, now);
    while (n > 0 && segment > 0 && q->state == QUIC_ALIVE) {
        size_t count = 0;
        for (; n > 0 && count < SSB_QUIC_TRAIN; in += smaller(n, segment), n -= smaller(n, segment)) {
            const size_t size = smaller(n, segment);
            if (is_for_us(q, in, size)) {
                packets[count++] = (ssbi_quic_packet){in, (uint32_t)size, 0, 0, 0};
            } else if (is_reset(q, in, size)) {
                q->by = SSB_QUIC_BY_SILENCE;
                ssbi_quic_over(q);
                return SSB_ENDED;
            }
        }
        take_packets(q, packets, count, path);
    }
    if (q->state == QUIC_CLOSING && n > 0) q->close_due = 1;
    return q->state == QUIC_ALIVE ? SSB_OK : SSB_ENDED;
}
