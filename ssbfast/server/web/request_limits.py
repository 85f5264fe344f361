"""What one address may ask of a web site a minute: token buckets that are checked before work is done. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ssbfast import limits
from ssbfast.budgets import Bucket, Rate, Rings
from ssbfast.tables import compact


def _in(count: int, seconds: float) -> Rate:
    return Rate(count / seconds, float(count))


RATES: Final[Mapping[str, Rate]] = {
    "requests": _in(limits.WEB_REQUESTS, 60.0),
    "claims": _in(limits.WEB_CLAIMS, 60.0),
    "aliases": _in(limits.WEB_ALIASES, 60.0),
    "misses": _in(limits.WEB_MISSES, 60.0),
    "sign_ins": _in(limits.WEB_SIGN_INS, 60.0),
    "passwords": _in(limits.PASSWORD_TRIES_PER_ADDRESS, limits.PASSWORD_SECONDS),
    "passwords_of_key": _in(limits.PASSWORD_TRIES, limits.PASSWORD_SECONDS),
    "invites": _in(limits.INVITES_PER_KEY, 86_400.0),
}


@dataclass(frozen=True, slots=True)
class TooMany(Exception):
    """Too much was asked. seconds: after so long it may be asked again."""

    seconds: float


class RequestLimits:
    """The buckets of all addresses and keys: `WEB_BUCKETS` of them."""

    def __init__(self, rates: Mapping[str, Rate] = RATES) -> None:
        self.rates = dict(rates)
        self._buckets: dict[tuple[str, str], Bucket] = {}  # the one used last is the last

    def __len__(self) -> int:
        return len(self._buckets)

    def compact(self) -> None:
        """Give back the memory that a crowd has left behind."""
        compact(self._buckets)

    def spend(self, kind: str, accounts: Rings, now: float) -> None:
        """Charge one unit. A unit that is refused is not charged.

        Args:
            kind: A name of `RATES`.
            accounts: The networks of an address, widest first; or a key. Each wider network has twice as much.
            now: Seconds of a clock that does not jump.

        Raises:
            TooMany: There is none left.
        """
        self.check(kind, accounts, now)
        for account, rate in self._rates_of(kind, accounts):
            self._bucket(kind, account, now).spend(1, rate.rate, now)

    def check(self, kind: str, accounts: Rings, now: float) -> None:
        """Raise TooMany if there is no unit left; charge none."""
        for account, rate in self._rates_of(kind, accounts):
            bucket = self._buckets.get((kind, account))
            if bucket is not None and (wait := rate.wait(bucket.level(rate.rate, now) + 1)) > 0:
                raise TooMany(wait)

    def _rates_of(self, kind: str, accounts: Rings) -> Iterator[tuple[str, Rate]]:
        rate = self.rates[kind]
        for at, account in enumerate(accounts):
            wider = 1 << (len(accounts) - 1 - at)
            yield account, Rate(rate.rate * wider, rate.burst * wider)

    def _bucket(self, kind: str, account: str, now: float) -> Bucket:
        bucket = self._buckets.pop((kind, account), None)
        if bucket is None:
            bucket = Bucket(now)
            if len(self._buckets) >= limits.WEB_BUCKETS:
                del self._buckets[next(iter(self._buckets))]
        self._buckets[kind, account] = bucket
        return bucket
