"""The caller's half of a negotiation: it makes offers, and punches and dials QUIC.

An upgrade is up to three attempts. Each makes an offer, punches with the addresses that the answer names, and opens
QUIC over the socket that met the other end.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from ssbfast import limits
from ssbfast.direct.carriers import DirectCarrier
from ssbfast.direct.options import NOT_TOLD, Negotiator, PathNews
from ssbfast.errors import PunchError, RefusedError, RemoteError, SSBError
from ssbfast.wire.direct import signaling
from ssbfast.wire.direct.keys import DirectKeys, Role
from ssbfast.wire.muxrpc import NOT_ALLOWED

if TYPE_CHECKING:
    from ssbfast.direct.hole_punch import Attempt, Punched
    from ssbfast.wire.direct.punch.candidates import Candidates

_WORTH_SECONDS: Final = 0.5
"""An attempt that has less time left is not worth it."""


class Caller:
    """Upgrades of one session, at the end that makes them."""

    def __init__(self, negotiator: Negotiator) -> None:
        self._loop = asyncio.get_running_loop()
        self._negotiator = negotiator
        self._decide = self._loop.time()
        self._told: str | None = None

    def path_changed(self) -> None:
        """Note that the session has another path: a failure that was told before is news again."""
        self._told = None

    async def upgrade(self) -> None:
        """Try to make a direct path, up to `PUNCH_ATTEMPTS` times within `DECISION_SECONDS`."""
        try:
            await self._try()
        except Exception:  # a mistake of ours is reported, and is not the last try
            self._failed("a direct path could not be made", is_told=False)
            raise

    async def _try(self) -> None:
        """Make up to three attempts at a direct path."""
        negotiator = self._negotiator
        reason = ""
        negotiator.began = self._loop.time()
        self._decide = negotiator.began + limits.DECISION_SECONDS
        for number in range(limits.PUNCH_ATTEMPTS):
            if number and self._decide - self._loop.time() < _WORTH_SECONDS:
                break
            try:
                await self._attempt()
                return
            except RemoteError as error:
                if str(error).endswith(NOT_ALLOWED):
                    negotiator.carrier_transport.carriers.stop_upgrades()  # it knows nothing of all this
                    self._failed("no direct path: the other end knows of none", is_told=negotiator.how.required)
                    return
                reason = "the other end wants none"
                break
            except SSBError as error:
                reason = str(error)
                if not negotiator.peer.is_open:
                    return
                if isinstance(error, RefusedError):
                    break
        self._failed(reason)

    def _failed(self, reason: str, *, is_told: bool = True) -> None:
        negotiator = self._negotiator
        negotiator.path_failed(reason)
        negotiator.carrier_transport.carriers.upgrade_failed(negotiator.carrier_transport.now())
        negotiator.carrier_transport.step()
        if is_told and reason != self._told and negotiator.peer.path != "direct":
            self._told = reason
            took = self._loop.time() - negotiator.began
            negotiator.host.news(negotiator.peer, PathNews("tunnel", reason, None, took))

    async def _attempt(self) -> None:
        from ssbfast.direct.quic_path import DirectPath

        negotiator = self._negotiator
        attempt, here = await negotiator.gather()
        try:
            epoch = negotiator.carrier_transport.carriers.next_epoch()
            keys = DirectKeys.derive(negotiator.export_key, Role.CALLER, epoch)
            asked = self._loop.time()
            offer = signaling.Offer(keys.epoch, here, negotiator.datagram, limits.CARRIER_WINDOW_MAX).as_json()
            timeout = min(limits.OFFER_ANSWER_SECONDS, max(self._decide - asked, _WORTH_SECONDS))
            answer = signaling.parse_answer(await negotiator.peer.call(signaling.OFFER, offer, timeout=timeout))
            round_trip = max(0.0, self._loop.time() - asked - answer.took)
            if round_trip > 0:  # the other end says how long it took
                negotiator.peer.round_trips["tunnel"] = round_trip
            if not negotiator.host.may_meet(negotiator.peer):
                raise RefusedError(NOT_TOLD)
            negotiator.carrier_transport.carriers.agree(answer.window)
            carrier = DirectCarrier(negotiator.carrier_transport, negotiator, answer.window, negotiator.memory)
            datagram = min(negotiator.datagram, answer.datagram)
            carrier.path = path = DirectPath.caller(
                answer.certificate, keys, carrier, datagram=datagram, share=negotiator.memory
            )
            sync = signaling.Sync(keys.epoch, path.connection_id).as_json()
            synchronised = negotiator.start(self._synchronise(sync))
            try:
                punched = await self._punch(attempt, keys, answer.whereabouts, round_trip / 2)
            finally:
                synchronised.cancel()
            try:
                await carrier.open(punched.udp, punched.remote, within=self._left(), rtt=punched.rtt)
            except PunchError:
                negotiator.shorten_datagrams()  # probes pass: QUIC's packets may have been too long
                raise
        finally:
            attempt.close()

    async def _punch(self, attempt: Attempt, keys: DirectKeys, theirs: Candidates, start_in: float) -> Punched:
        try:
            return await attempt.punch(keys, theirs, start_in, seconds=self._left(start_in))
        finally:
            if attempt.has_searched:
                self._decide += limits.BIRTHDAY_SECONDS - limits.PUNCH_SECONDS

    def _left(self, start_in: float = 0.0) -> float:
        """Return the seconds that a part of an attempt may take: the application is to be told in time."""
        left = self._decide - self._loop.time() - start_in
        return min(max(left, _WORTH_SECONDS), limits.PUNCH_SECONDS)

    async def _synchronise(self, sync: dict[str, Any]) -> None:
        with contextlib.suppress(SSBError):
            await self._negotiator.peer.call(signaling.SYNC, sync)
