"""Claims on ports: what is offered is not listened at, and what leads back is not dialled."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from ssbfast.client.port_claims import PortClaims, PortOfferedError
from ssbfast.ids import FeedId
from ssbfast.net.endpoints import Endpoint, Place, UdpEndpoint, UnixPath
from tests.helpers.rooms import feed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such locks")

HERE = Endpoint("127.0.0.1", 8096)
US, OTHER = feed(1), feed(2)


class User:
    """The processes of one user."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack

    def process(self, me: FeedId | None = None) -> PortClaims:
        return self._stack.enter_context(closing(PortClaims(self.folder, me)))


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    with ExitStack() as stack:
        yield User(tmp_path / "ports", stack)


@pytest.mark.parametrize(
    "place", [HERE, Endpoint("localhost", 8096), Endpoint("", 8096), Endpoint("::1", 8096)], ids=str
)
def test_what_is_offered_is_not_listened_at(user: User, place: Place) -> None:
    one, other, caller = user.process(US), user.process(OTHER), user.process()
    one.offer([place])
    other.offer([place])  # both may
    with pytest.raises(PortOfferedError):
        caller.take(HERE, OTHER)
    caller.take(UdpEndpoint("127.0.0.1", 8096), OTHER)
    caller.take(Endpoint("127.0.0.1", 8097), OTHER)
    one.offer([])
    with pytest.raises(PortOfferedError):
        caller.take(HERE, OTHER)
    other.close()
    caller.take(HERE, OTHER)


@pytest.mark.parametrize("place", [Endpoint("192.0.2.1", 8096), Endpoint("nas.lan", 8096), UnixPath("/run/x")], ids=str)
def test_what_is_elsewhere_claims_nothing_here(user: User, place: Place) -> None:
    user.process(US).offer([place])
    user.process().take(HERE, US)
    assert user.process(US).objection(place) is None


def test_what_leads_back_is_not_dialled_until_it_is_gone(user: User) -> None:
    caller, home = user.process(), user.process(US)
    caller.take(HERE, US)
    home.offer([HERE])
    assert home.objection(HERE) == "127.0.0.1:8096 leads back to this peer: an ssbfast of yours listens there"
    caller.close()
    assert home.objection(HERE) is None
    with pytest.raises(PortOfferedError):
        user.process().take(HERE, US)


def test_what_leads_to_another_peer_may_be_offered_again(user: User) -> None:
    """As a gateway: what one friend offers reaches another through us."""
    user.process().take(HERE, OTHER)
    home = user.process(US)
    home.offer([HERE])
    assert home.objection(HERE) is None
    user.process().take(Endpoint("::1", 8096), OTHER)  # another address of the port: the system decides


def test_without_a_folder_nothing_is_claimed(user: User) -> None:
    user.folder.write_text("a file")
    home = user.process(US)
    home.offer([HERE])
    user.process().take(HERE, US)
    assert home.objection(HERE) is None
