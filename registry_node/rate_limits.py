"""How many requests a caller may send: by identity, by address, and far fewer logins that fail.

A bucket is one number, the time at which it will be empty again (GCRA: ITU-T I.371, "virtual scheduling"), so a
request costs about a microsecond. Old buckets are forgotten a generation at a time: memory is bounded whatever the
number of addresses that ask. A request that is refused costs its sender nothing.

Callers without a name share no bucket but their address's: one of them must not use up what the others have.
"""

from __future__ import annotations

import ipaddress
import time
from functools import lru_cache

from oci_wire.errors import TooManyRequests
from registry_node.settings import Rate, RateLimits

_BUCKETS = 65536  # of each kind that are remembered, at least
_ALL_NAMES = 10  # an address may fail so many times as often over all names as it may with one


@lru_cache(maxsize=_BUCKETS)
def network_of(remote: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 one (RFC 4291: what one host is given)."""
    if ":" not in remote:
        return remote
    try:
        address = ipaddress.IPv6Address(remote.partition("%")[0])
    except ValueError:
        return remote
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(address) >> 64 << 64))


class Buckets:
    """One kind of bucket for many keys. Times are seconds of a monotonic clock."""

    def __init__(self, rate: Rate, *, times: int = 1, most: int = _BUCKETS) -> None:
        self._interval = 1 / (rate.per_second * times)
        self._slack = (rate.burst * times - 1 + 1e-6) * self._interval  # a little more than sums of floats lose
        self._most = most
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}

    def wait(self, key: str, now: float) -> float:
        """Seconds until one more is let in; zero or less: now."""
        return self._empty_at(key) - self._slack - now

    def take(self, key: str, now: float) -> None:
        if len(self._young) >= self._most:
            self._young, self._old = {}, self._young
        self._young[key] = max(self._empty_at(key), now) + self._interval

    def give_back(self, key: str) -> None:
        """Undoes one ``take``."""
        self._young[key] = self._empty_at(key) - self._interval

    def _empty_at(self, key: str) -> float:
        found = self._young.get(key)
        return found if found is not None else self._old.get(key, 0.0)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class RateLimiter:
    """The buckets of one node; asked before an answer, on the short way and on the long one alike."""

    def __init__(self, limits: RateLimits) -> None:
        self.replace(limits)

    def replace(self, limits: RateLimits) -> None:
        """From now on these limits; every bucket starts full."""
        self._limits = limits
        self._identities = Buckets(limits.identity) if limits.identity else None
        self._addresses = Buckets(limits.address) if limits.address else None
        failed = limits.failed_logins
        self._failed = Buckets(failed) if failed else None
        self._failed_anyhow = Buckets(failed, times=_ALL_NAMES) if failed else None
        self._any = any((limits.identity, limits.address, failed))

    def keep_or_replace(self, limits: RateLimits) -> None:
        """A reload that does not change the limits leaves every bucket as it is."""
        if limits != self._limits:
            self.replace(limits)

    def admits(self, remote: str, name: str) -> bool:
        """Whether this request may be answered at once; then it counts. ``name`` "" is anonymous. False: the long way
        decides, and says why."""
        if not self._any:
            return True
        now = time.monotonic()
        network = network_of(remote)
        if self._addresses is not None and self._addresses.wait(network, now) > 0:
            return False
        if name and not self._admits_named(network, name, now):
            return False
        if self._addresses is not None:
            self._addresses.take(network, now)
        return True

    def _admits_named(self, network: str, name: str, now: float) -> bool:
        if self._login_wait(network, name, now) > 0:
            return False
        if self._identities is not None:
            if self._identities.wait(name, now) > 0:
                return False
            self._identities.take(name, now)
        return True

    def check_address(self, remote: str) -> None:
        """Counts a request of this address. Raises TooManyRequests."""
        if self._addresses is not None:
            _take(self._addresses, network_of(remote), "this address sends too many requests", "rate-address")

    def check_identity(self, name: str) -> None:
        """Counts a request of somebody who has proven to be ``name``. Raises TooManyRequests."""
        if self._identities is not None and name:
            _take(self._identities, name, f"{name} sends too many requests", "rate-identity")

    def check_login(self, remote: str, name: str) -> None:
        """Before a secret is looked at, a right one too: else the answer would tell right from wrong. Raises
        TooManyRequests."""
        wait = self._login_wait(network_of(remote), name, time.monotonic())
        if wait > 0:
            raise TooManyRequests("too many failed logins from this address", retry_after=wait, why="rate-logins")

    def login_failed(self, remote: str, name: str) -> None:
        """Counts a guess. It counts while it is being checked, so that many at once are no way around."""
        if self._failed is None or self._failed_anyhow is None:
            return
        now, network = time.monotonic(), network_of(remote)
        self._failed.take(f"{network} {name}", now)
        self._failed_anyhow.take(network, now)

    def login_was_right(self, remote: str, name: str) -> None:
        """Undoes ``login_failed`` for a guess that turned out to be right."""
        if self._failed is None or self._failed_anyhow is None:
            return
        network = network_of(remote)
        self._failed.give_back(f"{network} {name}")
        self._failed_anyhow.give_back(network)

    def _login_wait(self, network: str, name: str, now: float) -> float:
        if self._failed is None or self._failed_anyhow is None:
            return 0.0
        return max(self._failed.wait(f"{network} {name}", now), self._failed_anyhow.wait(network, now))


def _take(buckets: Buckets, key: str, what: str, why: str) -> None:
    now = time.monotonic()
    wait = buckets.wait(key, now)
    if wait > 0:
        raise TooManyRequests(f"{what}; wait and try again", retry_after=wait, why=why)
    buckets.take(key, now)
