"""The follow graph of a running ssb server (ssb-friends), asked over muxrpc.

    friends.isFollowing [{"source": US, "dest": PEER}]  → true or false
    friends.isBlocking  [{"source": US, "dest": PEER}]  → true or false

The server answers these to its masters only: the key that we call with has to be one (`master` in its
configuration). Spec: ssb-friends README.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from typing import Any, TypeVar

from ssbfast import limits
from ssbfast.backoff import Backoff
from ssbfast.client.follow_graph import Changed, Poll, Unwatch, Watches
from ssbfast.client.joined_room import KeyedEndpoint
from ssbfast.client.targets import keyed_endpoints
from ssbfast.errors import BadInputError, GraphAwayError, SSBError
from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.net.dial import dial
from ssbfast.net.link import Link
from ssbfast.net.peer import Peer
from ssbfast.net.relay import Relay
from ssbfast.room.tunnel_auth import Relation
from ssbfast.wire.handshake import ClientHandshake

T = TypeVar("T")


class SsbServerGraph:
    """The follows and blocks that an ssb server knows.

    It connects when it is first asked, and again when the connection was lost, after pauses that grow. An answer is
    used again for half a second. Without a server there is GraphAwayError, at once or after `GRAPH_SECONDS`.

    Args:
        address: `net:HOST:PORT~shs:KEY` of the server.
        keypair: The identity that calls the server; on one's own machine mostly the very key of the server, which is
            its own master.
        source: The feed whose follows and blocks count; the server's own id unless given.
        network: The server's network.

    Raises:
        BadInputError: The address cannot be dialled (AddressError).
    """

    def __init__(
        self, address: str, keypair: Keypair, *, source: FeedId | None = None, network: NetworkId = MAIN_NETWORK
    ) -> None:
        self._host, self._port, self._server, _web = _dialable(address)
        self._keypair = keypair
        self._source = source or self._server
        self._network = network
        self._relay: Relay | None = None
        self._session: asyncio.Task[Peer] | None = None
        self._backoff = Backoff(limits.GRAPH_RETRY_SECONDS)
        self._retry_at = self._opened_at = 0.0
        self._cache: OrderedDict[FeedId, tuple[float, Relation]] = OrderedDict()
        self._known: OrderedDict[FeedId, Relation] = OrderedDict()  # without strangers; however old
        self._asking: dict[FeedId, asyncio.Task[Relation]] = {}
        self._turn = asyncio.Semaphore(limits.GRAPH_CALLS)
        self._watches = Watches()
        self._poll = Poll(self._look, limits.GRAPH_POLL_SECONDS)
        self._closed = False

    async def relation(self, who: FeedId) -> Relation:
        """Return what the server says, at most half a second old.

        Raises:
            GraphAwayError: The server cannot be asked.
        """
        known = self._cache.get(who)
        if known is not None and known[0] > asyncio.get_running_loop().time():
            return known[1]
        return await self._ask(who)

    def hint(self, who: FeedId) -> Relation | None:
        """Return what the server last said of `who`; None for strangers. Nothing is sent."""
        return self._known.get(who)

    def watch(self, who: FeedId, relation: Relation | None, changed: Changed) -> Unwatch:
        stop = self._watches.add(who, relation, changed)
        if not self._closed:
            self._poll.run(self._watches)
        return stop

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._watches.clear()
        await self._poll.stop()
        session, self._session = self._session, None
        tasks: list[asyncio.Task[Any]] = [*self._asking.values(), *([] if session is None else [session])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if session is not None and _succeeded(session):
            await session.result().close()

    # ------------------------------------------------------------ questions

    async def _look(self) -> None:
        """Ask about every watched key, past the cache."""
        watched = self._watches.keys()
        await asyncio.gather(*(self._ask(who) for who in watched), return_exceptions=True)

    async def _ask(self, who: FeedId) -> Relation:
        """Ask one question at a time about each key; several askers wait for the same answer."""
        if self._closed:
            raise GraphAwayError("the follow graph is closed")
        task = self._asking.get(who)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._answer(who))
            self._asking[who] = task
            task.add_done_callback(lambda done: self._answered(who, done))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise GraphAwayError("the follow graph is closed") from None
            raise

    def _answered(self, who: FeedId, task: asyncio.Task[Relation]) -> None:
        self._asking.pop(who, None)
        if task.cancelled() or task.exception() is not None:
            self._cache.pop(who, None)
            return
        until = asyncio.get_running_loop().time() + limits.GRAPH_CACHE_SECONDS
        relation = task.result()
        _remember(self._cache, who, (until, relation))
        if relation.known:
            _remember(self._known, who, relation)
        else:
            self._known.pop(who, None)
        self._watches.tell(who, relation)

    async def _answer(self, who: FeedId) -> Relation:
        try:
            return await asyncio.wait_for(self._question(who), limits.GRAPH_SECONDS)
        except asyncio.TimeoutError:
            raise GraphAwayError("the ssb server does not answer") from None
        except GraphAwayError:
            raise
        except SSBError as error:
            raise GraphAwayError(f"the ssb server cannot be asked: {error}") from None

    async def _question(self, who: FeedId) -> Relation:
        async with self._turn:
            peer = await self._connected()
            question = {"source": str(self._source), "dest": str(who)}
            answers = await _both(peer, question)
        for answer in answers:
            if not isinstance(answer, bool):
                raise GraphAwayError("the ssb server answers neither true nor false")
        return Relation(*answers)

    # ------------------------------------------------------------ the session

    async def _connected(self) -> Peer:
        """Return the session, or the attempt that is under way, or a new one."""
        loop = asyncio.get_running_loop()
        session = self._session
        if session is not None and session.done() and not (_succeeded(session) and session.result().is_open):
            if _succeeded(session):
                self._backoff.lasted(loop.time() - self._opened_at)
            session = self._session = None
        if session is None:
            if loop.time() < self._retry_at:
                raise GraphAwayError("the ssb server cannot be reached")
            self._retry_at = loop.time() + self._backoff.next()
            session = self._session = loop.create_task(self._dial())
            session.add_done_callback(_succeeded)  # a failure that nothing awaits is no error
        return await asyncio.shield(session)

    async def _dial(self) -> Peer:
        relay = self._relay = self._relay or Relay(pool=limits.GRAPH_POOL)
        peer = Peer()
        handshake = ClientHandshake(self._keypair, self._server, network=self._network, own_key=True)
        link = await dial(self._host, self._port, lambda: Link(relay, handshake, peer), seconds=limits.GRAPH_SECONDS)
        try:
            await asyncio.wait_for(peer.wait_opened(), limits.GRAPH_SECONDS)
        except asyncio.TimeoutError:
            link.abort()
            raise GraphAwayError("the ssb server does not answer") from None
        except BaseException:
            link.abort()
            raise
        self._opened_at = asyncio.get_running_loop().time()
        return peer


async def _both(peer: Peer, question: dict[str, str]) -> list[Any]:
    """Ask both questions at once; when one fails, cancel the other."""
    calls = [asyncio.ensure_future(peer.call(f"friends.{name}", question)) for name in ("isFollowing", "isBlocking")]
    try:
        return list(await asyncio.gather(*calls))
    finally:
        for call in calls:
            call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*calls, return_exceptions=True)


def _remember(memory: OrderedDict[FeedId, T], who: FeedId, what: T) -> None:
    """Remember the newest `GRAPH_CACHE` relations."""
    memory[who] = what
    memory.move_to_end(who)
    if len(memory) > limits.GRAPH_CACHE:
        memory.popitem(last=False)


def _succeeded(task: asyncio.Task[Peer]) -> bool:
    return not task.cancelled() and task.exception() is None


def _dialable(address: str) -> KeyedEndpoint:
    for endpoint in keyed_endpoints(address):
        return endpoint
    raise BadInputError("the ssb server's address reads net:HOST:PORT~shs:KEY")
