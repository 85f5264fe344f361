"""The gate of `--path direct`: connections wait for the direct path of their own peer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ssbfast.cli.path_options import PathChoice, PathGate, Paths
from ssbfast.errors import SSBError
from tests.helpers.rooms import feed


def event(number: int, path: str, took: float | None = 1.0) -> dict[str, Any]:
    return {"event": "path", "peer": str(feed(number)), "path": path, "took_ms": took, "reason": "because"}


@pytest.mark.parametrize("only_direct", [False, True])
async def test_connections_wait_for_the_path_of_their_peer(only_direct: bool) -> None:
    gate = PathGate(feed(1), only_direct=only_direct)
    first, late = (SimpleNamespace(peer=None) for _ in range(2))
    session: Any = SimpleNamespace(path="tunnel")
    gate.add(first)  # type: ignore[arg-type]
    gate.session_opened(session)
    assert (first.peer is session) is not only_direct
    gate.event_received(event(2, "direct"))
    assert (first.peer is session) is not only_direct
    gate.event_received(event(1, "direct"))
    gate.add(late)  # type: ignore[arg-type]
    assert first.peer is late.peer is session
    gate.event_received(event(2, "tunnel", took=None))
    assert first.peer is late.peer is session
    gate.event_received(event(1, "tunnel", took=None))
    assert (first.peer is late.peer is session) is not only_direct


async def test_a_direct_path_that_cannot_be_ends_it() -> None:
    gate = PathGate(feed(1), only_direct=True)
    gate.event_received(event(2, "tunnel"))
    assert not gate._problem.done()
    gate.event_received(event(1, "tunnel"))
    with pytest.raises(SSBError, match="because"):
        await gate.failed()


async def test_direct_paths_may_be_loaded_later_unless_there_is_no_other() -> None:
    pytest.importorskip("aioquic")
    for choice, after in ((PathChoice.AUTO, 5.0), (PathChoice.DIRECT, 0.0)):
        direct = await Paths(choice, (), False, 600.0).open(after=5.0)
        assert direct is not None and direct.after == after
    assert await Paths(PathChoice.TUNNEL, (), False, 600.0).open(after=5.0) is None


@pytest.mark.parametrize("choice", [PathChoice.AUTO, PathChoice.DIRECT])
async def test_an_engine_that_nobody_knows_is_told_in_one_line(
    choice: PathChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSBFAST_DIRECT", "fast")
    with pytest.raises(SSBError) as caught:
        await Paths(choice, (), False, 600.0).open(after=5.0)
    assert str(caught.value) == "SSBFAST_DIRECT is 'fast'; it can be auto, aioquic, native"
    assert await Paths(PathChoice.TUNNEL, (), False, 600.0).open() is None, "it is not asked"
