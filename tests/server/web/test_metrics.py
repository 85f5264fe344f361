"""`/metrics`: who may read it, that it counts, and that no key and no address is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ssbfast.keys import Keypair
from ssbfast.room.roles import Role
from ssbfast.server.measures import SECONDS, Histogram
from tests.helpers.rawpeer import eventually
from tests.helpers.served_site import ServedSite, served_site


async def figures(site: ServedSite, **headers: str) -> dict[str, float]:
    answer = await site.browser().get("/metrics", **headers)
    assert answer.status == 200
    found = re.findall(r"^(ssbfast_\S+) (\S+)$", answer.text, re.MULTILINE)
    return {name: float(value) for name, value in found}


async def test_sessions_tunnels_members_requests(tmp_path: Path) -> None:
    async with served_site(tmp_path) as site:
        first, second = await site.member(), await site.member(Role.ADMIN)
        here, there = await site.room.raw(first), await site.room.raw(second)
        stranger = await site.room.raw(announce=False)
        tunnel, _ = await site.room.tunnel(here, there)
        tunnel.write(b"x" * 5000)
        await site.signed_in(second)
        await eventually(lambda: site.room.server.tunnels.bytes_relayed == 5000)
        told = await figures(site)
        assert told['ssbfast_sessions{transport="tcp"}'] == 3
        assert told['ssbfast_keys{user="internal"}'] == 2 and told['ssbfast_keys{user="external"}'] == 1
        assert told["ssbfast_attendants"] == 2 and told["ssbfast_tunnels"] == 1
        assert told["ssbfast_bytes_relayed_total"] == 5000
        assert told['ssbfast_members{role="admin"}'] == 1 and told['ssbfast_members{role="member"}'] == 1
        assert told['ssbfast_handshakes_total{result="proven"}'] == 3
        assert told['ssbfast_signins_total{result="done",way="link"}'] == 1
        assert told['ssbfast_http_requests_total{code="303",route="login"}'] == 1
        assert told["ssbfast_store_write_seconds_count"] > 0
        assert told['ssbfast_limited_total{limit="sessions_per_key"}'] == 0, "each is there before it is reached"
        site.room.server.limit_reached("sessions_per_key")
        stranger.link.abort()
        here.link.abort()
        await eventually(lambda: len(site.room.server.tunnels) == 0)
        told = await figures(site)
        assert told['ssbfast_tunnels_ended_total{reason="gone"}'] == 1
        assert told['ssbfast_limited_total{limit="sessions_per_key"}'] == 1
        assert told["ssbfast_bytes_relayed_total"] >= 5000, "a counter never goes back"


async def test_who_may_read_it(tmp_path: Path) -> None:
    async with served_site(tmp_path, base_url="https://room.example") as site:
        assert (await site.browser().get("/metrics")).status == 200
        for browser in (site.browser(address="192.0.2.7"), site.browser(host="room.example")):
            answer = await browser.get("/metrics", X_Forwarded_Proto="https")
            assert answer.status == 404
            assert answer.plain == (await browser.get("/no-such-page", X_Forwarded_Proto="https")).plain
        site.site.metrics_token = "a token"
        away = site.browser(address="192.0.2.7")
        assert (await away.get("/metrics", Authorization="Bearer a token", X_Forwarded_Proto="https")).status == 200
        for wrong in ("Bearer another", "Bearer ", "Basic a token", "Bearer ä"):
            assert (await away.get("/metrics", Authorization=wrong, X_Forwarded_Proto="https")).status == 404


async def test_no_key_and_no_address(tmp_path: Path) -> None:
    async with served_site(tmp_path) as site:
        me = await site.member()
        await site.room.raw(me)
        await site.alias("alice", me)
        await site.browser(address="192.0.2.7").get("/alice")
        await site.browser(address="192.0.2.7").get(f"/{Keypair.generate().id}")
        text = (await site.browser().get("/metrics")).text
        for secret in (me.id.short.strip("@…"), "192.0.2.7", "127.0.0.1", "alice", "ed25519"):
            assert secret not in text


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.0011, 1.0, 1e9])
def test_a_histogram_s_buckets_are_cumulated(seconds: float) -> None:
    found = Histogram()
    found.add(seconds)
    found.add(0.05)
    buckets = dict(found.buckets())
    assert buckets["+Inf"] == 2 and found.total == seconds + 0.05
    for bound in SECONDS:
        assert buckets[f"{bound:g}"] == (seconds <= bound) + (bound >= 0.05)
