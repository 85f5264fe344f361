"""The mutants: (name, file of csrc/, text that occurs there exactly once, what replaces it)."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One mistake. `old` occurs exactly once in `file`, else its test fails: mutants must not rot.

    backend: the path on which it can be seen, "" when it shows on all of them. A machine without that path skips the
    mutant; "portable" is on every machine that has kernels at all.
    """

    name: str
    file: str
    old: str
    new: str
    backend: str = ""


_OWN = ("avx512", "avx2", "sse2", "neon", "portable")

KERNEL_FILES = {
    "box_batch.c": _OWN,
    "poly1305.c": _OWN,
    "poly1305_avx2.c": ("avx2",),
    "poly1305_ifma.c": ("avx512",),
    "blocks_avx2.c": ("avx2",),
    "blocks_avx512.c": ("avx512",),
    "blocks_neon.c": ("neon",),
    "blocks_portable.c": _OWN,
    "blocks_sse2.c": ("sse2",),
}
"""On which paths a file is run. All others run on every path."""

SECOND_NONCE = "    nonce_next(s->_nonce, &s->_subkeyed);\n    out[SSB_MAC]"

MUTANTS = (
    Mutant("no carry", "box_stream.c", "if (nonce[i] != 0) return;", "return;"),
    Mutant(
        "carry stops early", "box_stream.c", "int i = SSB_NONCE - 1; i >= 0; i--", "int i = SSB_NONCE - 1; i > 7; i--"
    ),
    Mutant(
        "header mac ignored",
        "box_stream.c",
        "!= 0) return opener_end(o, SSB_E_HEADER)",
        "> 0) return opener_end(o, SSB_E_HEADER)",
    ),
    Mutant(
        "body mac ignored",
        "box_stream.c",
        "SSB_MAC + body_n, o->_nonce, o->_key) != 0",
        "SSB_MAC + body_n, o->_nonce, o->_key) > 0",
    ),
    Mutant("empty boxes", "box_stream.c", "if (n == 0 || n > o->_body_max)", "if (n > o->_body_max)"),
    Mutant("one byte too many", "box_stream.c", "n > o->_body_max)", "n > o->_body_max + 1)"),
    Mutant("goodbye by length", "box_stream.c", "i < HEADER_TEXT; i++) any |= text[i];", "i < 2; i++) any |= text[i];"),
    Mutant(
        "sealing after goodbye", "box_stream.c", "    ssb_sealer_close(s);\n    return SSB_OK;", "    return SSB_OK;"
    ),
    Mutant("nonce used twice", "box_stream.c", SECOND_NONCE, "    out[SSB_MAC]"),
    Mutant("flags not masked", "packet_stream.c", "s->_raw[0] & FLAGS_USED", "s->_raw[0]"),
    Mutant("type 3 passes", "packet_stream.c", "== TYPE_BAD ? SSB_E_TYPE", "== TYPE_BAD + 1 ? SSB_E_TYPE"),
    Mutant("wrong sign of req", "packet_stream.c", "number = (uint32_t)req", "number = (uint32_t)-req"),
    Mutant(
        "limits exchanged",
        "link_receive.c",
        "l->_req < 0 ? l->_limits.answer_body",
        "l->_req > 0 ? l->_limits.answer_body",
    ),
    Mutant("limit plus one", "link_receive.c", "if (length > limit)", "if (length > limit + 1)"),
    Mutant("empty packet inside a tunnel", "link_receive.c", "inlet != NULL ? SKIP : EMPTY", "EMPTY"),
    Mutant(
        "end passes through the tunnel", "link_receive.c", "|| (l->_flags & SSB_END) || l->_req == 0", "|| l->_req == 0"
    ),
    Mutant("opened stream not announced", "link_receive.c", "return opens ? SSB_AGAIN : SSB_OK;", "return SSB_OK;"),
    Mutant(
        "goodbye hides what follows", "link_receive.c", "code == SSB_ENDED && l->_input._bytes + l->_rest_n > 0", "0"
    ),
    Mutant("inlet forgotten too late", "inlet.c", "    l->_mode = SKIP;\n    ssbi_keep", "    ssbi_keep"),
    Mutant(
        "no share",
        "lane.c",
        "is_over_limit(l->_hub, lane->_queue._bytes, lane->_queue._slabs, lane->_share, LANE_PART) ||",
        "",
    ),
    Mutant(
        "no link backlog",
        "lane.c",
        "is_over_limit(l->_hub, l->_lane_bytes, l->_lane_slabs, l->_limits.link_backlog, LINK_PART)",
        "0",
    ),
    Mutant("share whatever is left of the pool", "lane.c", "if (limit > most) limit = most;", ""),
    Mutant("events without end", "events.c", "if (e->left == 0 || size >", "if (size >"),
    Mutant(
        "rest of a box forgotten",
        "link_receive.c",
        "    }\n    if (code == SSB_OK) code = keep",
        "    ssbi_keep(l->_hub, &l->_plain, 0);\n    }\n    if (code == SSB_OK) code = keep",
    ),
    Mutant(
        "memory of small packets not counted",
        "lane.c",
        "|| slabs >= (uint64_t)SLACK",
        "|| slabs >= 99 * (uint64_t)SLACK",
    ),
    Mutant("packet cut by clear", "lane.c", "&lane->_queue, lane->_begun);", "&lane->_queue, 0);"),
    Mutant(
        "control backlog plus one",
        "link.c",
        "size > l->_limits.control_backlog",
        "size > l->_limits.control_backlog + 1",
    ),
    Mutant(
        "control inside a packet",
        "link_flush.c",
        "if (lane != NULL && lane->_begun > 0) {",
        "if (lane != NULL && lane->_begun > 0 && l->_control._bytes == 0) {",
    ),
    Mutant(
        "no turns", "link_flush.c", "lane->_ringed && lane->_credit <= 0", "lane->_ringed && lane->_credit < -1000000"
    ),
    Mutant("boxes not filled", "link_flush.c", "smaller(SSB_BOX_BODY, room", "smaller(SSB_BOX_BODY - 1, room"),
    Mutant(
        "head merged in split mode",
        "link_flush.c",
        "l->_split ? SSB_PACKET_HEAD : size);\n    return 1;\n}\n\nstatic int begin_whole",
        "size);\n    return 1;\n}\n\nstatic int begin_whole",
    ),
    Mutant("slabs leak", "queue.c", "while (rest._first != 0) shrink(h, &rest);", ""),
    Mutant("reserve given away", "hub.c", "free > SSB_SLAB_RESERVE ? free - SSB_SLAB_RESERVE : 0", "free"),
    Mutant(
        "pool full of input is a dead end",
        "hub.c",
        "return ssb_hub_left(h) == 0 && h->_outgoing > 0;",
        "return ssb_hub_left(h) == 0;",
    ),
    Mutant("stale sub-key", "box_stream.c", "if (i < SUBKEY_NONCE) *subkeyed = 0;", "", "portable"),
    Mutant(
        "batch sealed over a carry",
        "box_batch.c",
        "k == NULL || nonce > UINT64_MAX - MARGIN ||",
        "k == NULL ||",
        "portable",
    ),
    Mutant(
        "batch opened over a carry",
        "box_batch.c",
        "nonce > UINT64_MAX - MARGIN || (open && nonce == 0)",
        "0",
        "portable",
    ),
    Mutant("forged body in a batch", "box_batch.c", "if (ssbi_macs_differ(mac, o->_mac)) return 0;", "", "portable"),
    Mutant("forged header in a batch", "box_batch.c", "if (ssbi_macs_differ(mac, box)) return 0;", "", "portable"),
    Mutant(
        "half of a mac compared", "box_batch.c", "i < SSB_MAC; i++) any |=", "i < SSB_MAC / 2; i++) any |=", "portable"
    ),
    Mutant(
        "more than a box taken for one",
        "box_batch.c",
        "b->plain != NULL && b->n !=",
        "b->plain != NULL && b->n <",
        "portable",
    ),
    Mutant(
        "too long in a batch", "box_batch.c", "n == 0 || n > o->_body_max) return 0;", "n == 0) return 0;", "portable"
    ),
    Mutant(
        "one nonce for header and body",
        "box_batch.c",
        "want(&q, nonce + 2 * n + 1, 0, NULL, c[n].body);",
        "want(&q, nonce + 2 * n, 0, NULL, c[n].body);",
        "portable",
    ),
    Mutant(
        "nonces of a batch used again",
        "box_batch.c",
        "nonce + 2 * n);\n    s->",
        "nonce + 2 * n - 2);\n    s->",
        "portable",
    ),
    Mutant("open header forgotten", "box_batch.c", "2 * b->count + (o->_body_n > 0)", "2 * b->count", "portable"),
    Mutant("opened ahead twice", "link_receive.c", "    l->_opened -= size;\n", "", "portable"),
    Mutant(
        "lanes exchanged, 16", "blocks_avx512.c", "shuffle_i32x4(b, d, ODD));", "shuffle_i32x4(a, d, ODD));", "avx512"
    ),
    Mutant(
        "lane left out, 8", "blocks_avx2.c", "for (size_t i = 4; i < n; i++)", "for (size_t i = 5; i < n; i++)", "avx2"
    ),
    Mutant("number of the block forgotten, 4", "blocks_sse2.c", "i >= 6 && i <= 8", "i >= 6 && i <= 7", "sse2"),
    Mutant("number of the block forgotten, 1", "blocks_portable.c", "input[8] = blocks->number[at];", "", "portable"),
    Mutant("carry beyond 2^130, IFMA", "poly1305_ifma.c", "_mm512_slli_epi64(high[2], 10)", "high[2]", "avx512"),
    Mutant("carry beyond 2^130, AVX2", "poly1305_avx2.c", "    carry(d, 4, 0);\n", "", "avx2"),
    Mutant("end of a longer rest not marked", "poly1305.c", " | (uint64_t)1 << (8 * (n - 8));", ";", "portable"),
    Mutant("end of the message not marked", "poly1305.c", "low |= (uint64_t)1 << (8 * n);", "", "portable"),
)
