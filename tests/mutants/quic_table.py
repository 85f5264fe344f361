"""Mutants of the QUIC engine: rules of RFC 9000, 9001, 9002, 9406 and 9438 left out or turned round, one at a time."""

from __future__ import annotations

from tests.mutants.table import Mutant

MUTANTS = (
    # RFC 9002
    Mutant("packet threshold", "quic_recovery.c", "#define REORDERED 3u", "#define REORDERED 4u"),
    Mutant("packet threshold, less", "quic_recovery.c", "#define REORDERED 3u", "#define REORDERED 2u"),
    Mutant("time threshold", "quic_recovery.c", "q->rtt_latest) * 9 / 8", "q->rtt_latest) * 8 / 8"),
    Mutant("time threshold of the latest", "quic_recovery.c", "greater(q->rtt, q->rtt_latest)", "q->rtt_latest"),
    Mutant("delay not capped", "quic_recovery.c", "    delay = lesser(delay, q->delay_max);\n", ""),
    Mutant(
        "delay below the least", "quic_recovery.c", "if (rtt >= q->rtt_least + delay) rtt -= delay;", "rtt -= delay;"
    ),
    Mutant("delay not taken off", "quic_recovery.c", "if (rtt >= q->rtt_least + delay) rtt -= delay;", ""),
    Mutant("least RTT never falls", "quic_recovery.c", "q->rtt = q->rtt_least = rtt;", "q->rtt = rtt;"),
    Mutant("sample of an old packet", "quic_recovery.c", "if (all.newest == largest && ", "if ("),
    Mutant("variance", "quic_recovery.c", "(3 * q->variance +", "(2 * q->variance +"),
    Mutant("PTO without delay", "quic_recovery.c", "GRANULARITY) + q->delay_max;", "GRANULARITY);"),
    Mutant("PTO of two variances", "quic_recovery.c", "greater(4 * variance, GRANULARITY)", "greater(2 * variance, 1)"),
    Mutant("no back-off", "quic_recovery.c", "<< lesser(q->timeouts, BACKOFF_MOST)", "<< 0"),
    Mutant("back-off stays", "quic_recovery.c", "    q->timeouts = 0;\n", ""),
    Mutant("one probe", "quic_recovery.c", "#define PROBES 2u", "#define PROBES 1u"),
    Mutant(
        "probe without data", "quic_recovery.c", "; n < q->number && found < PROBES; n++", "; n < q->number && 0; n++"
    ),
    Mutant("no probe", "quic_recovery.c", "    q->probes = PROBES;\n    q->ping = 1;\n", ""),
    Mutant("never persistent", "quic_recovery.c", "if (longest > PERSISTENT", "if (0 && longest > PERSISTENT"),
    Mutant(
        "persistent over what arrived",
        "quic_recovery.c",
        "if (p->state == SENT_ACKED) run_first = QUIC_NONE;",
        "",
    ),
    Mutant("persistent too soon", "quic_recovery.c", "#define PERSISTENT 3u", "#define PERSISTENT 1u"),
    Mutant("unsent acknowledged", "quic_recovery.c", "if (largest >= q->number) return", "if (0) return"),
    Mutant("full ring", "quic_recovery.c", "        give_up(q, q->oldest);\n", ""),
    Mutant(
        "lost bytes stay lost", "quic_stream_send.c", "if (item->kind == ITEM_STREAM) data_lost(s, item);", "if (0) ;"
    ),
    Mutant("lost end", "quic_stream_send.c", "if (item->fin && !s->fin_acked) s->fin_sent = 0;", ""),
    Mutant(
        "lost reset",
        "quic_stream_send.c",
        "ITEM_RESET && s->sends) ssbi_due(q, s, DUE_RESET)",
        "ITEM_RESET && 0) return",
    ),
    Mutant("lost stop", "quic_stream_send.c", "ssbi_due(q, s, DUE_STOP);\n", "return;\n"),
    Mutant(
        "lost credit",
        "quic_stream_send.c",
        "    case ITEM_CREDIT_ALL:\n        q->due_credit = 1;",
        "    case ITEM_CREDIT_ALL:",
    ),
    Mutant("lost retirement", "quic_stream_send.c", "        retire_again(q, item->offset);\n", ""),
    # RFC 9406, 9438, pacing
    Mutant("window cut by half", "quic_congestion.c", "#define BETA 70u", "#define BETA 50u"),
    Mutant(
        "window cut for each loss",
        "quic_congestion.c",
        "sent <= c->recovery_from) return;\n    c->recovery_from = now;",
        "0) return;\n    c->recovery_from = now;",
    ),
    Mutant("no fast convergence", "quic_congestion.c", "c->window < c->peak ? c->window * (100 + BETA) / 200 :", ""),
    Mutant("no calm loss", "quic_congestion.c", "is_calm(c) ? BETA_CALM : BETA", "BETA"),
    Mutant("each loss calm", "quic_congestion.c", "is_calm(c) ? BETA_CALM : BETA", "BETA_CALM"),
    Mutant("calm loss, less", "quic_congestion.c", "#define BETA_CALM 85u", "#define BETA_CALM 95u"),
    Mutant("calm by two", "quic_congestion.c", "#define QUEUED_DATAGRAMS 1u", "#define QUEUED_DATAGRAMS 2u"),
    Mutant("slow start calm", "quic_congestion.c", "if (c->window < c->threshold || round ==", "if (round =="),
    Mutant("calm by what is not known", "quic_congestion.c", "|| round == QUIC_NONE) return 0;", ") return 0;"),
    Mutant("calm by one round", "quic_congestion.c", "lesser(c->round_least, c->last_least)", "c->round_least"),
    Mutant(
        "calm by the latest",
        "quic_congestion.c",
        "c->round_least = lesser(c->round_least, rtt);",
        "c->round_least = rtt;",
    ),
    Mutant(
        "rounds of slow start alone",
        "quic_congestion.c",
        "if (number >= c->round_end)",
        "if (starting && number >= c->round_end)",
    ),
    Mutant(
        "least RTT for ever",
        "quic_congestion.c",
        "    c->least = c->round_least = c->last_least = QUIC_NONE;\n",
        "    c->round_least = c->last_least = QUIC_NONE;\n",
    ),
    Mutant("no train after a pause", "quic_congestion.c", "now < c->rested_until ?", "0 ?"),
    Mutant("each train after a pause", "quic_congestion.c", "now < c->rested_until ?", "1 ?"),
    Mutant("trains after a short pause", "quic_congestion.c", "if (now > c->paced + smoothed)", "if (now > c->paced)"),
    Mutant("train of a whole window", "quic_congestion.c", "#define TRAIN_PART 4u", "#define TRAIN_PART 1u"),
    Mutant("growth without use", "quic_congestion.c", "return c->full && flight", "return flight"),
    Mutant("growth without flight", "quic_congestion.c", "c->full && flight >= c->window / 2", "c->full"),
    Mutant("no HyStart", "quic_congestion.c", "c->conservative = 1;", "c->conservative = 0;"),
    Mutant("HyStart never ends", "quic_congestion.c", "#define SLOW_ROUNDS 5u", "#define SLOW_ROUNDS 50u"),
    Mutant(
        "HyStart never goes on", "quic_congestion.c", "if (c->round_least < c->base_least) c->conservative = 0;", ";"
    ),
    Mutant("Reno unheard", "quic_congestion.c", "if (seen < c->friendly / FRIENDLY_UNIT) {", "if (0) {"),
    Mutant("K", "quic_congestion.c", "#define PER_MS_CUBED 2500000000u", "#define PER_MS_CUBED 2000000000u"),
    Mutant("no pacing", "quic_congestion.c", "if (c->paced > now) c->held = 1;", "if (0) c->held = 1;"),
    Mutant(
        "pacing by one window", "quic_congestion.c", "n * smoothed * 4 / (c->window * 5)", "n * smoothed / c->window"
    ),
    # RFC 9000, 9001
    Mutant("credit of a stream", "quic_streams.c", "end > s->receive_max ||", ""),
    Mutant("credit of all", "quic_streams.c", "|| q->received_all + (end - s->highest) > q->receive_max", ""),
    Mutant("beyond the final size", "quic_streams.c", "if (end > s->final || ", "if ("),
    Mutant("final size below", "quic_streams.c", "(final && end < s->highest)", "0"),
    Mutant("any number of streams", "quic_streams.c", "if (id / 4 >= q->peer_max[uni]) return", "if (0) return"),
    Mutant(
        "streams of ours", "quic_streams.c", "if (ours && id / 4 >= q->next_local", "if (0 && id / 4 >= q->next_local"
    ),
    Mutant("the wrong way", "quic_streams.c", "if (is_uni(id) && ours == sending) return", "if (0) return"),
    Mutant(
        "duplicates",
        "quic_receive.c",
        "return number < q->floor || ssbi_ranges_has(&q->received, number);",
        "return 0;",
    ),
    Mutant("reserved bits", "quic_receive.c", "(p->at[0] & RESERVED_BITS) || ", ""),
    Mutant("empty packets", "quic_receive.c", " || r.at == r.end) {", ") {"),
    Mutant("forgeries uncounted", "quic_receive.c", "++q->forged >= q->limits.forged", "++q->forged == 0"),
    Mutant("resets unseen", "quic_receive.c", "q->remote[0].has_token && ssbi_quic_same", "0 && ssbi_quic_same"),
    Mutant(
        "resets of any id",
        "quic_receive.c",
        "ssbi_quic_same(q->remote[0].token",
        "ssbi_quic_same(q->remote[1].token, at + n - TOKEN, TOKEN) | ssbi_quic_same(q->remote[0].token",
    ),
    Mutant("resets that are short", "quic_receive.c", "#define RESET_LEAST 21u", "#define RESET_LEAST 20u"),
    Mutant("updates at any time", "quic_receive.c", "if (!q->phase_acked) {", "if (0) {"),
    Mutant("old keys for ever", "quic_receive.c", "q->has_previous && q->now < q->previous_until", "1"),
    Mutant("old keys forgotten", "quic_receive.c", "q->has_previous && q->now < q->previous_until", "0"),
    Mutant("every packet waits", "quic_receive.c", "#define ACK_EVERY 2u", "#define ACK_EVERY 9u"),
    Mutant("gaps wait", "quic_receive.c", "!expected || q->unacked", "q->unacked"),
    Mutant("ids without end", "quic_receive.c", "left >= q->id_limit || ", ""),
    Mutant("tickets without end", "quic_receive.c", "q->crypto > CRYPTO_MOST ?", "0 ?"),
    Mutant("datagrams of any length", "quic_receive.c", "if (size > q->datagram_receive) return", "if (0) return"),
    Mutant("challenge unanswered", "quic_receive.c", "        take_challenge(q, t->path, f->data);\n", ""),
    Mutant("any response", "quic_receive.c", "memcmp(q->challenge, data, SSB_QUIC_CHALLENGE) != 0", "0"),
    Mutant("amplification", "quic_send.c", "#define AMPLIFICATION 3u", "#define AMPLIFICATION 30u"),
    Mutant("challenge unpadded", "quic_send.c", "#define VALIDATION 1200u", "#define VALIDATION 120u"),
    Mutant(
        "beyond the window",
        "quic_recovery.c",
        "return q->congestion.in_flight + q->congestion.datagram <= q->congestion.window;",
        "return 1;",
    ),
    Mutant(
        "pacing unasked",
        "quic_send.c",
        "ssbi_pace_allows(&q->congestion, q->rtt, q->now) || q->probes > 0",
        "q->probes > 0 || ssbi_pace_allows(&q->congestion, q->rtt, q->now)",
    ),
    Mutant("ACKs of ACKs tell nothing", "quic_recovery.c", "if (grown) ssbi_detect(q);", ";"),
    Mutant(
        "bytes for which sets are full",
        "quic_stream_send.c",
        "        send_again(s, item->offset, end);\n",
        "        ;\n",
    ),
    Mutant("other paths congest", "quic_recovery.c", " || tries(q, p, ITEM_PATH)) { /* no", ") { /* no"),
    Mutant("other paths measure", "quic_recovery.c", " && !tries(q, packet(q, largest), ITEM_PATH)", ""),
    Mutant("the path before measures", "quic_recovery.c", "largest >= q->path_first && ", ""),
    Mutant("the path before congests", "quic_receive.c", "q->congestion.recovery_from = q->first_sample = q->now;", ""),
    Mutant("no number left out", "quic_recovery.c", "if (q->number != q->skip) return;", "return;"),
    Mutant("ACKs of what was left out", "quic_recovery.c", "if (p->state == SENT_NEVER) return 0;", ""),
    Mutant("left out as foreseen", "quic_recovery.c", "load32_le(block) % most", "most / 2"),
    Mutant(
        "ids run out", "quic_receive.c", "        raise_event(q, NULL, SSB_QUIC_ID_SHORT);\n        break;", "break;"
    ),
    Mutant("ids beyond what is wanted", "quic_receive.c", " || q->local_n >= q->local_most) return;", ") return;"),
    Mutant("lost ids", "quic_stream_send.c", "q->local_told = lesser(q->local_told, item->offset);", ";"),
    Mutant("ids told for ever", "quic_send.c", "    q->local_told = id->number + 1;\n", ""),
    Mutant("the peer's id never grows", "quic_datagrams.c", "1u + q->remote[0].n + ", "1u + 8u + "),
    Mutant("datagrams always first", "quic_send.c", "q->streams_first = had;", "(void)had;"),
    Mutant(
        "ids of before are new",
        "quic_handover.c",
        "q->remote_prior = lesser(q->remote_prior, q->remote[i].number)",
        "q->remote_prior = 0",
    ),
    Mutant(
        "memory of any size", "quic_handover.c", "return all <= MEMORY_MOST ? (size_t)all : 0;", "return (uint32_t)all;"
    ),
    Mutant("idle for ever", "quic_engine.c", "if (q->now >= idle_at(q)) {", "if (0) {"),
    Mutant(
        "ACKs count as life",
        "quic_send.c",
        "        if (!q->eliciting_since) q->heard = q->now;\n",
        "        q->heard = q->now;\n",
    ),
    Mutant("credit for what is not used up", "quic_streams.c", " - lesser(s->unread, s->delivered)", ""),
    Mutant(
        "a window without end",
        "quic_streams.c",
        "s->window = lesser(window, window_most(&q->limits));",
        "s->window = window;",
    ),
    Mutant("all without end", "quic_streams.c", "lesser(window, window_all_most(&q->limits));", "window;"),
    Mutant("number of the wrong window", "quic_frames.c", "return number + window;", "return number;"),
    Mutant("ranges of an ACK", "quic_frames.c", "gap + length + 2 > low) return 0;", "0) return 0;"),
    Mutant(
        "page past the end", "quic_pages.c", "page < to / SSB_QUIC_PAGE; page++", "page <= to / SSB_QUIC_PAGE; page++"
    ),
    # memory that is lent: csrc/ssbfast.h
    Mutant("given back too soon", "quic_segments.c", "r->first)->end <= to)", "r->first)->end <= to + 1)"),
    Mutant("given back too late", "quic_segments.c", "r->first)->end <= to)", "r->first)->end < to)"),
    Mutant("the piece behind", "quic_segments.c", "middle)->end > offset)", "middle)->end > offset + 1)"),
    Mutant(
        "one piece too many",
        "quic_stream_send.c",
        "held(&s->out) <= s->out.mask ?",
        "held(&s->out) <= s->out.mask + 1 ?",
    ),
    Mutant("a reset keeps all", "quic_stream_send.c", "    give_back(q, s, s->written);\n", ""),
    Mutant(
        "given back before it came",
        "quic_stream_send.c",
        "    give_back(q, s, s->base);\n",
        "    give_back(q, s, s->next);\n",
    ),
    Mutant("never told", "quic_stream_send.c", "    raise_event(q, s, SSB_QUIC_RETURNED);\n", ""),
    Mutant("told again", "quic_engine.c", "if (kind == SSB_QUIC_RETURNED) s->returned = 0;", ""),
    Mutant("a slot that is free too soon", "quic_streams.c", " | bit(SSB_QUIC_RETURNED);", ";"),
    Mutant("a full ring never says more", "quic_stream_send.c", "if (s->short_of) tell_writer(q, s);", ""),
    Mutant(
        "a full ring says so too soon",
        "quic_stream_send.c",
        "held(&s->out) > s->out.mask / WRITABLE_PART) return;",
        "held(&s->out) > s->out.mask) return;",
    ),
    Mutant("a wiped engine reads on", "quic_handover.c", "    q->state = QUIC_OVER;\n", ""),
)
