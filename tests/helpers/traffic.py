"""What a peer may send: packets good and bad, boxed well or badly, from one seed."""

from __future__ import annotations

import random
import struct

from ssbfast.pure import Sealer

BODIES = (1, 1, 2, 4, 9, 60, 200, 1000, 4078, 4087, 4088, 4096, 5000, 9000, 20_000)


def raw(flags: int, req: int, body: bytes, length: int | None = None) -> bytes:
    """A packet as it is on the wire. length: what the head says, if it is to lie."""
    return struct.pack(">BIi", flags, len(body) if length is None else length, req) + body


class Traffic:
    """An endless sender on one connection.

    reqs: the numbers that it likes to use. hostile: how often (0..1) a packet or box is one that it must not send.
    """

    def __init__(self, rng: random.Random, key: bytes, nonce: bytes, reqs: list[int], hostile: float) -> None:
        self.rng = rng
        self.reqs = reqs
        self.hostile = hostile
        self._sealer = Sealer(key, nonce)
        self._wire = b""
        self._ended = False
        self._style = rng.choice(("merged", "js", "crumbs"))

    def take(self) -> bytes:
        """The next bytes from the socket: any number, cut anywhere."""
        rng = self.rng
        longest = rng.choice((1, 40, 500, 5000, 40_000))
        while len(self._wire) < longest and not self._ended:
            self._more()
        n = rng.randint(min(1, longest), longest)
        piece, self._wire = self._wire[:n], self._wire[n:]
        if piece and rng.random() < self.hostile / 4:
            damaged = bytearray(piece)
            damaged[rng.randrange(len(piece))] ^= 1 << rng.randrange(8)
            piece = bytes(damaged)
        return piece

    def _more(self) -> None:
        rng = self.rng
        if rng.random() < self.hostile / 10:
            self._wire += self._sealer.goodbye() + (b"more" if rng.random() < 0.3 else b"")
            self._ended = True
            return
        plain = b"".join(self.packet() for _ in range(rng.choice((1, 1, 3, 12))))
        if self._style == "merged":
            sizes = [4096]
        elif self._style == "js":
            sizes = [9, 4096]
        else:
            sizes = [rng.choice((1, 8, 9, 10, 100, 3000)) for _ in range(5)]
        at = turn = 0
        while at < len(plain):
            n = sizes[turn % len(sizes)]
            self._wire += self._sealer.seal(plain[at : at + n])
            at += n
            turn += 1

    def packet(self) -> bytes:
        rng = self.rng
        req = rng.choice(self.reqs)
        dice = rng.random()
        if dice < self.hostile:
            return self._odd(req)
        size = rng.choice(BODIES)
        body = rng.randbytes(size)
        if dice < 0.6:
            return raw(8, req, body)
        if dice < 0.7:
            return raw(0x0A, req, body[:500])
        if dice < 0.75:
            return raw(0x0E, req, b"true")
        return raw(rng.choice((0, 1, 2, 4, 5, 6, 8, 9, 0x0A, 0x0C, 0x0D, 0x0E, 0xF8, 0x1A)), req, body[:2000])

    def _odd(self, req: int) -> bytes:
        rng = self.rng
        kind = rng.randrange(8)
        if kind == 0:
            return raw(rng.choice((3, 7, 0x0B, 0xFF)), req, b"x") if rng.random() < 0.2 else bytes(9)
        if kind == 1:
            return raw(2, req, b"", length=rng.choice((100_000, 2**31, 2**32 - 1))) if rng.random() < 0.2 else b""
        if kind == 2:
            return raw(rng.choice((2, 8, 0x0A)), 0, rng.randbytes(rng.choice((0, 5, 300))))
        if kind == 3:
            return bytes(9)
        return raw(rng.choice((0, 2, 4, 8, 9, 0x0A, 0x0E, 0x88)), req, b"")
