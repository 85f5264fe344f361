"""Key pairs, and the file that keeps one: what is taken, what is refused, what is never overwritten."""

from __future__ import annotations

import base64
import copy
import json
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult_base, crypto_sign_ed25519_pk_to_curve25519
from nacl.signing import SigningKey, VerifyKey

from ssbfast.errors import KeyFileError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair, load_secret
from ssbfast.limits import KEY_FILE

SEED = bytes(range(32))
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")


def fields_of(seed: bytes) -> dict[str, Any]:
    """The JSON object as other SSB programs write it, made without our code."""
    key = SigningKey(seed)
    public = base64.b64encode(bytes(key.verify_key)).decode()
    private = base64.b64encode(seed + bytes(key.verify_key)).decode()
    return {
        "curve": "ed25519",
        "public": f"{public}.ed25519",
        "private": f"{private}.ed25519",
        "id": f"@{public}.ed25519",
    }


def write(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def secret_spellings(keypair_seed: bytes) -> list[str]:
    public = bytes(SigningKey(keypair_seed).verify_key)
    curve = Keypair.from_seed(keypair_seed).curve_secret()
    out = []
    for secret in (keypair_seed, keypair_seed + public, curve):
        out += [secret.hex(), base64.b64encode(secret).decode().rstrip("="), repr(secret)[2:-1]]
    return out


class TestKeypair:
    def test_same_key_pair_as_nacl(self) -> None:
        mine, theirs = Keypair.from_seed(SEED), SigningKey(SEED)
        assert mine.id == FeedId(bytes(theirs.verify_key))
        assert mine.sign(b"hello") == theirs.sign(b"hello").signature
        VerifyKey(mine.id.key).verify(b"hello", mine.sign(b"hello"))

    def test_curve_secret_belongs_to_the_public_key(self) -> None:
        mine = Keypair.from_seed(SEED)
        assert crypto_scalarmult_base(mine.curve_secret()) == crypto_sign_ed25519_pk_to_curve25519(mine.id.key)
        assert mine.curve_secret() is mine.curve_secret()

    def test_generated_ones_differ(self) -> None:
        assert len({Keypair.generate().id for _ in range(20)}) == 20

    @pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33), bytes(64), "a" * 32, None])
    def test_seeds_have_32_bytes(self, seed: Any) -> None:
        with pytest.raises(ValueError, match="32 bytes"):
            Keypair.from_seed(seed)

    def test_nothing_shows(self) -> None:
        mine = Keypair.from_seed(SEED)
        shown = f"{mine!r} {mine} {[mine]} {mine!a}"
        assert repr(mine) == f"Keypair({mine.id.short})"
        assert not any(spelling in shown for spelling in secret_spellings(SEED))
        assert not hasattr(mine, "__dict__")

    def test_no_copies(self) -> None:
        for way in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                way(Keypair.from_seed(SEED))


