"""The relay engine on both backends: what a tunnel promises, and every limit that bounds it."""

from __future__ import annotations

import gc
import random
from types import ModuleType
from typing import Any

import pytest

from ssbfast import pure
from ssbfast.errors import BoxStreamError, LocalProtocolError, PacketError, SessionEndedError
from ssbfast.pure import EV_CHUNK, EV_GOODBYE, EV_PACKET, CoreLimits, Status
from tests.helpers.feeds import feeds, split
from tests.helpers.relay_with_peers import RelayWithPeers, data
from tests.helpers.traffic import raw

SLAB = 4096
KEYS = {"send_key": bytes(32), "send_nonce": bytes(24), "receive_key": bytes(32), "receive_nonce": bytes(24)}
TINY_POOL = (512 + 4) * SLAB


def message(n: int, seed: int = 0) -> bytes:
    return random.Random(f"{n} {seed}").randbytes(n)


class TestTunnel:
    @pytest.mark.parametrize("split_mode", [False, True])
    def test_bytes_and_whole_packets_in_order_however_they_come(self, core: ModuleType, split_mode: bool) -> None:
        sent = [message(n) for n in (1, 9, 4087, 4096, 3, 20_000, 64)]
        item, text = raw(0x0A, 5, b'{"a":"\xc3\xa4"}'), raw(9, 5, "zwölf".encode())
        plain = b"".join(data(5, *sent[:3])) + item + b"".join(data(5, *sent[3:])) + text
        once = RelayWithPeers(core)
        for chunks in feeds(once.ends[0].box(plain)):
            room = RelayWithPeers(core, split=split_mode)
            caller, target = room.ends
            room.splice(0, 5, 1, 8)
            for chunk in chunks:
                caller.send(chunk)
            room.settle()
            assert target.data(8) == b"".join(sent)
            assert target.whole(8) == [(0x0A, 8, b'{"a":"\xc3\xa4"}'), (9, 8, "zwölf".encode())]
            before_item = b"".join(p[2] for p in target.packets[: target.packets.index((0x0A, 8, b'{"a":"\xc3\xa4"}'))])
            assert before_item == b"".join(sent[:3])
            assert caller.events == []
            room.close()
        once.close()

    @pytest.mark.parametrize("seed", range(6))
    def test_two_tunnels_at_once_both_ways(self, core: ModuleType, seed: int, rounds: int) -> None:
        rng = random.Random(seed)
        room = RelayWithPeers(core, ends=3, split=seed % 2 == 1)
        room.splice(0, 1, 1, 3, share=rng.choice((5000, 262_144)))
        room.splice(0, 2, 2, 3, share=rng.choice((1, 262_144)))
        sent: dict[tuple[int, int], bytes] = {(0, 1): b"", (0, 2): b"", (1, -3): b"", (2, -3): b""}
        wires = [b"", b"", b""]
        for _ in range(400 // rounds):
            end, req = rng.choice(list(sent))
            body = rng.randbytes(rng.choice((1, 2, 60, 1000, 4087, 4096, 9000)))
            sent[end, req] += body
            wires[end] += room.ends[end].box(*data(req, body))
        feed = [split(wire, rng, rng.choice((7, 500, 9000, 65_536))) for wire in wires]
        while any(feed):
            i = rng.choice([i for i in range(3) if feed[i]])
            if room.ends[i].status == Status.BLOCKED:
                room.ends[i].proceed()
            else:
                room.ends[i].send(feed[i].pop(0))
            if rng.random() < 0.4:
                rng.choice(room.ends).flush(rng.choice((4130, 5000, 20_000)))
        room.settle()
        assert room.ends[1].data(3) == sent[0, 1]
        assert room.ends[2].data(3) == sent[0, 2]
        assert room.ends[0].data(-1) == sent[1, -3]
        assert room.ends[0].data(-2) == sent[2, -3]
        assert [end.link.failure for end in room.ends] == [None] * 3
        room.close()

    def test_an_end_is_an_event_and_does_not_pass(self, core: ModuleType) -> None:
        room = RelayWithPeers(core)
        room.splice(0, 1, 1, 1)
        room.ends[0].send(room.ends[0].box(*data(1, b"last"), raw(0x0E, 1, b"true"), raw(0x0E, 1, b"")))
        room.settle()
        assert room.ends[0].events == [(EV_PACKET, 0x0E, 1, b"true")] * 2
        assert room.ends[1].packets == [(8, 1, b"last")]
        room.close()

    def test_empty_packets_do_not_pass(self, core: ModuleType) -> None:
        room = RelayWithPeers(core)
        room.splice(0, 1, 1, 1)
        room.ends[0].send(room.ends[0].box(raw(8, 1, b""), raw(9, 1, b""), raw(0x0A, 1, b""), *data(1, b"x")))
        room.settle()
        assert room.ends[1].packets == [(8, 1, b"x")]
        assert room.ends[0].events == []
        room.close()

    def test_req_is_renumbered_and_its_sign_kept_apart(self, core: ModuleType) -> None:
        room = RelayWithPeers(core)
        room.splice(0, 7, 1, 2**31 - 1)
        room.ends[0].send(room.ends[0].box(raw(8, -7, b"no"), raw(8, 7, b"yes"), raw(9, 7, b"text")))
        room.ends[1].send(room.ends[1].box(raw(8, -(2**31) + 1, b"back"), raw(8, 2**31 - 1, b"no")))
        room.settle()
        assert room.ends[1].packets == [(8, 2**31 - 1, b"yes"), (9, 2**31 - 1, b"text")]
        assert room.ends[0].packets == [(8, -7, b"back")]
        assert room.ends[0].events == [(EV_PACKET, 8, -7, b"no")]
        room.close()

    def test_many_inlets(self, core: ModuleType) -> None:
        room = RelayWithPeers(core)
        for req in range(1, 300):
            room.splice(0, req, 1, 1000 + req)
        room.ends[0].send(room.ends[0].box(*(raw(8, req, b"%d" % req) for req in range(1, 300))))
        room.settle()
        assert sorted(p[1:] for p in room.ends[1].packets) == [(1000 + r, b"%d" % r) for r in range(1, 300)]
        room.close()

    def test_inlet_closed_in_the_middle_of_a_packet(self, core: ModuleType) -> None:
        for flags in (8, 0x0A):
            room = RelayWithPeers(core)
            lane = core.Lane(room.ends[1].link, 1, 1000)
            inlet = core.Inlet(room.ends[0].link, 1, lane)
            wire = room.ends[0].box(raw(flags, 1, b"a" * 5000), raw(8, 1, b"after"))
            room.ends[0].send(wire[: 4096 + 34])
            inlet.close()
            inlet.close()
            room.ends[0].send(wire[4096 + 34 :])
            room.settle()
            assert room.ends[0].events == [(EV_PACKET, 8, 1, b"after")]
            assert b"".join(p[2] for p in room.ends[1].packets) == (b"a" * 4087 if flags == 8 else b"")
            room.close()

    def test_bytes_without_inlet_that_pass_the_limit_are_skipped(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, limits=CoreLimits(call_body=10, answer_body=10))
        late = [raw(8, 1, bytes(11)), raw(8, -1, bytes(11)), raw(8, 1, bytes(10)), raw(2, 1, b"x")]
        room.ends[0].send(room.ends[0].box(*late))
        assert room.ends[0].events == [(EV_PACKET, 8, 1, bytes(10)), (EV_PACKET, 2, 1, b"x")]
        room.close()


class TestEvents:
    def one(self, core: ModuleType, *packets: bytes, **options: Any) -> tuple[list[Any], Any]:
        """Return the events of some packets, the same however they are cut."""
        answers = []
        wire = RelayWithPeers(core, 1, **options).ends[0].box(*packets)
        for chunks in feeds(wire):
            room = RelayWithPeers(core, 1, **options)
            for chunk in chunks:
                room.ends[0].send(chunk)
            answers.append((room.ends[0].events, type(room.ends[0].link.failure)))
            room.close()
        assert all(answer == answers[0] for answer in answers)
        return answers[0]

    def test_packets(self, core: ModuleType) -> None:
        packets = [(2, 1, b"[]"), (0, -1, b"x"), (6, -3, b"{}"), (9, 4, b"t"), (8, 4, b"bytes"), (0x0E, -4, b"true")]
        events, failure = self.one(core, *(raw(*p) for p in packets))
        assert events == [(EV_PACKET, *p) for p in packets]
        assert failure is type(None)

    def test_upper_bits_of_flags(self, core: ModuleType) -> None:
        assert self.one(core, raw(0xF2, 1, b"1"))[0] == [(EV_PACKET, 2, 1, b"1")]

    def test_empty_bodies(self, core: ModuleType) -> None:
        events, _ = self.one(core, raw(0x0C, 3, b""), raw(4, -3, b""), raw(8, 3, b""), raw(2, 0, b""), raw(2, 3, b"1"))
        found = [(0x0E, 3, b"true"), (0x0E, -3, b"true"), (8, 3, b""), (2, 3, b"1")]
        assert events == [(EV_PACKET, *packet) for packet in found]

    def test_goodbye(self, core: ModuleType) -> None:
        assert self.one(core, raw(2, 1, b"1"), bytes(9))[0] == [(EV_PACKET, 2, 1, b"1"), (EV_GOODBYE, 0, 0, b"")]

    def test_req_0_is_skipped(self, core: ModuleType) -> None:
        assert self.one(core, raw(2, 0, b"123"), raw(8, 0, b"x"), raw(2, 1, b"1"))[0] == [(EV_PACKET, 2, 1, b"1")]

    @pytest.mark.parametrize("bad", [(3, 1, 1), (0x0B, 1, 1), (2, 1, 65_537), (2, 0, 65_537)])
    def test_mistakes_leave_a_good_prefix(self, core: ModuleType, bad: tuple[int, int, int]) -> None:
        events, failure = self.one(core, raw(2, 1, b"1"), raw(*bad[:2], bytes(bad[2])), raw(2, 1, b"2"))
        assert events == [(EV_PACKET, 2, 1, b"1")]
        assert failure is PacketError

    def test_limits(self, core: ModuleType) -> None:
        limits = CoreLimits(call_body=10, answer_body=20)
        for req, limit in ((1, 10), (-1, 20)):
            good = (EV_PACKET, 2, req, bytes(limit))
            assert self.one(core, raw(2, req, bytes(limit)), limits=limits) == ([good], type(None))
            assert self.one(core, raw(2, req, bytes(limit + 1)), limits=limits) == ([], PacketError)

    def test_long_answers(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 1)
        body = message(1_000_000)
        room.ends[0].send(room.ends[0].box(raw(2, -1, body), raw(2, -2, b"x")))
        assert room.ends[0].events == [(EV_PACKET, 2, -1, body), (EV_PACKET, 2, -2, b"x")]
        room.close()

    def test_a_stream_that_opens_gets_its_inlet_in_time(self, core: ModuleType) -> None:
        call = raw(0x0A, 3, b'{"name":["tunnel","connect"]}')
        wire = RelayWithPeers(core, 1).ends[0].box(call, *data(3, b"hello", b"world"))
        for chunks in feeds(wire):
            room = RelayWithPeers(core)
            got = []
            for chunk in chunks:
                status, events = room.ends[0].link.receive(bytearray(chunk))
                while True:
                    got += events
                    if events:
                        assert status == Status.AGAIN
                        core.Inlet(room.ends[0].link, 3, core.Lane(room.ends[1].link, 9))
                    if status != Status.AGAIN:
                        break
                    status, events = room.ends[0].link.proceed()
            assert [e[1:] for e in got] == [(0x0A, 3, b'{"name":["tunnel","connect"]}')]
            room.settle()
            assert room.ends[1].data(9) == b"helloworld"
            room.close()

    def test_chunks(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 1)
        core.Inlet(room.ends[0].link, -2, None)
        sent = [message(n) for n in (1, 5000, 64, 40_000)]
        room.ends[0].send(room.ends[0].box(*data(-2, *sent), raw(0x0A, -2, b"[]"), *data(-2, b"tail")))
        kinds = [(e[0], e[1], e[2]) for e in room.ends[0].events]
        assert kinds == [(EV_CHUNK, 8, -2), (EV_PACKET, 0x0A, -2), (EV_CHUNK, 8, -2)]
        assert room.ends[0].events[0][3] == b"".join(sent)
        room.close()

    def test_more_events_than_one_call_can_give(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 1)
        core.Inlet(room.ends[0].link, 5, None)
        packets = [(2, i, message(3000, i)) for i in range(1, 5)] * 30
        room.ends[0].send(room.ends[0].box(*(raw(*p) for p in packets), *data(5, message(300_000))))
        events = room.ends[0].events
        assert [e for e in events if e[0] == EV_PACKET] == [(EV_PACKET, *p) for p in packets]
        assert b"".join(e[3] for e in events if e[0] == EV_CHUNK) == message(300_000)
        room.close()

    def test_damaged_boxes_and_the_end(self, core: ModuleType) -> None:
        room = RelayWithPeers(core)
        caller, target = room.ends
        room.splice(0, 1, 1, 1)
        wire = caller.box(*data(1, b"good"))
        bad = bytearray(caller.box(*data(1, b"bad")))
        bad[40] ^= 1
        assert caller.send(wire + bytes(bad) + caller.box(*data(1, b"more"))) == Status.OK
        assert isinstance(caller.link.failure, BoxStreamError)
        failure = caller.link.failure
        assert caller.send(b"more") == Status.OK
        assert caller.link.failure is failure
        room.settle()
        assert target.data(1) == b"good"
        assert caller.link.control(2, -1, b"bye")
        assert caller.drain() == Status.OK
        assert caller.packets == [(2, -1, b"bye")]
        assert target.send(target.sealer.goodbye()) == Status.ENDED
        assert target.link.failure is None
        target.send(b"x")
        assert isinstance(target.link.failure, BoxStreamError)
        room.close()

    def test_data_behind_the_goodbye_in_one_read(self, core: ModuleType) -> None:
        for chunks in feeds(RelayWithPeers(core, 1).ends[0].sealer.goodbye() + b"x"):
            room = RelayWithPeers(core, 1)
            for chunk in chunks:
                room.ends[0].send(chunk)
            assert isinstance(room.ends[0].link.failure, BoxStreamError)
            room.close()


class TestSending:
    def test_boxes_are_filled(self, core: ModuleType) -> None:
        room = RelayWithPeers(core)
        lane = core.Lane(room.ends[0].link, 1)
        for n in (64,) * 100 + (4087,) * 10:
            assert lane.write(bytes(n))
        queued = 64 * 100 + 4087 * 10
        assert (lane.queued, lane.put, lane.taken, room.ends[0].link.queued) == (queued, queued, 0, queued)
        assert room.ends[0].drain() == Status.OK
        assert room.ends[0].boxes[:-1] == [4096] * (len(room.ends[0].boxes) - 1)
        assert [len(p[2]) for p in room.ends[0].packets[:-1]] == [4087] * (len(room.ends[0].boxes) - 1)
        assert (lane.queued, lane.put, lane.taken) == (0, queued, queued)
        room.close()

    def test_split_mode_gives_every_head_a_box_of_its_own(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 1, split=True)
        end = room.ends[0]
        lane = core.Lane(end.link, 1)
        lane.write(message(5000))
        lane.packet(0x0A, message(4100))
        end.link.control(2, -1, b"answer")
        end.link.control(0, 0, b"")
        assert end.drain() == Status.OK
        assert end.boxes == [9, 6, 9, 9, 4096, 9, 904, 9, 4096, 4]
        assert end.data(1) == message(5000)
        assert end.whole(1) == [(0x0A, 1, message(4100))]
        room.close()

    def test_control_goes_first_but_never_inside_a_packet(self, core: ModuleType) -> None:
        for whole in (False, True):
            room = RelayWithPeers(core, 1)
            end = room.ends[0]
            lane = core.Lane(end.link, 1)
            assert lane.packet(0x0A, message(30_000)) if whole else lane.write(message(30_000))
            assert end.flush(4130) == Status.FULL
            assert end.link.control(2, -1, b"first")
            assert end.link.control_queued == 14
            assert end.flush(4130 + 4130) == Status.FULL
            names = [p[:2] for p in end.packets]
            assert ((2, -1) in names) is not whole
            end.drain()
            assert (end.whole(1)[0][2] if whole else end.data(1)) == message(30_000)
            assert (2, -1, b"first") in end.packets
            room.close()

    def test_lanes_take_turns(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 1)
        end = room.ends[0]
        lanes = [core.Lane(end.link, i) for i in range(1, 5)]
        for lane in lanes[:2]:
            lane.write(bytes(200_000))
        for lane in lanes[2:]:
            for _ in range(200):
                lane.packet(9, bytes(900))
        end.flush(60_000)
        taken = [lane.taken for lane in lanes]
        assert sum(taken) > 50_000
        assert max(taken) - min(taken) <= 2 * 4096
        room.close()

    def test_a_long_packet_pays_for_its_length(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 1)
        end = room.ends[0]
        greedy, modest = core.Lane(end.link, 1), core.Lane(end.link, 2)
        for _ in range(4):
            greedy.packet(0x0A, bytes(50_000))
        modest.write(bytes(200_000))
        end.flush(110_000)
        assert modest.taken >= 40_000
        room.close()

    def test_goodbye(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 1)
        end = room.ends[0]
        lane = core.Lane(end.link, 1)
        lane.write(b"last")
        end.link.goodbye()
        end.link.goodbye()
        with pytest.raises(LocalProtocolError):
            end.link.control(2, 1, b"x")
        for call in (lambda: lane.write(b"x"), lambda: lane.packet(9, b"x")):
            with pytest.raises(SessionEndedError):
                call()
        assert end.flush(34 + 63) == Status.FULL
        assert end.flush(34 + 100) == Status.ENDED
        assert (end.data(1), end.opener.ended) == (b"last", True)
        assert end.link.flush() == (b"", Status.ENDED)
        room.close()

    def test_no_room_for_the_goodbye(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 1)
        room.ends[0].link.goodbye()
        assert room.ends[0].link.flush(33) == (b"", Status.FULL)
        assert room.ends[0].flush(34) == Status.ENDED
        assert room.ends[0].opener.ended
        room.close()

    def test_empty_bodies_are_refused(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 1)
        lane = core.Lane(room.ends[0].link, 1)
        for flags, req in ((2, 1), (8, 0), (0, 1), (0x0E, -1)):
            with pytest.raises(LocalProtocolError):
                room.ends[0].link.control(flags, req, b"")
        with pytest.raises(LocalProtocolError):
            lane.packet(0x0E, b"")
        assert lane.write(b"")
        assert room.ends[0].link.flush() == (b"", Status.OK)
        assert room.ends[0].link.control(0, 0, b"")
        room.ends[0].drain()
        assert room.ends[0].packets == [(0, 0, b"")]
        room.close()

    def test_clear_and_close_at_a_packet_boundary(self, core: ModuleType) -> None:
        for close in (False, True):
            for split_mode in (False, True):
                room = RelayWithPeers(core, 1, split=split_mode)
                end = room.ends[0]
                lane, other = core.Lane(end.link, 1), core.Lane(end.link, 2)
                lane.packet(0x0A, message(20_000))
                lane.write(b"dropped")
                other.write(b"other")
                end.flush(4130)
                lane.close() if close else lane.clear()
                assert lane.queued == (0 if close else 20_009 - lane.taken)
                end.link.control(2, -1, b"control")
                end.drain()
                assert end.whole(1) == [(0x0A, 1, message(20_000))]
                assert end.packets[0] == (0x0A, 1, message(20_000))
                assert end.data(1) == b""
                assert (end.data(2), end.whole(-1)) == (b"other", [(2, -1, b"control")])
                room.close()

    def test_the_list_of_links_with_something_to_send(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 3)
        links = [end.link for end in room.ends]
        assert room.hub.dirty() == []
        lane = core.Lane(links[1], 1)
        lane.write(b"x")
        links[0].control(2, 1, b"x")
        lane.packet(9, b"x")
        links[2].goodbye()
        assert room.hub.dirty() == [2, 1, 3]
        assert room.hub.dirty() == []
        lane.write(b"y")
        links[0].control(2, 1, b"y")
        links[1].close()
        assert room.hub.dirty() == [1]
        room.close()


class TestLimits:
    def test_a_share_blocks_its_source_only(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 3)
        slow, _ = room.splice(0, 1, 2, 1, share=10_000)
        room.splice(1, 1, 2, 2)
        wire = room.ends[0].box(*data(1, message(100_000)))
        assert room.ends[0].send(wire) == Status.BLOCKED
        assert room.ends[0].link.blocked is slow
        assert 10_000 <= slow.queued < 10_000 + 4096
        assert room.ends[0].link.held > 80_000
        assert slow.full
        assert slow.write(b"x") is False
        assert slow.packet(9, b"packets still go")
        assert room.ends[1].send(room.ends[1].box(*data(1, message(50_000)))) == Status.OK
        room.settle()
        assert room.ends[2].data(1) == message(100_000)
        assert room.ends[2].data(2) == message(50_000)
        assert room.ends[0].link.blocked is None
        room.close()

    def test_what_is_received_while_blocked_is_kept(self, core: ModuleType) -> None:
        room = RelayWithPeers(core)
        lane, _ = room.splice(0, 1, 1, 1, share=1)
        sent = b""
        for i in range(20):
            sent += message(1000, i)
            room.ends[0].send(room.ends[0].box(*data(1, message(1000, i))))
        assert room.ends[0].status == Status.BLOCKED
        assert lane.queued == 1000
        room.settle()
        assert room.ends[1].data(1) == sent
        room.close()

    def test_link_backlog(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 2, limits=CoreLimits(link_backlog=20_000))
        one, _ = room.splice(0, 1, 1, 1)
        two = core.Lane(room.ends[1].link, 2)
        assert two.write(bytes(19_000))
        assert room.ends[0].send(room.ends[0].box(*data(1, bytes(20_000)))) == Status.BLOCKED
        assert one.queued < 1000 + 4096
        assert two.write(b"x") is False
        room.close()

    def test_small_whole_packets_count_by_their_memory(self, core: ModuleType) -> None:
        room = RelayWithPeers(core)
        lane, _ = room.splice(0, 1, 1, 1, share=40_960)
        assert room.ends[0].send(room.ends[0].box(*[raw(9, 1, b"x")] * 4000)) == Status.BLOCKED
        assert 40 <= room.hub.lent <= 44 + 4096 // 10 + 20
        assert lane.full
        room.settle()
        assert room.ends[1].whole(1) == [(9, 1, b"x")] * 4000
        room.close()

    def test_control_backlog(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 1, limits=CoreLimits(control_backlog=100))
        link = room.ends[0].link
        assert link.control(2, 1, bytes(41))
        assert link.control(2, 1, bytes(42)) is False
        assert link.control(2, 1, bytes(41))
        assert link.control(2, 1, b"x") is False
        assert link.control_queued == 100
        room.ends[0].drain()
        assert link.control(2, 1, bytes(91))
        room.close()

    def test_the_pool(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 2, pool=TINY_POOL)
        lane, _ = room.splice(0, 1, 1, 1)
        assert room.hub.left == 4
        assert lane.write(bytes(3 * SLAB))
        assert lane.write(bytes(SLAB + 1)) is False
        assert (room.hub.lent, room.hub.left) == (3, 1)
        assert room.ends[0].send(room.ends[0].box(*data(1, bytes(10_000)))) == Status.BLOCKED
        assert room.ends[0].link.blocked is lane  # it holds more than its part of what is left
        assert room.hub.left == 0
        assert lane.full
        assert lane.write(b"x") is False
        assert lane.packet(9, b"x")
        assert room.ends[1].link.control(2, 1, b"x")
        room.settle()
        assert len(room.ends[1].data(1)) == 10_000 + 3 * SLAB
        room.close()

    def test_the_less_is_left_of_the_pool_the_less_a_lane_may_hold(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 3, pool=(512 + 160) * SLAB)
        greedy, _ = room.splice(0, 1, 1, 1)
        modest, _ = room.splice(0, 2, 2, 2)
        assert greedy.write(bytes(9 * SLAB)) and not greedy.write(b"x")  # 151 slabs are left: nine for a lane
        assert modest.write(bytes(7 * SLAB)) and modest.write(b"x")
        assert room.ends[2].link.control(2, 1, bytes(143 * SLAB))
        assert room.hub.left == 0
        room.settle()
        assert modest.write(b"x") and not modest.full
        room.close()

    def test_events_of_one_call_are_counted_and_the_rest_can_be_kept(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 1, limits=CoreLimits(events=3))
        link, end = room.ends[0].link, room.ends[0]
        calls = [raw(2, i, b"call %d" % i) for i in range(1, 11)]
        wire = bytearray(end.box(*calls))
        status, events = link.receive(wire)
        assert status is Status.AGAIN and [event[2] for event in events] == [1, 2, 3]
        more = end.box(raw(2, 11, b"call 11"))
        assert link.keep(more)
        wire[:] = bytes(len(wire))  # the buffer is free
        assert link.held > 0
        heard = []
        while status is Status.AGAIN:
            status, events = link.proceed()
            heard.append([event[2] for event in events])
        assert heard == [[4, 5, 6], [7, 8, 9], [10, 11]]
        assert status is Status.OK and link.held == 0 and room.hub.lent == 0
        room.close()

    def test_a_pool_full_of_input_is_no_dead_end(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 3, pool=TINY_POOL)
        lane, _ = room.splice(0, 1, 2, 1)
        room.splice(1, 1, 2, 2)
        assert lane.write(bytes(3 * SLAB))
        for end in room.ends[:2]:
            assert end.send(end.box(*data(1, message(200_000)))) == Status.BLOCKED
        assert room.hub.left == 0
        room.settle()
        assert room.ends[2].data(1) == bytes(3 * SLAB) + message(200_000)
        assert room.ends[2].data(2) == message(200_000)
        room.close()

    def test_a_pool_full_of_half_packets_is_no_dead_end(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 3, pool=TINY_POOL)
        for end in room.ends[:2]:
            end.send(end.box(raw(2, 1, message(60_000)))[:40_000])
        assert room.hub.left == 0
        room.splice(2, 1, 0, 1)
        room.ends[2].send(room.ends[2].box(*data(1, message(30_000))))
        room.settle()
        assert room.ends[0].data(1) == message(30_000)
        room.close()

    def test_an_idle_link_holds_nothing(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 1)
        end = room.ends[0]
        wire = end.box(raw(2, 1, b"call"))
        end.send(wire[:20])
        assert (room.hub.lent, end.link.held) == (1, 20)
        end.send(wire[20:])
        end.link.control(2, -1, b"answer")
        end.drain()
        assert (room.hub.lent, end.link.held) == (0, 0)
        room.hub.trim()
        end.send(end.box(raw(2, 1, b"call")))
        assert len(end.events) == 2
        room.close()

    def test_a_pool_needs_more_than_its_reserve(self, core: ModuleType) -> None:
        with pytest.raises(ValueError):
            core.Hub(512 * SLAB)
        assert core.Hub(513 * SLAB).left == 1


class TestClosing:
    def test_everything_may_be_closed_at_any_time_and_twice(self, core: ModuleType) -> None:
        room = RelayWithPeers(core)
        lane, back = room.splice(0, 1, 1, 1)
        room.ends[0].send(room.ends[0].box(*data(1, message(9000)))[:5000])
        room.ends[1].link.close()
        room.ends[1].link.close()
        assert lane.queued == 0
        for call in (lambda: lane.write(b"x"), lambda: lane.packet(9, b"x")):
            with pytest.raises(SessionEndedError):
                call()
        lane.clear()
        lane.close()
        lane.close()
        assert room.ends[0].send(room.ends[0].box(*data(1, b"nobody"))) == Status.OK
        assert room.ends[0].events == []
        back.write(b"still here")
        room.ends[0].drain()
        assert room.ends[0].data(-1) == b"still here"
        room.close()

    def test_a_closed_link_does_nothing(self, core: ModuleType) -> None:
        room = RelayWithPeers(core, 1)
        link = room.ends[0].link
        link.close()
        calls = (
            lambda: link.receive(bytearray(b"x")), link.proceed, link.flush, lambda: link.control(2, 1, b"x")
        )  # fmt: skip
        for call in calls:
            with pytest.raises(LocalProtocolError):
                call()
        lane = core.Lane(link, 1)
        with pytest.raises(SessionEndedError):
            lane.write(b"x")
        core.Inlet(link, 1, lane).close()
        assert (link.held, link.queued, link.control_queued, link.blocked) == (0, 0, 0, None)

    def test_forgotten_links_are_closed_by_the_garbage_collector(self, core: ModuleType) -> None:
        if core.Hub is pure.Hub:
            pytest.skip("the pure pool is not memory: nothing is lost with a forgotten link")
        hub = core.Hub(8 << 20)
        for _ in range(3):
            link = core.Link(hub, 1, **KEYS)
            lane = core.Lane(link, 1)
            lane.write(bytes(10_000))
            core.Inlet(link, 2, lane)
            del link, lane
        gc.collect()
        assert hub.lent == 0
        assert hub.dirty() == []

    def test_lanes_of_another_hub_are_refused(self, core: ModuleType) -> None:
        one, two = RelayWithPeers(core, 1), RelayWithPeers(core, 1)
        with pytest.raises(ValueError):
            core.Inlet(one.ends[0].link, 1, core.Lane(two.ends[0].link, 1))

    @pytest.mark.parametrize("wrong", ["send_key", "send_nonce", "receive_key", "receive_nonce"])
    def test_lengths_of_keys(self, core: ModuleType, wrong: str) -> None:
        with pytest.raises(ValueError):
            core.Link(core.Hub(8 << 20), 1, **{**KEYS, wrong: KEYS[wrong][1:]})

    def test_repr_shows_no_key(self, core: ModuleType) -> None:
        link = core.Link(core.Hub(8 << 20), 1, **{**KEYS, "send_key": b"K" * 32, "receive_key": b"K" * 32})
        assert "KKKK" not in repr(link)
