"""Secret handshake: the server's part, both parts, and the curve operations alone that the server cannot do without.

`curve only` is the ceiling: three Diffie-Hellmans, one ephemeral key, one key conversion, one signature made and one
checked, two boxes.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Note
from ssbfast.cli.bench.handshake import ALICE, agree, both, curve_only, recorded, server_part


@pytest.mark.benchmark(group="handshake, server part")
def bench_server(benchmark: BenchmarkFixture, note: Note) -> None:
    first, third = recorded()
    session = server_part(first, third)
    note(correct=session.remote == ALICE.id)
    benchmark(server_part, first, third)


@pytest.mark.benchmark(group="handshake, server part")
def bench_server_curve_only(benchmark: BenchmarkFixture, note: Note) -> None:
    work = curve_only()
    note(correct=work())
    benchmark(work)


@pytest.mark.benchmark(group="handshake, client and server")
def bench_both(benchmark: BenchmarkFixture, note: Note) -> None:
    client, server = both()
    note(correct=agree(client, server))
    benchmark(both)
