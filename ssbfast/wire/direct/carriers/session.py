"""One session on several carriers: the first tunnel, direct paths, later tunnels; nothing lost, doubled or re-ordered.

S is the inner session. Its shell hands over the ciphertext that S seals (`send`), gives S what `Deliver` brings, and
reports carriers; `effects` says what to do. Bytes in, effects out, time passed in; no I/O, no clock.

::

    TUNNEL ── quic_up: HOLD, TAKE both ways ──> DIRECT ── caller: WantStandby, standby_up ──> DIRECT with standby
      ^                                           │ lost, by either side's judgement           │
      │                                           v                                            │
      └── HOLD, TAKE in the standby, goodbye, raw ── DOWN (caller: WantStandby; 30 s) <────────┘

What each end does
    caller  (client of the inner handshake) numbers epochs, makes direct paths, dials standbys, ends older carriers.
    target  takes what the caller brings, with rising epochs; asks for a direct path by AskUpgrade, and for the way back
            by HOLD on the standby.
    both    judge the direct path lost by themselves.

What happens to the bytes
    peer's goodbye  with it, and the ACK of our own, all carriers end: Over. The target answers a caller that missed the
                    end for 5 s more (a caller that closed QUIC with code 0 missed nothing: it has our goodbye).
    abort, Failed   dropped, here and on the way; carriers are cut.
    a tunnel ends   while S is read there: Failed, unless S is moving and the other end holds the rest, or has said
                    goodbye.

Spec: docs/protocol/direct.md; `handover.py` has the rules of moving.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ssbfast import limits
from ssbfast.errors import CarrierError, DeadlineError, LocalProtocolError, SessionEndedError, TruncatedError
from ssbfast.wire.direct.carriers.effects import (
    AskUpgrade,
    Data,
    Deliver,
    Effect,
    Forget,
    Over,
    Ping,
    ShortenDatagrams,
    WantQuic,
    WantStandby,
)
from ssbfast.wire.direct.carriers.handover import Carrier, HandoverState, Kind, Phase
from ssbfast.wire.direct.carriers.records import RecordType
from ssbfast.wire.direct.carriers.timers import Dials, Kept, Progress, Pulse, Upgrades
from ssbfast.wire.direct.keys import Role
from ssbfast.wire.direct.memory import MemoryShare

_GIVEN_UP: Final = "the other end has no such session any more"


class Carriers(HandoverState):
    """One end of a session that may move. Carrier 0 is the first tunnel, in use from the start.

    role: which end of the inner session this is. window: W in bytes, the same at both ends.
    most: up to where W may grow on long fat paths, 0: it stays; further with what the other end takes (`agree`) and as
        far as `share` gives memory. takes: what the other end may send without ACK, as it was told. chance: gives 0..1,
        for pauses between dials.
    path: "tunnel" or "direct", as of the last PathChanged.
    kept: places for sessions that may be without a carrier for longer than others; None: it is not to be. `may_be_kept`
        can be taken back. keep: for how long then, in seconds.
    After Failed, `abort` or Forget calls are ignored, a late carrier is ended. No call raises for the peer's doings.
    """

    __slots__ = ("_dials", "_forget", "_left", "_moves", "_upgrades")

    def __init__(
        self,
        role: Role,
        *,
        window: int = limits.CARRIER_WINDOW,
        most: int = 0,
        takes: int = 0,
        share: MemoryShare | None = None,
        chance: Callable[[], float] = lambda: 1.0,
        kept: Kept | None = None,
        keep: float = limits.SLEEP_KEEP_SECONDS,
    ) -> None:
        super().__init__(role, window, most, takes, share, kept, keep)
        self._upgrades = Upgrades()
        self._dials = Dials(chance)
        self._left = False  # the other end has ended the standby in order, behind its goodbye: it has everything
        self._moves = False  # a carrier other than the first was there
        self._forget: float | None = None

    def __repr__(self) -> str:
        return f"<Carriers {self._role.value} {self.path} {self._phase.name.lower()}>"

    def effects(self) -> list[Effect]:
        """Return what is to be done, in order. Call it after every other call."""
        effects, self._effects = self._effects, []
        return effects

    # ------------------------------------------------------------ S

    @property
    def role(self) -> Role:
        """This end's role in the session."""
        return self._role

    @property
    def sending(self) -> int | None:
        """Return the carrier that takes what the session seals; None while that is only kept."""
        return None if self._to is None else self._to.id

    @property
    def unacknowledged(self) -> int:
        """Bytes that are kept for sending them again."""
        return self._sending.sent - self._sending.base if self._sending.retaining else 0

    def went_before(self, *, sent: int, received: int) -> None:
        """Count bytes of the session that went through the first tunnel unseen. Call it before any other report."""
        self._sending.sent = self._sending.base = sent
        self._receiving.got = self._receiving.consumed = received

    def agree(self, takes: int | None) -> None:
        """Note what the other end says it takes without ACK; None: it says nothing. Its word holds from then on."""
        window = self._sending.window
        window.most = max(window.most, min(takes or 0, limits.CARRIER_WINDOW_MAX))

    @property
    def window(self) -> int:
        """W in bytes, as it is now."""
        return self._sending.window.size

    @property
    def used(self) -> int:
        """Bytes of the session that it has used up, by whatever carrier they came."""
        return self._receiving.consumed

    @property
    def unread(self) -> int:
        """Bytes of the session that have come and are not used up."""
        return self._receiving.got - self._receiving.consumed

    @property
    def room(self) -> int:
        """Bytes that may be sealed now, at most 64 KiB more in one go. `sys.maxsize` while nothing is kept.

        0 or less: wait for Resume.
        """
        return self._sending.room

    def send(self, data: bytes, now: float) -> None:
        """Send bytes that the session sealed. Raise LocalProtocolError after its goodbye, or far beyond `room`."""
        if self._phase is not Phase.OPEN or not data:
            return
        if self._said:
            raise LocalProtocolError("the session has said goodbye")
        self._sending.add(data, now)
        self._moved = now
        if self._to is not None:
            self._effects.append(Data(self._to.id, data))

    def consumed(self, length: int, now: float) -> None:
        """Note that the session took so many more delivered bytes, by any carrier.

        Raises LocalProtocolError for more than there were.
        """
        if self._phase is not Phase.OPEN:
            return
        self._receiving.consume(length)
        if self._change is not None and self._receiving.ready:
            self._try_take(now)
        self._acknowledge(now)
        self._conclude(now)
        self._try_finish(now)

    def said_goodbye(self, now: float) -> None:
        """Note that the last bytes sent are the session's goodbye."""
        self._said = True
        self._try_finish(now)

    def heard_goodbye(self, now: float) -> None:
        """Note that the peer's goodbye is opened. Call it before `consumed` reports its bytes."""
        self._heard = True
        self._acknowledge(now)
        self._try_finish(now)

    def abort(self, now: float) -> None:
        """Cut the session and with it its carriers. No Failed follows."""
        self._phase = Phase.DEAD
        self._end_all(clean=False)
        self._sending.drop()
        self._not_kept()

    # ------------------------------------------------------------ wishes and failures

    def upgrade(self, now: float, *, at_once: bool = False) -> None:
        """Ask for a direct path: the caller from now on, the target by asking once. at_once: without a pause."""
        self._is_leaving = False
        self._upgrades.wanted = True
        if at_once:
            self._upgrades.hurry(now)
        self._run(now)

    def upgrade_asked(self, now: float) -> None:
        """Caller: make a direct path because the target asks for one: `UPGRADE_SECONDS` after the last attempt."""
        self._upgrades.asked(now)
        self.upgrade(now)

    def leave(self, now: float) -> None:
        """Leave the direct path, and make and take no more of them, until `upgrade`.

        S moves to the standby, if need be as soon as there is one; until the other end moves, too, it stays direct.
        """
        self._is_leaving = True
        self._upgrades.wanted = False
        self._leave_quic(now)
        self._run(now)

    def _leave_quic(self, now: float) -> None:
        """Begin to move from the direct path to the standby, if that is wanted and can be done."""
        standby = self._standby
        if self._is_leaving and self.path == "direct" and self._quic and standby and self._change is None:
            self._change_to(standby, now)

    def stop_upgrades(self) -> None:
        """Make no more direct paths. One that is up, or under way, stays."""
        self._upgrades.wanted = False

    def upgrade_failed(self, now: float) -> None:
        """Caller: report that the attempts for WantQuic failed. WantQuic comes again after a pause."""
        self._upgrades.failed(now)
        self._run(now)

    def standby_failed(self, now: float, *, refused: bool = False) -> None:
        """Caller: report that the dial for WantStandby failed. WantStandby comes again after a pause.

        refused: the proven peer itself says that there is no such session (any more).
        """
        stranded = self._stranded is not None and self._phase is Phase.OPEN
        self._dials.lost(now, urgent=stranded)
        if refused and stranded:
            self._cut = SessionEndedError(_GIVEN_UP)
        self._run(now)

    @property
    def is_over(self) -> bool:
        """True once the session has ended, in order or not."""
        return self._phase is not Phase.OPEN

    def session_dropped(self, carrier: int, now: float) -> None:
        """Note that the peer, in that standby, says it has dropped the session. Received bytes can still be read."""
        if self._phase is not Phase.OPEN or carrier not in self._carriers:
            return
        self._end_all(clean=False)
        self._stranded = now
        self._cut = SessionEndedError(_GIVEN_UP)
        self._run(now)

    # ------------------------------------------------------------ carriers

    def quic_up(self, epoch: int, now: float) -> int:
        """Register a direct path proven both ways; return its number. One that comes too late is ended at once.

        Raises LocalProtocolError for an epoch that `next_epoch` or `claim` has not granted.
        """
        quic = self._begin(Kind.QUIC, epoch, now)
        waiting = self._quic
        if waiting is not None and not waiting.holds:
            self._end(waiting, clean=False)  # the caller gave that one up
        busy = self._change or self._quic or self._stranded is not None
        if self._phase is not Phase.OPEN or busy or self._is_leaving:
            self._upgrades.failed(now)
            self._end(quic, clean=self._phase is Phase.OVER)
            return quic.id
        self._moves = True
        self._quic = quic
        self._pulse = Pulse(now)
        self._progress = Progress()
        self._upgrades.up(now)
        if self._role is Role.CALLER:
            self._change_to(quic, now)
        self._run(now)
        return quic.id

    def standby_up(self, epoch: int, now: float) -> int:
        """Register the duplex `direct.carrier` on a standby tunnel proven to be the peer's; it replaces an older one.

        Returns its number. Raises as `quic_up` does.
        """
        standby = self._begin(Kind.STANDBY, epoch, now)
        self._dials.up(now)
        plain = self._quic is None and self._stranded is None
        if self._phase is Phase.DEAD or (self._role is Role.CALLER and (plain or self._phase is Phase.OVER)):
            self._end(standby, clean=True)
            return standby.id
        self._moves = True
        if self._standby is not None:
            self._end(self._standby, clean=True)
        self._standby = standby
        if self._quic is None and self._stranded is not None:
            self._stranded = now
            self._change_to(standby, now)
        self._leave_quic(now)
        self._run(now)
        return standby.id

    def records(self, carrier: int, data: bytes, now: float) -> None:
        """Take bytes of a carrier's records stream, cut anywhere."""
        found = self._carriers.get(carrier)
        if found is None:
            return
        found.heard = now
        if found is self._quic:
            self._pulse.received(now)
        if self._stranded is not None:
            self._stranded = now
        try:
            for record in found.reader.feed(data):
                self._on_record(found, record, now)
                if found.id not in self._carriers:
                    break  # S has moved on; nothing that was said there matters
        except CarrierError as error:
            self._fail(error)
        self._try_finish(now)
        self._run(now)

    def data(self, carrier: int, data: bytes, now: float) -> None:
        """Take bytes of the session from a carrier: all of carrier 0, of a standby those behind its goodbye."""
        listened = self._from
        try:
            if listened is not None and listened.id == carrier:
                if listened.kind is Kind.TUNNEL and self._change is None:  # the plain way
                    self._receiving.got += len(data)
                    self._moved = now
                    self._effects.append(Deliver(data))
                else:
                    self._on_data(listened, data, now)
                    self._acknowledge(now)
            elif carrier in self._carriers:
                self._on_stray_data(self._carriers[carrier])
        except CarrierError as error:
            self._fail(error)

    def forwarding_moved(self, now: float) -> None:
        """Note that forwarded connections move on the direct path: it is as busy as if the session did."""
        self._moved = now
        self._run(now)

    def data_received(self, carrier: int, now: float, rtt: float = 0.0) -> None:
        """Note that something authentic came on that QUIC path. rtt: its round trip in seconds, 0 if not known."""
        if self._quic is not None and self._quic.id == carrier:
            self._pulse.received(now)
            self._sending.window.rtt = rtt

    @property
    def quic(self) -> int | None:
        """Return the direct path whose `waiting` is to be reported before each `handle_timer`."""
        return None if self._quic is None else self._quic.id

    def waiting(self, carrier: int, oldest: Mapping[int, int], now: float) -> None:
        """Take what waits on that QUIC path: each stream's oldest byte that QUIC has sent and not seen acknowledged.

        All kinds of streams are alike; the byte is given by its offset, and streams without any are left out.
        """
        if self._quic is not None and self._quic.id == carrier:
            self._progress.look(oldest, now)

    def lost(self, carrier: int, now: float, clean: bool) -> None:
        """Note that a carrier is gone. clean: QUIC was closed with code 0; a tunnel ended in order."""
        gone = self._carriers.pop(carrier, None)
        if gone is None:
            return
        if gone is self._quic:
            self._quic_closed(gone, clean, now)
        elif gone is self._standby:
            self._leave(gone)
            self._left = self._left or (clean and self._heard and self._role is Role.TARGET)
            self._dials.lost(now, urgent=self._stranded is not None)
            if self._quic is not None:  # the other end may be gone, and not only its tunnel
                self._ping(self._quic, now)
        elif self._to is gone or self._from is gone:
            self._leave(gone)
            self._on_tunnel_lost(now)
        self._try_finish(now)
        self._run(now)

    def _quic_closed(self, quic: Carrier, clean: bool, now: float) -> None:
        if clean and self._said and self._heard:
            self._leave(quic)
            self._finish(now)  # an end that closes with code 0 has our goodbye, and with it everything
        else:
            self._closed = True
            self._on_direct_lost("the direct path was closed", now)

    def _on_direct_lost(self, reason: str, now: float) -> None:
        """Go Down, by our own judgement."""
        try:
            self._lose_quic(reason, now)
        except CarrierError as error:
            self._fail(error)

    def _ping(self, quic: Carrier, now: float) -> None:
        self._pulse.pinged(now)
        self._effects.append(Ping(quic.id))

    def _give_up_long_datagrams(self, now: float) -> None:
        self._effects.append(ShortenDatagrams())
        self._on_direct_lost("long datagrams do not pass on the direct path", now)
        self._upgrades.shorten(now)

    def _on_carrier_lost(self, now: float) -> None:
        super()._on_carrier_lost(now)
        self._upgrades.lost(now)
        self._dials.hurry(now)

    def _on_tunnel_lost(self, now: float) -> None:
        """Handle the end of a tunnel that the session used.

        Kept bytes can go another way; missing ones cannot, unless the peer holds them.
        """
        missing = self._receiving.held is not None and not self._receiving.ready
        self._stranded = now
        if not self._sending.retaining or (self._from is None and missing):
            self._cut = self._cut or TruncatedError()

    def _conclude(self, now: float) -> None:
        """Conclude the session once nothing comes any more and everything is read, with a goodbye or without."""
        if self._cut is None or self._from is not None or self._phase is not Phase.OPEN:
            return
        if self._receiving.consumed == self._receiving.got:
            self._finish(now) if self._heard else self._fail(self._cut)

    # ------------------------------------------------------------ endings

    def _on_moved(self, carrier: Carrier) -> None:
        if self._phase is Phase.OVER:
            self._end(carrier, clean=True)

    def _try_finish(self, now: float) -> None:
        """End the session in order if the peer's goodbye has come and all bytes of ours are acknowledged."""
        if self._phase is not Phase.OPEN or not self._said or not self._heard:
            return
        arrived = self._sending.is_acknowledged or (self._left and self._quic is None)
        if arrived and self._receiving.consumed == self._receiving.got:
            self._finish(now)

    def _finish(self, now: float) -> None:
        self._end_all(clean=True)
        self._sending.drop()
        self._stranded = None
        self._not_kept()
        self._phase = Phase.OVER
        self._effects.append(Over())
        self._forget = now + limits.DOWN_SECONDS if self._moves else now
        self._run(now)

    # ------------------------------------------------------------ time

    def timer(self) -> float | None:
        """Return when `handle_timer` is to be called; None: not before something else happens."""
        if self._phase is not Phase.OPEN:
            return self._forget if self._phase is Phase.OVER else None
        times = [self._upgrade_at(), self._dial_at(), self._receiving.due, self._deadline]
        if self._quic is not None:
            unacked = self._sending.since
            times += [self._pulse.ping_at(self._moved, unacked), self._pulse.lost_at(unacked)]
            times.append(self._progress.look_at(self._moved))
        if self._standby is not None:
            times.append(self._standby.spoke + self._keepalive)
        return min((time for time in times if time is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due; harmless when nothing is."""
        if self._phase is Phase.OPEN:
            quic = self._quic
            silent = quic is not None and self._pulse.lost(now, self._sending.since)
            rtt = self._sending.window.rtt
            if quic is not None and self._progress.stuck(now, self._pulse.last, rtt, silent=silent):
                self._give_up_long_datagrams(now)
            elif silent:
                self._on_direct_lost("the direct path went silent", now)
            elif quic is not None and now >= self._pulse.ping_at(self._moved, self._sending.since):
                self._ping(quic, now)
            if self._standby is not None and now >= self._standby.spoke + self._keepalive:
                self._say(self._standby, RecordType.KEEPALIVE, 0, now)
            if self._deadline is not None and now >= self._deadline and not self._keep():
                self._fail(DeadlineError("no way to the other end was found in time"))
            self._try_finish(now)
        self._run(now)

    def _upgrade_at(self) -> float | None:
        """Return when the next direct path is to be made: only from a tunnel that the session does not leave."""
        settled = self._quic is None and self._stranded is None and self._change is None
        return self._upgrades.at if settled and not self._said and not self._heard else None

    def _dial_at(self) -> float | None:
        """Return when the caller dials a standby: the session is direct or has to come back, and none answers."""
        if self._role is not Role.CALLER or self._dials.running or self._cut is not None:
            return None
        needed = self._quic is None and self._stranded is not None
        if self._standby is None:
            return self._dials.at if needed or self.path == "direct" else None
        silent = max(self._dials.at, self._standby.heard + limits.STANDBY_SILENT)
        return silent if needed and not self._standby.took else None

    def _run(self, now: float) -> None:
        """Begin the dials and upgrades that are wanted and due."""
        if self._phase is Phase.OVER and self._forget is not None and now >= self._forget:
            self._end_all(clean=False)
            self._phase = Phase.DEAD
            self._effects.append(Forget())
        self._conclude(now)
        if self._phase is not Phase.OPEN:
            return
        self._acknowledge(now)
        at = self._upgrade_at()
        if at is not None and now >= at:
            asked = self._role is Role.TARGET
            self._upgrades.begin(now, asked=asked)
            self._effects.append(AskUpgrade() if asked else WantQuic())
        at = self._dial_at()
        if at is not None and now >= at:
            if self._standby is not None:  # S moves only where the new one leads: no end has moved to this one
                self._end(self._standby, clean=False)
            self._dials.begin()
            self._effects.append(WantStandby())
