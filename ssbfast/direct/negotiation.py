"""Negotiation of direct paths between the two ends of a session: offers, punching, QUIC, and the way back.

One `Negotiation` a session and end. The caller (client of the inner handshake) makes direct paths and dials standbys,
as its `Carriers` want them; the target answers. All of it is said inside the session (`wire/direct/signaling.py`), so
the room neither reads nor alters it, and only admitted peers hear an address of ours.

    caller                                         target
    direct.offer  our addresses            ─────▶  gathers
                                           ◀─────  its addresses, a certificate
    direct.sync   a connection id          ─────▶  punches
    punches half a round trip later
    QUIC, proofs                           ◀────▶  `CarrierTransport.quic_up` at both ends
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from ssbfast import limits
from ssbfast.direct.answerer import Answerer
from ssbfast.direct.caller import Caller
from ssbfast.direct.carrier_transport import CarrierTransport
from ssbfast.direct.carriers import DirectCarrier
from ssbfast.direct.gathering import NextAttempt
from ssbfast.direct.options import NOT_TOLD, Direct, NegotiationHost, PathNews, PreferredPath
from ssbfast.direct.path_figures import PathFigures
from ssbfast.errors import RefusedError, SSBError
from ssbfast.net.tunnel_transport import TunnelTransport
from ssbfast.wire.direct import signaling
from ssbfast.wire.direct.carriers.effects import Path
from ssbfast.wire.direct.carriers.records import Record
from ssbfast.wire.direct.carriers.session import Carriers
from ssbfast.wire.direct.keys import Role, session_id
from ssbfast.wire.muxrpc import Called, CallKind

if TYPE_CHECKING:
    from ssbfast.direct.hole_punch import Attempt
    from ssbfast.net.peer import Peer
    from ssbfast.wire.direct.punch.candidates import Candidates


class Negotiation:
    """One end of one session.

    peer: the session, open and admitted. tunnel: what it runs over. role: ours.
    began: when the attempts began that are under way, or came to something last.
    """

    def __init__(self, peer: Peer, tunnel: TunnelTransport, role: Role, how: Direct, host: NegotiationHost) -> None:
        self._loop = asyncio.get_running_loop()
        self._peer = peer
        self._role = role
        self.how = how
        self.host = host
        self.peer_id = peer.id
        self.export_key = peer.link.session.export_key
        kept = host.resources.kept
        self.memory = host.resources.memory.share(peer.id.key)
        carriers = Carriers(
            role,
            most=limits.CARRIER_WINDOW_PLAIN,
            takes=limits.CARRIER_WINDOW_MAX,
            share=self.memory,
            chance=random.random,
            kept=kept,
            keep=how.keep,
        )
        carriers.may_be_kept = False  # until `begin`: for peers that we follow or name
        self.carrier_transport = CarrierTransport(carriers, peer.link, tunnel, self)
        self.session_id = session_id(self.export_key)
        self.preparation = NextAttempt(self._new_attempt)
        self._datagram = limits.DIRECT_DATAGRAM
        self._tasks: set[asyncio.Task[None]] = set()
        self._caller = Caller(self)
        self._answers = Answerer(self)
        self.began = self._loop.time()
        self._path: DirectCarrier | None = None
        self._closed = False
        self._over = False
        self.choice = PreferredPath.AUTO
        """What our user wants."""
        self.problem: str | None = None
        """Why the session is not on a direct path; None while that is not known, or it is on one."""
        self._choosing: set[asyncio.Future[None]] = set()
        self._silence: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Negotiation {self._role.value} {self._peer!r}>"

    @property
    def peer(self) -> Peer:
        return self._peer

    @property
    def role(self) -> Role:
        return self._role

    @property
    def datagram(self) -> int:
        """Length that datagrams of the next direct path may have, in bytes."""
        return self._datagram

    @property
    def direct(self) -> DirectCarrier | None:
        """Direct path in use, if there is one."""
        return self._path if self._peer.path == "direct" else None

    def begin(self, choice: PreferredPath) -> None:
        """Begin. Caller: make direct paths from now on. Target: answer; ask for one when asked by `request_path`."""
        self.carrier_transport.carriers.may_be_kept = True
        self.choice = choice
        if choice is PreferredPath.TUNNEL:
            self._leave()
        elif self._role is Role.CALLER:
            self.request_path()
        else:
            self.preparation.begin()

    def request_path(self, *, at_once: bool = False) -> None:
        """Have a direct path when possible. at_once: without waiting for the next attempt's time."""
        self.carrier_transport.carriers.upgrade(self.carrier_transport.now(), at_once=at_once)
        self.carrier_transport.step()

    async def choose(self, choice: PreferredPath) -> str | None:
        """Take the path that our user wants; return when the session has it.

        Returns:
            None; or why it has another path, and keeps it for now.
        """
        self.choice = choice
        if choice is PreferredPath.TUNNEL:
            self._leave()
            return await self._reached("tunnel", "no tunnel through a room could be opened yet")
        if choice is PreferredPath.AUTO:
            self.request_path()
            return None
        self._caller.path_changed()
        self.problem = None
        if self._peer.path != "direct":
            self.request_path(at_once=True)
        return await self._reached("direct", "the other end has made none yet")

    async def _reached(self, path: Path, otherwise: str) -> str | None:
        """Wait for a path, or for a failure; return the reason of that. otherwise: the one when nothing happens."""
        until = self._loop.time() + limits.PATH_CHOICE_SECONDS
        while self._peer.path != path:
            change = self._loop.create_future()
            self._choosing.add(change)
            try:
                await asyncio.wait_for(change, until - self._loop.time())
            except asyncio.TimeoutError:
                return self.problem or otherwise
            finally:
                self._choosing.discard(change)
            if self._closed:
                return "the session has ended"
            if path == "direct" and self.problem is not None and self._peer.path != path:
                return self.problem
        return None

    def _leave(self) -> None:
        self.preparation.close()
        self._answers.close()
        self.carrier_transport.carriers.leave(self.carrier_transport.now())
        self.carrier_transport.step()

    def _on_progress(self) -> None:
        """Wake those that wait for a path."""
        for change in self._choosing:
            if not change.done():
                change.set_result(None)

    def stay_in_tunnel(self) -> None:
        """Stay in the tunnel: the other end may not hear our addresses any more, and what it still had is dropped."""
        self.carrier_transport.carriers.may_be_kept = False
        self.preparation.close()
        self._answers.close()

    def session_closed(self) -> None:
        """Note that the session is over. What answers the other end once more stays, if it was ever moved."""
        self._cancel()
        if not self.carrier_transport.is_moved:
            self.carrier_transport.abort()

    def close(self) -> None:
        """Cut everything."""
        self._cancel()
        self.carrier_transport.abort()

    # ------------------------------------------------------------ CarrierListener

    def want_quic(self) -> None:
        self.start(self._caller.upgrade())

    def want_standby(self) -> None:
        self.start(self._stand_by())

    def ask_upgrade(self) -> None:
        self.start(self._ask())

    def shorten_datagrams(self) -> None:
        self._datagram = limits.DIRECT_DATAGRAM_LEAST

    def path_changed(self, path: Path, reason: str) -> None:
        self._peer.path = path
        self._caller.path_changed()
        self.problem = reason if path == "tunnel" else None
        carrier = self._path if path == "direct" else None
        rtt = self.measure()
        self._on_progress()
        self.host.news(self._peer, PathNews(path, reason, rtt, self._loop.time() - self.began if carrier else None))

    def path_failed(self, reason: str) -> None:
        self.problem = reason
        self._on_progress()

    def silence_changed(self, silent: bool) -> None:
        silence, self._silence = self._silence, None
        if silent and not self._closed:
            self._silence = self._loop.call_later(limits.AWAY_TOLD_SECONDS, self._tell_away)
        elif silence is not None and self._loop.time() < silence.when():
            silence.cancel()
        elif silence is not None and self._peer.is_open:
            self.host.away(self._peer, None)

    def _tell_away(self) -> None:
        self.host.away(self._peer, self.carrier_transport.carriers.longest_wait)

    def measure(self) -> float | None:
        """Note the round trip of the direct path in use, and return it: seconds, None when there is none."""
        carrier = self.direct
        rtt = None if carrier is None or carrier.path is None else carrier.path.rtt
        if rtt is not None:
            self._peer.round_trips["direct"] = rtt
        return rtt

    @property
    def figures(self) -> PathFigures | None:
        """Figures of the direct path in use; None when there is none."""
        carrier = self.direct
        return None if carrier is None or carrier.path is None else carrier.path.figures

    def stream_record(self, carrier: int, record: Record) -> None:
        if self._path is not None and self._path.number == carrier:
            self.host.stream_record(self._peer, self._path, record)

    def forget(self) -> None:
        if not self._over:
            self._over = True
            self._cancel()
            self.memory.close()
            self.host.forget(self)

    async def _stand_by(self) -> None:
        """Dial once. Only the other end's own word that it has no such session gives the session up."""
        epoch = self.carrier_transport.carriers.next_epoch()
        try:
            carrier = await self.host.dial_standby(self, epoch)
        except SSBError:
            self._no_standby(refused=False)
        except Exception:  # a mistake of ours is reported, and is not the last dial
            self._no_standby(refused=False)
            raise
        else:
            if carrier is None:
                self._no_standby(refused=True)
            else:
                self.carrier_transport.standby_up(epoch, carrier)

    def _no_standby(self, *, refused: bool) -> None:
        self.carrier_transport.carriers.standby_failed(self.carrier_transport.now(), refused=refused)
        self.carrier_transport.step()

    async def _ask(self) -> None:
        self.preparation.begin()
        with contextlib.suppress(SSBError):
            await self._peer.call(signaling.WANT, timeout=limits.OFFER_ANSWER_SECONDS)

    # ------------------------------------------------------------ the other end's calls

    def called(self, called: Called) -> bool:
        """Take a call inside the session; return whether it was one of ours. They come in order, and begin at once."""
        name = ".".join(called.name)
        if called.kind is not CallKind.ASYNC or name not in (
            signaling.OFFER,
            signaling.SYNC,
            signaling.WANT,
        ):
            return False
        if not self.host.may_meet(self._peer):
            return False  # a peer that may not hear our addresses need not hear why
        if self.choice is PreferredPath.TUNNEL:
            self.refuse(called, "through the room only")
            return True
        try:
            if name == signaling.WANT:
                self._wanted(called)
            elif name == signaling.SYNC:
                self._answers.on_sync(called)
            else:
                self._answers.on_offer(called)
        except SSBError as error:
            self.refuse(called, str(error))
        return True

    def _wanted(self, called: Called) -> None:
        if self._role is not Role.CALLER:
            raise RefusedError("only a caller makes paths")
        self._peer.reply(called.req, True)
        self.carrier_transport.carriers.upgrade_asked(self.carrier_transport.now())
        self.carrier_transport.step()

    # ------------------------------------------------------------ from the path

    def path_ready(self, carrier: DirectCarrier) -> None:
        if self._closed or not self._peer.is_open:
            carrier.end(False)  # the session is over, or about to be
            return
        if self.carrier_transport.has(self.carrier_transport.quic_up(carrier.epoch, carrier)):  # else it came too late
            self._path = carrier
            self.host.path_up(self._peer, carrier)  # before anything that the path brings

    def stream_data(self, carrier: DirectCarrier, stream: int, data: bytes, end: bool) -> None:
        self.host.stream_data(self._peer, carrier, stream, data, end)

    def stream_reset(self, carrier: DirectCarrier, stream: int) -> None:
        self.host.stream_reset(self._peer, carrier, stream)

    def path_over(self, carrier: DirectCarrier) -> None:
        if self._path is carrier:
            self.measure()
            self._path = None
            self.host.path_over(self._peer, carrier)

    # ------------------------------------------------------------ inside

    async def gather(self) -> tuple[Attempt, Candidates]:
        """Return a fresh attempt and its addresses, which the other end may hear right now. The caller closes it.

        Raises RefusedError when it may not (any more), PunchError, MissingExtraError.
        """
        if not self.host.may_meet(self._peer):
            raise RefusedError(NOT_TOLD)
        attempt, here = await self.preparation.take()
        try:
            if not await self.host.may_hear(self._peer):
                raise RefusedError(NOT_TOLD)
        except BaseException:
            attempt.close()
            raise
        return attempt, here

    def refuse(self, called: Called, message: str) -> None:
        """Answer a call with an error, if the session is still open."""
        if self._peer.is_open:
            self._peer.refuse(called.req, message)

    def _new_attempt(self) -> Attempt:
        from ssbfast.direct.hole_punch import Attempt

        reflectors = [*self.how.stun, *self.host.reflectors()]  # few are asked: first those that people name
        search = self.how.birthday and self.host.searches.may(self.peer_id, self._loop.time())
        return Attempt(
            reflectors,
            key=self.peer_id.key,
            resources=self.host.resources,
            loopback=self.how.loopback,
            used=self.host.used_addresses(),
            port_mapping=self.how.port_mapping,
            birthday=search,
            may_search=self._may_search,
        )

    def _may_search(self) -> bool:
        """Begin a birthday search, unless this peer has had one lately."""
        searches, now = self.host.searches, self._loop.time()
        if not searches.may(self.peer_id, now):
            return False
        searches.begins(self.peer_id, now)
        return True

    def start(self, work: Coroutine[Any, Any, None], *, last: Callable[[], None] | None = None) -> asyncio.Task[None]:
        """Run work as long as the session lasts. last: called behind it, also when it never got to begin."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if last is not None:
            task.add_done_callback(lambda _task: last())
        if self._closed:
            task.cancel()
        return task

    def _cancel(self) -> None:
        self._closed = True
        self._on_progress()
        if self._silence is not None:
            self._silence.cancel()
        self.preparation.close()
        self._answers.close()
        for task in list(self._tasks):
            task.cancel()
