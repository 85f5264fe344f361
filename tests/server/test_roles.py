"""Roles, modes and calls over real sessions: a table written by hand beside the one that the room decides by."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import RemoteError, SSBError
from ssbfast.keys import Keypair
from ssbfast.limits import KiB
from ssbfast.room import alias_rules
from ssbfast.room.methods import MEMBERS_ONLY, NO_LIST, NOT_LISTED
from ssbfast.room.roles import Mode, Role
from ssbfast.wire.alias import sign_alias
from ssbfast.wire.muxrpc import CallKind
from tests.helpers.kept_room import KEYS, KeptRoom, kept_room
from tests.helpers.rawpeer import RawPeer, eventually
from tests.helpers.served_room import served_room

EXTERNAL, MEMBER, MODERATOR, ADMIN, BLOCKED = (
    *(Role.EXTERNAL, Role.MEMBER, Role.MODERATOR, Role.ADMIN),
    Role.BLOCKED,
)
OPEN, COMMUNITY, RESTRICTED = Mode.OPEN, Mode.COMMUNITY, Mode.RESTRICTED
INSIDE = {MEMBER, MODERATOR, ADMIN}
ALL = INSIDE | {EXTERNAL}

# What is answered with which error, by mode: the roles that may, and what the others hear.
TABLE: dict[str, dict[Mode, tuple[set[Role], str]]] = {
    "announce": {OPEN: (ALL, ""), COMMUNITY: (INSIDE, NOT_LISTED), RESTRICTED: (INSIDE, "")},
    "attendants": {OPEN: (ALL, ""), COMMUNITY: (INSIDE, MEMBERS_ONLY), RESTRICTED: (INSIDE, "")},
    "endpoints": {OPEN: (ALL, ""), COMMUNITY: (INSIDE, MEMBERS_ONLY), RESTRICTED: (INSIDE, "")},
    "members": {OPEN: (ALL, ""), COMMUNITY: (INSIDE, MEMBERS_ONLY), RESTRICTED: (INSIDE, "")},
    "connect": {OPEN: (ALL, ""), COMMUNITY: (ALL, ""), RESTRICTED: (INSIDE, "")},
    "register": {
        OPEN: (ALL, ""),
        COMMUNITY: (INSIDE, "only members may have an alias"),
        RESTRICTED: (set(), "this room has no aliases"),
    },
    "list": {OPEN: (ALL, ""), COMMUNITY: (INSIDE, NO_LIST), RESTRICTED: (INSIDE, "")},
    "list own": {OPEN: (ALL, ""), COMMUNITY: (ALL, ""), RESTRICTED: (INSIDE, "")},
    "metadata": {OPEN: (ALL, ""), COMMUNITY: (ALL, ""), RESTRICTED: (INSIDE, "")},
    "whoami": {OPEN: (ALL, ""), COMMUNITY: (ALL, ""), RESTRICTED: (INSIDE, "")},
    "sign out": {OPEN: (ALL, ""), COMMUNITY: (ALL, ""), RESTRICTED: (INSIDE, "")},
}
FEATURES = {
    OPEN: ["tunnel", "room1", "room2", "alias"],
    COMMUNITY: ["tunnel", "room2", "alias"],
    RESTRICTED: ["tunnel", "room2"],
}


async def outcome(room: KeptRoom, peer: RawPeer, call: str, target: RawPeer) -> str:
    """The text with which a call is refused, "" when it is not."""
    match call:
        case "announce":
            found: Any = await peer.call("tunnel.announce", None)
        case "attendants" | "endpoints":
            req = peer.source(f"{'room' if call == 'attendants' else 'tunnel'}.{call}")
            await eventually(lambda: req in peer.ends or peer.items[req])
            found = peer.ends.get(req)
        case "members":
            try:
                found = await peer.listed("room.members")
            except RemoteError as error:
                found = error
        case "connect":
            tunnel = peer.connect(room.server.me.id, target.id)
            tunnel.write(b"hello")
            other = await target.accept()
            assert await other.read(5) == b"hello"
            found = None
        case "register":
            name = f"a{peer.id.key.hex()[:8]}"
            found = await peer.call("room.registerAlias", name, sign_alias(peer.me, room.server.me.id, name))
            assert isinstance(found, SSBError) or found == f"https://127.0.0.1/{name}"
        case "list":
            found = await peer.call("room.listAliases", str(target.id))
        case "list own":
            found = await peer.call("room.listAliases", str(peer.id))
        case "metadata":
            found = await peer.call("room.metadata")
        case "whoami":
            found = await peer.call("whoami")
        case _:
            found = await peer.call("httpAuth.invalidateAllSolutions")
    return found.message if isinstance(found, RemoteError) else ""


@pytest.fixture(autouse=True)
def quick_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSAL_SECONDS", 0.05)


@pytest.mark.parametrize("mode", Mode)
async def test_what_each_role_may_call_in_each_mode(mode: Mode, tmp_path: Path) -> None:
    async with kept_room(tmp_path, mode) as room:
        target = Keypair.generate()
        await room.add(target.id)
        reached = await room.room.raw(target)
        for role, key in KEYS.items():
            if role is BLOCKED or (role is EXTERNAL and mode is RESTRICTED):
                with pytest.raises(SSBError):
                    await room.room.raw(key, announce=False)
                continue
            peer = await room.room.raw(key, announce=False)
            metadata = await peer.call("room.metadata")
            assert metadata["membership"] is (role is not EXTERNAL or mode is OPEN)
            assert metadata["features"] == FEATURES[mode]
            for call, rows in TABLE.items():
                roles, text = rows[mode]
                assert await outcome(room, peer, call, reached) == ("" if role in roles else text), (role, call)
            listed = {str(feed) for feed in room.server.live.online()}
            assert (str(peer.id) in listed) is (role in TABLE["announce"][mode][0])
        for role in (BLOCKED, EXTERNAL):
            if role is EXTERNAL and mode is OPEN:
                continue
            tunnel = reached.connect(room.server.me.id, KEYS[role].id)
            error = await tunnel.wait_ended()
            assert isinstance(error, RemoteError)
            assert error.message == f"could not connect to: {KEYS[role].id}"


async def test_refused_keys_hear_nothing_and_after_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REFUSAL_SECONDS", 0.3)
    async with kept_room(tmp_path, RESTRICTED) as room:
        found = []
        for role in (BLOCKED, EXTERNAL):
            began = room.room.relay.loop.time()
            with pytest.raises(SSBError) as refusal:
                await room.room.raw(KEYS[role], announce=False)
            assert room.room.relay.loop.time() - began >= 0.3
            found.append((type(refusal.value), str(refusal.value)))
        assert found[0] == found[1]


async def test_the_members_come_in_pieces_and_in_the_order_of_joining(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room:
        more = [Keypair.from_seed(bytes([n % 256, n // 256]) * 16) for n in range(1, 248)]
        for key in more:
            room.store.add_member(key.id, Role.MEMBER, by=None)
        await room.keeper.refresh()
        peer = await room.room.raw(KEYS[MEMBER], announce=False)
        pieces = await peer.listed("room.members")
        assert [len(piece) for piece in pieces] == [100, 100, 50]
        found = [member["id"] for piece in pieces for member in piece]
        assert found[-247:] == [str(key.id) for key in more]
        await room.block(more[0].id)
        assert sum(map(len, await peer.listed("room.members"))) == 249


async def test_a_room_without_records_has_none_of_it() -> None:
    async with served_room() as room:
        assert room.server.keeper is None
        peer = await room.raw()
        manifest = await peer.call("manifest")
        assert "httpAuth" not in manifest and "registerAlias" not in manifest["room"]
        for name in ("room.registerAlias", "room.members", "httpAuth.sendSolution"):
            for kind in (CallKind.ASYNC, CallKind.SOURCE):
                error = await peer.refused(kind, name, "a", "b")
                assert error.message.endswith("not in list of allowed methods")
        assert (await peer.call("room.metadata"))["features"] == ["tunnel", "room1", "room2"]


def test_a_room_loads_no_sqlite_of_itself() -> None:
    program = "import sys, ssbfast; ssbfast.RoomServer; sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_the_manifest_names_what_a_room_with_records_serves(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room:
        manifest = await (await room.room.raw(KEYS[MEMBER])).call("manifest")
        assert manifest["httpAuth"] == {"sendSolution": "async", "invalidateAllSolutions": "async"}
        calls = {"registerAlias": "async", "revokeAlias": "async", "listAliases": "async", "members": "source"}
        assert calls.items() <= manifest["room"].items()


async def test_metadata_tells_of_the_web_and_its_addresses(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room:
        peer = await room.room.raw(KEYS[MEMBER])
        assert "addresses" not in await peer.call("room.metadata")
        room.server.web.is_running = True
        room.server.web.addresses = ("wss:room.example~shs:key",)
        await room.keeper.run(room.store.change_settings, by=None, name="The room")
        told = await peer.call("room.metadata")
        assert told["features"] == ["tunnel", "room2", "alias", "httpAuth", "httpInvite"]
        assert told["addresses"] == [str(room.server.addresses[0]), "wss:room.example~shs:key"]
        assert told["name"] == "The room"
        room.server.web.is_running, room.server.web.addresses = False, ()
        told = await peer.call("room.metadata")
        assert told["features"] == ["tunnel", "room2", "alias"] and "addresses" not in told


async def test_an_alias_may_be_had_whatever_its_letters_if_they_are_right(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room:
        me = room.server.me.id
        member, other = await room.room.raw(KEYS[MEMBER]), await room.room.raw(KEYS[MODERATOR])

        async def register(peer: RawPeer, name: Any, signature: Any = None) -> Any:
            signed = sign_alias(peer.me, me, name) if signature is None else signature
            found = await peer.call("room.registerAlias", name, signed)
            return found.message if isinstance(found, RemoteError) else found

        for name in ("a", "a-b", "a" * 63, "alice"):
            assert await register(member, name) == f"https://127.0.0.1/{name}"
        for name in ("", "a" * 64, "Alice", "-a", "a-", "a_b", "9a", "ä", "a.b", *sorted(alias_rules.RESERVED)[:9]):
            assert await register(member, name) == "alias is not valid", name
        assert await register(other, "alice") == "alias is taken"
        for signature in ("", "x", sign_alias(other.me, me, "bob"), sign_alias(member.me, other.id, "bob")):
            assert await register(member, "bob", signature) == "signature is not valid"
        assert await register(member, None, "x") == "alias is not valid"
        assert await register(member, "bob", 7) == "signature is not valid"
        assert (await member.call("room.registerAlias")).message == "alias is not valid"
        bare = sign_alias(member.me, me, "bob").removesuffix(".sig.ed25519")
        assert await register(member, "bob", bare.replace("+", "-").replace("/", "_")) == "https://127.0.0.1/bob"
        assert await register(member, "bob") == "https://127.0.0.1/bob"  # signed once more
        assert sorted(await other.call("room.listAliases", str(member.id))) == ["a", "a-b", "a" * 63, "alice", "bob"]
        assert (await other.call("room.listAliases", "x")).message == "not a feed id"
        for name in ("c", "d", "e"):
            await register(member, name)
        assert await register(member, "f") == "too many aliases"
        for unknown in ("alice", "nobody", None, 7):
            assert (await other.call("room.revokeAlias", unknown)).message == "no such alias"
        assert await member.call("room.revokeAlias", "alice") is True
        assert (await member.call("room.revokeAlias", "alice")).message == "no such alias"
        assert await register(other, "alice") == "alias is taken"  # it rests
        assert await register(member, "alice") == "https://127.0.0.1/alice"
        await room.keeper.run(room.store.change_settings, by=None, alias_style="subdomain")
        assert await register(member, "alice") == "https://alice.127.0.0.1"


async def test_an_alias_makes_a_member_in_an_open_room(tmp_path: Path) -> None:
    async with kept_room(tmp_path, OPEN, alias_url=lambda name: f"https://room.example/{name}") as room:
        key = KEYS[EXTERNAL]
        peer = await room.room.raw(key)
        signature = sign_alias(key, room.server.me.id, "zoe")
        assert await peer.call("room.registerAlias", "zoe", signature) == "https://room.example/zoe"
        assert room.server.registry.role(key.id) is MEMBER


def test_reserved_words_are_written_as_aliases_are() -> None:
    paths = {"join", "claim", "invite", "login", "logout", "dashboard", "members", "invites", "blocked", "aliases"}
    paths |= {"alias", "settings", "notices", "me", "audit", "measurements", "healthz", "metrics", "static", "ws"}
    paths |= {"create-invite", "setup", "www", "ssb"}
    assert paths <= alias_rules.RESERVED
    assert all(word == word.lower() and len(word) < KiB for word in alias_rules.RESERVED)
