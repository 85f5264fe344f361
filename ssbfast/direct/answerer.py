"""The target's half of a negotiation: it answers offers, punches, and accepts QUIC.

An offer is answered with a certificate that was made for it, and takes the place of the one before. SYNC has to name
it; then the sockets that its addresses belong to are punched with, once.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssbfast import limits
from ssbfast.direct.carriers import DirectCarrier
from ssbfast.direct.options import Negotiator
from ssbfast.errors import RefusedError, SSBError
from ssbfast.wire.direct import signaling
from ssbfast.wire.direct.keys import DirectKeys, Role
from ssbfast.wire.muxrpc import Called, unknown_method_message

if TYPE_CHECKING:
    from ssbfast.direct.certificates import Credentials
    from ssbfast.direct.hole_punch import Attempt


@dataclass(slots=True)
class _Answered:
    """An offer that has been answered and not been synchronised yet."""

    keys: DirectKeys
    attempt: Attempt
    credentials: Credentials
    offer: signaling.Offer


class Answerer:
    """Answers of one session's end. Calls come in order; what breaks a rule raises SSBError, for the caller to hear."""

    def __init__(self, negotiator: Negotiator) -> None:
        self._loop = asyncio.get_running_loop()
        self._negotiator = negotiator
        self._answered: _Answered | None = None
        self._offers: list[float] = []

    def on_offer(self, called: Called) -> None:
        """Begin to answer a call of `direct.offer`."""
        self._negotiator.start(self._answer(called, self._check(called)))

    def on_sync(self, called: Called) -> None:
        """Begin at once to meet the caller of `direct.sync`."""
        sync = signaling.parse_sync(called.args)
        answered = self._answered
        if answered is None or answered.attempt.is_closed or answered.keys.epoch != sync.epoch:
            self.close()
            raise RefusedError("no such offer")
        self._answered = None
        self._negotiator.start(self._meet(answered, sync.connection), last=answered.attempt.close)
        self._negotiator.peer.reply(called.req, True)

    def close(self) -> None:
        """Drop what has been answered and not been synchronised. Harmless when there is nothing."""
        answered, self._answered = self._answered, None
        if answered is not None:
            answered.attempt.close()

    # ------------------------------------------------------------ inside

    def _check(self, called: Called) -> signaling.Offer:
        """Return the offer of a call, if it is to be answered."""
        if self._negotiator.role is not Role.TARGET:
            raise RefusedError("only a target answers offers")
        offer = signaling.parse_offer(called.args)
        now = self._loop.time()
        self._offers = [at for at in self._offers if now - at < limits.UPGRADE_SECONDS]
        if len(self._offers) >= limits.OFFERS:
            raise RefusedError("too many offers")
        self._offers.append(now)
        if not self._negotiator.carrier_transport.carriers.claim(offer.epoch):
            raise RefusedError("an old epoch")
        return offer

    async def _answer(self, called: Called, offer: signaling.Offer) -> None:
        negotiator = self._negotiator
        try:
            answer = await self._make_answer(offer)
        except RefusedError:  # a peer that may not hear our addresses need not hear why
            negotiator.refuse(called, unknown_method_message(called.name))
        except SSBError as error:
            negotiator.refuse(called, str(error))
        except Exception:  # a mistake of ours is reported, and the caller does not wait for it
            negotiator.refuse(called, "no direct path can be made")
            raise
        else:
            negotiator.peer.reply(called.req, answer.as_json())

    async def _make_answer(self, offer: signaling.Offer) -> signaling.OfferAnswer:
        from ssbfast.direct.certificates import Credentials

        negotiator = self._negotiator
        negotiator.began = began = self._loop.time()
        self.close()
        credentials = Credentials.make()
        keys = DirectKeys.derive(negotiator.export_key, Role.TARGET, offer.epoch)
        attempt, here = await negotiator.gather()
        self.close()  # another offer may have been answered meanwhile
        self._answered = _Answered(keys, attempt, credentials, offer)
        return signaling.OfferAnswer(
            credentials.certificate,
            self._loop.time() - began,
            here,
            negotiator.datagram,
            limits.CARRIER_WINDOW_MAX,
        )

    async def _meet(self, answered: _Answered, connection: bytes) -> None:
        from ssbfast.direct.quic_path import DirectPath

        attempt, offer = answered.attempt, answered.offer
        negotiator = self._negotiator
        negotiator.carrier_transport.carriers.agree(offer.window)
        carrier = DirectCarrier(negotiator.carrier_transport, negotiator, offer.window, negotiator.memory)
        datagram = min(offer.datagram, negotiator.datagram)
        with contextlib.suppress(SSBError):  # the caller sees it, and tries again or stays
            carrier.path = DirectPath.target(
                answered.credentials,
                connection,
                answered.keys,
                carrier,
                datagram=datagram,
                share=negotiator.memory,
            )
            punched = await attempt.punch(answered.keys, offer.whereabouts, connection=connection)
            await carrier.open(punched.udp, None, within=limits.PUNCH_SECONDS, rtt=punched.rtt, attempt=attempt)
