"""Ids and addresses as people paste them: what is certain is read, everything else is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast.cli.peer_options import RoomAddress
from ssbfast.errors import AliasError, BadInputError, FeedIdError
from ssbfast.ids import MAIN_NETWORK, FeedId, encode_key
from ssbfast.keys import Keypair
from ssbfast.limits import PASTED_TEXT
from ssbfast.pasted.addresses import read_alias, read_id, read_network, read_room, read_room_or_invite, read_target
from ssbfast.pasted.endpoint import read_listen, read_name, read_reflector, read_service
from ssbfast.pasted.web_links import AliasLink, InviteLink
from ssbfast.wire.address import ROOM_SEED, TunnelAddress, parse_address
from ssbfast.wire.alias import Alias, sign_alias
from tests.helpers.commands import assert_unusable, succeed
from tests.helpers.processes import run
from tests.helpers.rooms import feed

WHO, PORTAL = FeedId(bytes(range(0xE0, 0x100))[::-1]), feed(2)
ID, KEY = str(WHO), encode_key(WHO.key)
URL_KEY = KEY.replace("+", "-").replace("/", "_")
PORTAL_KEY = encode_key(PORTAL.key)
ROOM = f"net:room.example:8008~shs:{KEY}"
INVITE = f"{ROOM}:{ROOM_SEED}"
TUNNEL = f"tunnel:{PORTAL}:{ID}~shs:{KEY}"
PRIVATE = "ptunnel:1:AAECAwQFBgcICQoLDA0ODw:3H98lsd8mlgpOibKiy7yXZVzjgOW0bElusU3ShiOfd8"
ALIAS = (
    f"ssb:experimental?action=consume-alias&alias=x&userId={quote(ID, safe='')}&roomId={quote(str(PORTAL), safe='')}"
    f"&signature=x&multiserverAddress={quote(f'net:room.example:8008~shs:{PORTAL_KEY}', safe='')}"
)

AROUND = [
    " {}",
    "{}\n",
    "{}\r\n",
    "\t{}\t",
    "\u00a0{}\u00a0",
    "\ufeff{}",
    "\u200b{}\u200b",
    "\u202a{}\u202c",
    "\u2066{}\u2069",
    "{}\u00ad",
    "{}\ufe0f",
    "\u3000{}\u2028",
    "\u2800{}\u3164",
    '"{}"',
    "'{}'",
    "`{}`",
    "```{}```",
    "\u201c{}\u201d",
    "\u201e{}\u201c",
    "\u2018{}\u2019",
    "\u00ab\u00a0{}\u00a0\u00bb",
    "\u300c{}\u300d",
    "<{}>",
    "({})",
    "[{}]",
    "> {}",
    "* {}",
    "\u2022 {}",
    "**{}**",
    "{},",
    "{}.",
    "{};",
    "{}...",
    "({}).",
    '"{}",',
    "{} \\",
    "{}!",
    "\x1b[200~{}\x1b[201~",
    "\x1b[1m{}\x1b[0m",
    "{}\x00",
    "\x7f{}",
]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("text", [ROOM, INVITE])
def test_what_stands_around_an_address_means_nothing(around: str, text: str) -> None:
    assert read_room(around.format(text)) == (text, WHO)


@pytest.mark.parametrize("around", AROUND)
def test_what_stands_around_an_id_means_nothing(around: str) -> None:
    assert read_id(around.format(ID)) == WHO
    assert read_target(around.format(TUNNEL)) == (TunnelAddress(PORTAL, WHO),)
    assert str(read_target(around.format(PRIVATE))) == PRIVATE
    assert read_network(around.strip("[]").format(encode_key(MAIN_NETWORK.key))) == MAIN_NETWORK


@pytest.mark.parametrize("inside", ["\u200b", "\u00ad", "\u2060", "\ufeff", "\r\n", "\n   ", " "])
def test_what_cannot_be_seen_and_wrapped_lines(inside: str) -> None:
    for cut in (8, 25, 40, 60):
        assert read_room(ROOM[:cut] + inside + ROOM[cut:]) == (ROOM, WHO)
        assert read_target(TUNNEL[:cut] + inside + TUNNEL[cut:]) == (TunnelAddress(PORTAL, WHO),)


@pytest.mark.parametrize(
    "text",
    [
        ID,
        KEY,
        KEY[:-1],
        URL_KEY,
        URL_KEY[:-1],
        f"@{KEY}",
        f"@{URL_KEY}.ed25519",
        f"{KEY}.ed25519",
        f"@{KEY}.ED25519",
        quote(ID, safe=""),
        "".join(chr(ord(char) + 0xFEE0) for char in ID),
        f"ssb:feed/ed25519/{URL_KEY}",
        f"ssb://feed/ed25519/{URL_KEY}",
        f"ssb:feed/classic/{URL_KEY}",
        f"SSB:feed/ed25519/{URL_KEY}/",
        f"ssb:feed/ed25519/{quote(KEY, safe='')}",
        f"ssb:{ID}",
        TUNNEL,
        TUNNEL.partition("~")[0],
        f"tunnel:{PORTAL_KEY}:{URL_KEY}",
        f"Tunnel:{PORTAL}:{ID}:0",
        f"{PRIVATE}~shs:{KEY}",
        ALIAS,
    ],
)
def test_an_id_in_every_form(text: str) -> None:
    assert read_id(text) == WHO


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        (f"{ROOM}.ed25519", ROOM),
        (f"net:room.example:8008~shs:{ID}", ROOM),
        (f"net:room.example:8008~shs:{URL_KEY[:-1]}", ROOM),
        (f"net:room.example:8008:~shs:{KEY}", ROOM),
        (f"net://room.example:8008~shs:{KEY}", ROOM),
        (f"NET:room.example:08008~SHS:{KEY}", ROOM),
        (f"room.example:8008~shs:{KEY}", ROOM),
        (f"room.example:8008:{ID}", ROOM),
        (f"room.example:8008:{KEY}", ROOM),
        (f"room.example:8008:{ID}~{ROOM_SEED}", INVITE),
        (f"{ROOM};", ROOM),
        (f"{ROOM};;ws://room.example~shs:{KEY}", f"{ROOM};ws://room.example~shs:{KEY}"),
        (f"unix:/x~noauth;{ROOM}", f"unix:/x~noauth;{ROOM}"),
        (f"net:[::1]:8008~shs:{KEY}", f"net:!:!:1:8008~shs:{KEY}"),
        (f"net:::1:8008~shs:{KEY}", f"net:!:!:1:8008~shs:{KEY}"),
        (f"[::1]:8008:{ID}", f"net:!:!:1:8008~shs:{KEY}"),
        (f"::1:8008:{ID}", f"net:!:!:1:8008~shs:{KEY}"),
        (f"net:\\!:\\!:1:8008~shs:{KEY}", f"net:!:!:1:8008~shs:{KEY}"),
        (f"net:fe80::1%wlan0:8008~shs:{KEY}", f"net:fe80!:!:1%wlan0:8008~shs:{KEY}"),
        (f"net:[fe80::1%25wlan0]:8008~shs:{KEY}", f"net:fe80!:!:1%wlan0:8008~shs:{KEY}"),
        (f"net:m\u00fcller.example:8008~shs:{KEY}", f"net:xn--mller-kva.example:8008~shs:{KEY}"),
        (f"net:\u4f8b\u3002example:8008~shs:{KEY}", f"net:xn--fsq.example:8008~shs:{KEY}"),
        (f"ssb:address/multiserver?multiserverAddress={quote(ROOM, safe='')}", ROOM),
        (f"ssb://address/multiserver?multiserverAddress={ROOM}", ROOM),
        (f"ssb:address/multiserver/{quote(ROOM, safe='')}", ROOM),
        (f"ssb:experimental?action=start-http-auth&sid=x&multiserverAddress={quote(INVITE, safe='')}", INVITE),
        (quote(ROOM, safe=""), ROOM),
    ],
)
def test_a_room_in_every_form(text: str, printed: str) -> None:
    room = RoomAddress.parse(text)
    assert room == RoomAddress(printed, WHO)
    assert parse_address(room.text)  # the library reads what the commands hand on


def test_an_alias_names_a_room_and_somebody_in_it() -> None:
    assert read_room(ALIAS).portal == PORTAL
    assert read_id(ALIAS) == WHO


ALICE = Keypair.generate()


def alias_uri(signature: str, *, name: str = "alice", room: FeedId = PORTAL, key: str = PORTAL_KEY) -> str:
    members = {
        "alias": name,
        "userId": str(ALICE.id),
        "signature": signature,
        "roomId": str(room),
        "multiserverAddress": f"net:room.example:8008~shs:{key}",
    }
    pairs = "&".join(f"{member}={quote(value, safe='')}" for member, value in members.items())
    return f"ssb:experimental?action=consume-alias&{pairs}"


@pytest.mark.parametrize(
    "form",
    [
        lambda text: text,
        lambda text: text.removesuffix(".sig.ed25519"),
        lambda text: text.removesuffix(".sig.ed25519").replace("+", "-").replace("/", "_"),
    ],
)
def test_an_alias_in_a_uri_is_verified(form: Callable[[str], str]) -> None:
    signature = form(sign_alias(ALICE, PORTAL, "alice"))
    found = read_target(alias_uri(signature))
    assert isinstance(found, Alias)
    assert (found.name, found.user, found.room) == ("alice", ALICE.id, PORTAL)
    assert found.address == f"net:room.example:8008~shs:{PORTAL_KEY}"
    assert read_alias(alias_uri(signature)) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (alias_uri(sign_alias(ALICE, PORTAL, "bob")), "not signed by its owner"),
        (alias_uri(sign_alias(ALICE, WHO, "alice")), "not signed by its owner"),
        (alias_uri(sign_alias(Keypair.generate(), PORTAL, "alice")), "not signed by its owner"),
        (alias_uri("x"), "signature cannot be read"),
        (alias_uri(""), "signature cannot be read"),
        (alias_uri(sign_alias(ALICE, PORTAL, "alice"), key=KEY), "not its room's"),
        (alias_uri(sign_alias(ALICE, PORTAL, "a_b"), name="a_b"), "letters"),
    ],
)
def test_a_false_alias_in_a_uri_leads_nowhere(text: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        read_target(text)
    with pytest.raises(AliasError, match=words):
        read_alias(text)


@pytest.mark.parametrize(
    ("text", "url", "name"),
    [
        ("https://alice.room.example", "https://alice.room.example/", "alice"),
        ("https://Alice.Room.example/?encoding=json", "https://alice.room.example/", "alice"),
        ("https://room.example/alice", "https://room.example/alice", "alice"),
        ("https://room.example/alias/alice/", "https://room.example/alias/alice", "alice"),
        ("https://room.example:8443/a-b", "https://room.example:8443/a-b", "a-b"),
        ("alice.room.example", "https://alice.room.example/", "alice"),
        ("room.example/alice", "https://room.example/alice", "alice"),
        ("room.example/alias/4lice", "https://room.example/alias/4lice", "4lice"),
        ("<https://room.example/alice>.", "https://room.example/alice", "alice"),
        ("http://127.0.0.1:3000/alice", "http://127.0.0.1:3000/alice", "alice"),
        ("http://[::1]:3000/alice", "http://[::1]:3000/alice", "alice"),
        ("http://localhost:3000/alias/alice", "http://localhost:3000/alias/alice", "alice"),
        ("https://m\u00fcller.example/alice", "https://xn--mller-kva.example/alice", "alice"),
        ("@alice@room.example", "https://room.example/alice", "alice"),
    ],
)
def test_an_alias_in_every_form(text: str, url: str, name: str) -> None:
    for found in (read_alias(text), read_target(text)):
        assert isinstance(found, AliasLink)
        assert found.urls[0] == url
        assert found.name == name


@pytest.mark.parametrize(
    "text",
    [
        "https://room.example",
        "https://room.example/",
        "https://room.example/a/b",
        "https://room.example/al_ice",
        "https://user@room.example/alice",
        "https://room.example/" + "a" * 64,
        "https://room.example:0/alice",
        "https://127.0.0.1/",
        "http://room.example/alice",
        "ftp://room.example/alice",
        "room.example",
        "192.168.1.1",
        "alice.room.example:8008",
        "@alice",
        "@@room.example",
        ID,
        ROOM,
    ],
)
def test_what_is_no_alias_is_refused(text: str) -> None:
    with pytest.raises(BadInputError):
        read_alias(text)


@pytest.mark.parametrize(
    ("text", "invite"),
    [
        ("https://room.example/join?invite=abc", InviteLink(url="https://room.example/join?invite=abc")),
        ("room.example/join?token=a_b-c", InviteLink(url="https://room.example/join?token=a_b-c")),
        ("https://room.example/join?x=1&invite=abc", InviteLink(url="https://room.example/join?x=1&invite=abc")),
        (
            "ssb:experimental?action=claim-http-invite&invite=abc&postTo=https%3A%2F%2Froom.example%2Fclaim",
            InviteLink(code="abc", post_to="https://room.example/claim"),
        ),
    ],
)
def test_a_web_invite_is_read_where_it_can_be_claimed(text: str, invite: InviteLink) -> None:
    assert read_room_or_invite(text) == invite
    assert "abc" not in repr(invite)
    for read in (read_room, read_id, read_target):
        with pytest.raises(BadInputError, match="that is a web invite"):
            read(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://room.example/join?invite=abc",
        "https://room.example/join",
        "https://room.example/join?invite=",
        "https://room.example/join?invite=a%20b",
        "ssb:experimental?action=claim-http-invite&invite=abc",
        "ssb:experimental?action=claim-http-invite&postTo=https%3A%2F%2Froom.example%2Fclaim",
        "ssb:experimental?action=claim-http-invite&invite=abc&postTo=http%3A%2F%2Froom.example%2Fclaim",
    ],
)
def test_a_web_invite_that_is_not_whole_is_refused(text: str) -> None:
    with pytest.raises(BadInputError):
        read_room_or_invite(text)


@pytest.mark.parametrize("text", [f"wss://room.example~shs:{KEY}", f"wss:room.example:443~shs:{KEY}"])
def test_a_room_behind_a_websocket(text: str) -> None:
    assert RoomAddress.parse(text) == RoomAddress(f"wss://room.example~shs:{KEY}", WHO)


NOT_IDS = [
    ("", "nothing was given"),
    ("\u200b \n", "nothing was given"),
    (ROOM, "that is a room's address, not a person's id"),
    (INVITE, "that is a room's address, not a person's id"),
    (f"room.example:8008:{ID}", "that is a room's address, not a person's id"),
    ("net:room.example:8008", "without a key"),
    (f"%{KEY}.sha256", "that is an SSB message id"),
    (f"&{KEY}.sha256", "that is an SSB blob id"),
    (f"{KEY}.sha256", "that is an SSB blob/message id"),
    (f"ssb:message/sha256/{URL_KEY}", "that is an SSB message id"),
    (f"ssb:blob/classic/{URL_KEY}", "that is an SSB blob id"),
    (f"ssb:feed/bendybutt-v1/{URL_KEY}", "a feed of another kind (bendybutt-v1)"),
    (f"@{KEY}.bbfeed-v1", "another kind"),
    (f"@{KEY}.ed255", "cut off"),
    (ID[:30], "the id was cut off: its key has 29 of 43 characters"),
    (f"{WHO.short}", "cut off"),
    (f"@{KEY}A.ed25519", "too long"),
    (f"@{'A' * 42}B=.ed25519", "mistyped"),
    (f"@{'-+' + 'A' * 41}=.ed25519", "mistyped"),
    ("@alice", "that is a name"),
    ("#channel", "that is a channel's name"),
    (ROOM_SEED, "the seed that the invites of all rooms have"),
    (encode_key(MAIN_NETWORK.key), "the key of the main network"),
    ("A" * 86 + "==", "SECRET"),
    (PRIVATE, "hides whose it is"),
    (f"{ID} {PORTAL}", "more than one"),
    (f"my id is {ID}", "several words"),
    ("https://room.example/alice", "that is an alias"),
    ("https://room.example/a/b", "that is the address of a web page"),
    (TUNNEL[:70], "cut off"),
    (f"{TUNNEL};tunnel:{PORTAL}:{PORTAL}", "different peers"),
    (f"@{KEY[:5]}\u2013{KEY[6:]}.ed25519", "U+2013 (en dash)"),
]


@pytest.mark.parametrize(("text", "words"), NOT_IDS)
def test_what_is_no_id_is_named(text: str, words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_id(text)
    assert_helpful(str(caught.value), text, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ID, "that is an id"),
        (KEY, "that is an id"),
        (TUNNEL, "behind a room"),
        (PRIVATE, "private tunnel address"),
        ("https://room.example/join?token=0123456789abcdef", "that is a web invite"),
        ("https://room.example/alice", "a friend's alias"),
        ("http://room.example/join?invite=0123456789abcdef", "that is a web invite"),
        ("room.example/join?token=0123456789abcdef", "that is a web invite"),
        (
            "ssb:experimental?action=claim-http-invite&invite=abc&postTo=https%3A%2F%2Froom.example",
            "that is a web invite",
        ),
        ("ssb:experimental?action=start-http-auth&sid=x", "a link to sign in"),
        ("ssb:address/multiserver", "without an address"),
        ("https://room.example/", "that is the address of a web page"),
        ("room.example", "without a key"),
        ("room.example:8008", "cut off"),
        ("net:room.example", "cut off"),
        ("net:room.example:", "cut off"),
        ("net:room.example:8008", "cut off"),
        ("net:room.example:8008~", "cut off"),
        ("net:room.example:8008~sh", "cut off"),
        ("net:room.example:8008~shs", "cut off"),
        ("net:room.example:8008~shs:", "cut off"),
        (ROOM[:-9], "the address was cut off: its key has 35 of 43 characters"),
        (f"net:room.example~shs:{KEY}", "the port is missing"),
        (f"net:room.example:0~shs:{KEY}", "a port is a number from 1 to 65535"),
        (f"net:room.example:99999~shs:{KEY}", "a port is a number from 1 to 65535"),
        (f"net:010.0.0.1:8008~shs:{KEY}", "can be read as 10.0.0.1 or as 8.0.0.1"),
        (f"net:127.1:8008~shs:{KEY}", "127.0.0.1"),
        (f"net:0:8008~shs:{KEY}", "not a whole IPv4 address"),
        (f"net:256.1.1.1:8008~shs:{KEY}", "not an IPv4 address"),
        (f"net:fe80::1%251:8008~shs:{KEY}", "interface 251 or 1"),
        (f"net:stra\u00dfe.example:8008~shs:{KEY}", "strasse.example or xn--strae-oqa.example"),
        (f"net:a\u2013b:8008~shs:{KEY}", "U+2013 (en dash)"),
        (f"net:a\u2713b:8008~shs:{KEY}", "U+2713 (check mark)"),
        ("wss://room.example", "has no key"),
        ("alice.room.example", "a friend's alias"),
        (f"onion:abc.onion:8008~shs:{KEY}", "Tor"),
        (f"unix:/tmp/x~shs:{KEY}", "a socket of one machine"),
        (f"net:room.example:8008~shs:{KEY}:{PORTAL_KEY}", "an invite of a pub"),
        (f"room.example:8008:{ID}~{PORTAL_KEY}", "an invite of a pub"),
        (f"{ROOM};net:room.example:8009~shs:{PORTAL_KEY}", "different keys"),
        (f"{ROOM} {ROOM}", "more than one"),
        (f"address {ROOM}", "several words"),
        ("x" * (PASTED_TEXT + 1), "more than"),
    ],
)
def test_what_is_no_room_is_named(text: str, words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_room(text)
    assert_helpful(str(caught.value), text, words)


@pytest.mark.parametrize("text", [ROOM, f"room.example:8008:{ID}"])
def test_a_room_is_nobody_to_reach(text: str) -> None:
    with pytest.raises(BadInputError, match=r"that is a room's address, not a person's id.*--room"):
        read_target(text)


def assert_helpful(message: str, text: str, words: str) -> None:
    assert words in message
    assert "at character" not in message
    assert "\n" not in message
    assert "0123456789abcdef" not in message, "the secret of an invite"
    assert KEY[:12] not in message
    assert len(text) < PASTED_TEXT or len(message) < 100


def test_the_library_stays_strict() -> None:
    for text in (f" {ID}", KEY, f"ssb:feed/ed25519/{URL_KEY}"):
        with pytest.raises(FeedIdError):
            FeedId.parse(text)
    for text in (f" {ROOM}", f"NET:{ROOM[4:]}", f"{ROOM}.ed25519"):
        with pytest.raises(BadInputError):
            parse_address(text)


@pytest.mark.slow
def test_every_command_reads_what_was_pasted(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    for action in ("follow", "unfollow", "block", "unblock"):
        assert succeed(action, f"\u201c{KEY}\u201d,", *data).startswith(ID)
    web = "https://room.example/join?token=0123456789abcdef"
    for arguments in (
        ("attendants", "--room", web),
        ("doctor", "--room", web),
        ("listen", "--room", ROOM, "--forward", "8000", "--ssb-server", web),
        ("listen", "--room", ROOM, "--forward", "8000", "--allow", web),
        ("listen", "--room", ROOM, "--forward", "8000", "--private-for", web),
        ("connect", web, "--room", ROOM, "--bind", "0"),
        ("follow", web),
    ):
        assert_unusable(run(*arguments, *data), "that is a web invite")


PIECES = st.sampled_from(
    [
        *("net:", "ssb:", "tunnel:", "feed/ed25519/", "shs:", "multiserverAddress=", ".ed25519", KEY, ID, ROOM_SEED),
        *("?", "&", "=", "~", ":", ";", "!", "@", "%", "%25", "[", "]", " ", "\\"),
        *("::1", "8008", "room.example", "\u200b", "\u00df", "\ud800"),
    ]
)


@given(st.one_of(st.text(max_size=200), st.lists(PIECES | st.characters(), max_size=12).map("".join)))
def test_any_text_is_read_or_refused(text: str) -> None:
    readers = (read_id, read_room, read_room_or_invite, read_target, read_alias, read_network)
    for read in (*readers, read_service, read_listen, read_name, read_reflector):
        try:
            read(text)  # type: ignore[operator]
        except BadInputError as error:
            assert len(str(error)) < 1000 or len(text) > 100