class TestLoading:
    def test_a_file_of_another_program(self, tmp_path: Path) -> None:
        text = f"# this is your SECRET name.\n#\n# never show it\n\n{json.dumps(fields_of(SEED), indent=2)}\n\n# @x\n#"
        assert load_secret(write(tmp_path / "secret", text)).id == Keypair.from_seed(SEED).id

    def test_comments_behind_values_and_owner_read_only(self, tmp_path: Path) -> None:
        text = json.dumps(fields_of(SEED), indent=2).replace('519",\n', '519", # well\n')
        assert load_secret(str(write(tmp_path / "secret", text, 0o400))).id == Keypair.from_seed(SEED).id

    @pytest.mark.parametrize(
        ("without", "change"),
        [
            ((), {}),
            (("id",), {}),
            (("curve",), {}),
            (("id", "curve"), {}),
            ((), {"id": fields_of(SEED)["id"][1:]}),
            ((), {"id": fields_of(SEED)["id"][:-8]}),
            ((), {"id": fields_of(SEED)["id"][1:-8]}),
            ((), {"id": f"{'A' * 43}=.blake2s"}),
            ((), {"id": f"@{'A' * 43}=.sha256"}),
            ((), {"public": fields_of(SEED)["public"][:-8], "private": fields_of(SEED)["private"][:-8]}),
            (("id",), {"public": fields_of(SEED)["public"][:-8]}),
            ((), {"more": {"of": ["others"]}}),
        ],
    )
    @pytest.mark.parametrize(
        "way", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "wrapped", "dos"]
    )
    def test_what_ssb_keys_reads(
        self, tmp_path: Path, without: tuple[str, ...], change: dict[str, Any], way: str
    ) -> None:
        fields = {key: value for key, value in (fields_of(SEED) | change).items() if key not in without}
        text = f"# \u00e9\u00e8: never show it\n{json.dumps(fields, indent=2)}\n# your name: \u00fc\n"
        content = {
            "wrapped": text.replace(fields["private"][:40], fields["private"][:40] + "\n").encode(),
            "dos": text.replace("\n", "\r\n").encode(),
        }
        path = write(tmp_path / "secret", content[way] if way in content else text.encode(way))
        before = path.read_bytes()
        assert load_secret(path).id == Keypair.from_seed(SEED).id
        assert path.read_bytes() == before

    @posix
    @pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
    def test_its_group_may_read_it_when_we_say_so(self, tmp_path: Path, mode: int) -> None:
        path = write(tmp_path / "secret", json.dumps(fields_of(SEED)), mode)
        assert load_secret(path, allow_group_read=True).id == Keypair.from_seed(SEED).id
        if mode & 0o040:
            with pytest.raises(KeyFileError, match=r"`chmod 600` it, or --allow-group-read"):
                load_secret(path)

    @posix
    @pytest.mark.parametrize("mode", [0o444, 0o404, 0o460, 0o620, 0o450, 0o641, 0o642, 0o604])
    def test_nobody_else_may(self, tmp_path: Path, mode: int) -> None:
        path = write(tmp_path / "secret", json.dumps(fields_of(SEED)), mode)
        for allowed in (False, True):
            with pytest.raises(KeyFileError, match="others"):
                load_secret(path, allow_group_read=allowed)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("", "there is nothing in it"),
            ("# a comment\n", "there is nothing in it"),
            (b"\xff\xfe", "there is nothing in it"),
            ("[]", "no JSON object"),
            ("{", "no JSON object"),
            ('{"curve": "k256"}', "curve"),
            ("{}", "its private key"),
            (json.dumps(fields_of(SEED) | {"public": fields_of(bytes(32))["public"]}), "its public key"),
            (json.dumps(fields_of(SEED) | {"id": fields_of(bytes(32))["id"]}), "its id"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, content: str | bytes, words: str) -> None:
        with pytest.raises(KeyFileError, match=f"not a valid secret file: .*{words}"):
            load_secret(write(tmp_path / "secret", content))

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(KeyFileError, match="does not exist") as caught:
            load_secret(tmp_path / "secret")
        assert str(tmp_path) in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    def test_not_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(KeyFileError):
            load_secret(tmp_path)
        with pytest.raises(KeyFileError):
            load_secret(tmp_path, create=True)
        with pytest.raises(KeyFileError):
            load_secret("a\0b", create=True)

    @posix
    def test_a_pipe_does_not_hold_us_up(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "secret", 0o600)
        with pytest.raises(KeyFileError, match="not a file"):
            load_secret(tmp_path / "secret")

    @posix
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610, 0o601, 0o620, 0o602])
    def test_readable_or_writable_by_others(self, tmp_path: Path, mode: int) -> None:
        path = write(tmp_path / "secret", json.dumps(fields_of(SEED)), mode)
        with pytest.raises(KeyFileError, match="others"):
            load_secret(path)
        with pytest.raises(KeyFileError, match="others"):
            load_secret(path, create=True)

    @pytest.mark.parametrize(
        "change",
        [
            {"curve": "k256"},
            {"curve": None},
            {"public": fields_of(bytes(32))["public"]},
            {"id": fields_of(bytes(32))["id"]},
            {"private": fields_of(bytes(32))["private"]},
            {"public": None},
            {"id": None},
            {"id": 5},
            {"private": None},
            {"private": 5},
            {"private": ""},
            {"private": fields_of(SEED)["private"][:-9]},
            {"private": fields_of(SEED)["private"].replace(".ed25519", ".k256")},
            {"public": fields_of(SEED)["public"].replace(".ed25519", ".k256")},
            {"public": fields_of(bytes(32))["public"][:-8]},
            {"id": fields_of(bytes(32))["id"][1:]},
            {"id": fields_of(SEED)["id"].replace(".ed25519", ".k256")},
            {"id": "@"},
            {"private": fields_of(SEED)["private"][4:]},
            {"private": "AAAA" + fields_of(SEED)["private"][4:]},  # a seed that is not the public key's
            {"private": fields_of(SEED)["private"].replace("==", "=")},
            {"private": base64.b64encode(SEED + bytes(32)).decode() + ".ed25519"},
        ],
    )
    def test_malformed_or_mismatched(self, tmp_path: Path, change: dict[str, Any]) -> None:
        self.refused(tmp_path, json.dumps(fields_of(SEED) | change))

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", "5", "# a comment", "[" * 9000, b"\xff\xfe", b"\0"])
    def test_not_the_format(self, tmp_path: Path, content: str | bytes) -> None:
        self.refused(tmp_path, content)

    def test_too_long(self, tmp_path: Path) -> None:
        self.refused(tmp_path, json.dumps(fields_of(SEED)) + " " * KEY_FILE)

    @given(st.binary(max_size=300))
    def test_any_bytes(self, tmp_path: Path, content: bytes) -> None:
        self.refused(tmp_path, content)

    def refused(self, directory: Path, content: str | bytes) -> None:
        path = write(directory / "secret", content)
        before = path.read_bytes()
        for create in (False, True):
            with pytest.raises(KeyFileError) as caught:
                load_secret(path, create=create)
            error: BaseException | None = caught.value
            while error is not None:  # neither the error nor what led to it may quote the file
                shown = f"{error!r} {error} {vars(error)}"
                assert not any(spelling in shown for spelling in secret_spellings(SEED))
                error = error.__context__
        assert path.read_bytes() == before


class TestCreating:
    def test_created_once_then_read(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "directory" / "secret"
        first = load_secret(path, create=True)
        content = path.read_bytes()
        assert load_secret(path).id == load_secret(path, create=True).id == first.id
        assert path.read_bytes() == content
        assert os.listdir(path.parent) == ["secret"]

    def test_the_file_is_what_other_programs_read(self, tmp_path: Path) -> None:
        keypair = load_secret(tmp_path / "secret", create=True)
        lines = (tmp_path / "secret").read_text().splitlines()
        fields = json.loads("\n".join(line for line in lines if not line.startswith("#")))
        seed = base64.b64decode(fields["private"].removesuffix(".ed25519"))[:32]
        assert fields == fields_of(seed)
        assert keypair.id == Keypair.from_seed(seed).id

    @posix
    def test_for_the_owner_only_whatever_the_umask(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            load_secret(tmp_path / "own" / "secret", create=True)
        finally:
            os.umask(before)
        assert (tmp_path / "own" / "secret").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700

    @posix
    def test_a_dangling_link_is_not_written_through(self, tmp_path: Path) -> None:
        (tmp_path / "secret").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(KeyFileError):
            load_secret(tmp_path / "secret", create=True)
        assert not (tmp_path / "elsewhere").exists()

    def test_many_at_a_time_get_the_same(self, tmp_path: Path) -> None:
        found: list[FeedId] = []
        ready = threading.Barrier(8)

        def load() -> None:
            ready.wait()
            found.append(load_secret(tmp_path / "secret", create=True).id)

        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8 and len(set(found)) == 1
        assert os.listdir(tmp_path) == ["secret"]

    @posix
    def test_without_hard_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_link(*_: Any) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_link)
        first = load_secret(tmp_path / "secret", create=True)
        assert load_secret(tmp_path / "secret", create=True).id == first.id
        assert os.listdir(tmp_path) == ["secret"]

    @posix
    def test_somebody_quicker_wins_without_hard_links_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def taken(*_: Any) -> None:
            write(tmp_path / "secret", json.dumps(fields_of(SEED)))
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", taken)
        assert load_secret(tmp_path / "secret", create=True).id == Keypair.from_seed(SEED).id
        assert os.listdir(tmp_path) == ["secret"]

    def test_a_home_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        load_secret("~/.ssb/secret", create=True)
        assert (tmp_path / ".ssb" / "secret").exists()

    def test_a_directory_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(KeyFileError):
            load_secret(tmp_path / "file" / "secret", create=True)
