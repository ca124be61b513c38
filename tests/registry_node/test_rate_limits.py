"""Rate limits: the same on both ways, bounded, and nobody pays for somebody else."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from oci_wire.errors import TooManyRequests
from registry_node import build, rate_limits
from registry_node.app import App
from registry_node.forwarded import Proxies
from registry_node.front import front_of
from registry_node.rate_limits import Buckets, RateLimiter, network_of
from registry_node.registries.local import LocalRegistry
from registry_node.settings import Rate, RateLimits
from tests.registry_node.conftest import DEV, READER, ROBOT, asking, settings
from tests.registry_node.images import push_image
from tests.registry_node.test_access import token_for
from tests.registry_node.test_front import served

SLOW = {"per_second": 1, "burst": 5}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rate_limits, "time", clock)
    return clock


async def ask(
    app: App, path: str = "/v2/", *, remote: str = "192.0.2.1", who: tuple[str, str] | str | None = None
) -> tuple[int, dict[str, str]]:
    """As somebody (a name with a secret, or an Authorization header) from an address."""
    if isinstance(who, tuple):
        who = "Basic " + base64.b64encode(":".join(who).encode()).decode()
    headers = [(b"host", b"box.test"), *([(b"authorization", who.encode())] if who else [])]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    path, _, query = path.partition("?")
    scope = {"type": "http", "method": "GET", "scheme": "http", "path": path, "raw_path": path.encode()}
    await app({**scope, "query_string": query.encode(), "headers": headers, "client": (remote, 1)}, receive, send)
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.fixture(params=["short", "long"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Makes the app of a node with these limits, with the short way or without."""
    with closing(LocalRegistry.open(tmp_path / "data")) as registry:

        def make(**limits: Any) -> App:
            given = settings(tmp_path, rate_limits=limits)
            return build.app_of(given, registry, reads=registry.reads if request.param == "short" else None, log=False)

        yield make


async def test_beyond_the_burst_is_429_until_time_has_passed(way: Any, clock: Clock) -> None:
    app = way(address=SLOW)
    async with asking(app, DEV) as http:
        await push_image(http, "public/api", "1.0", b"layer")
    path = "/v2/public/api/manifests/1.0"
    assert [(await ask(app, path))[0] for _ in range(7)] == [200] * 5 + [429] * 2
    status, headers = await ask(app, path)
    assert (status, headers["retry-after"]) == (429, "1")
    clock.now += 1
    assert [(await ask(app, path))[0] for _ in range(2)] == [200, 429]
    assert (await ask(app, path, remote="192.0.2.2"))[0] == 200
    clock.now += 3600
    assert [(await ask(app, path))[0] for _ in range(6)] == [200] * 5 + [429]


async def test_an_identity_is_limited_wherever_it_asks_from(way: Any, clock: Clock) -> None:
    app = way(identity=SLOW)
    async with asking(app, ROBOT) as http:
        await push_image(http, "ci/api", "1.0", b"layer")  # costs ci four of its five
    app = way(identity=SLOW)
    path, bearer = "/v2/ci/api/manifests/1.0", (await token_for(app, DEV, "repository:ci/api:pull"))["authorization"]
    found = [(await ask(app, path, who=who, remote=f"192.0.2.{n}"))[0] for n, who in enumerate((DEV, bearer) * 4)]
    assert found == [200] * 4 + [429] * 4  # the token was the first of five
    assert (await ask(app, path, who=ROBOT))[0] == 200
    assert [(await ask(app, "/v2/public/x/tags/list"))[0] for _ in range(9)] == [404] * 9  # nobody's bucket


@pytest.mark.attack("A-failed-logins")
async def test_a_burst_of_failed_logins_slows_its_address_alone(way: Any, clock: Clock) -> None:
    app = way(failed_logins=SLOW)
    async with asking(app, DEV) as http:
        await push_image(http, "ci/api", "1.0", b"layer")
    path, bearer = "/v2/ci/api/manifests/1.0", (await token_for(app, DEV, "repository:ci/api:pull"))["authorization"]
    assert (await ask(app, path, who=DEV))[0] == 200
    guesses = [(await ask(app, path, who=("dev", f"guess {n}")))[0] for n in range(7)]
    assert guesses == [401] * 5 + [429] * 2
    assert (await ask(app, path, who=DEV))[0] == 429  # the right one tells nothing either, on the short way neither
    assert (await ask(app, "/auth/token?service=box", who=DEV))[0] == 429
    assert (await ask(app, path, who=bearer))[0] == 200
    assert (await ask(app, path, who=ROBOT))[0] == 200  # another name behind the same address
    assert (await ask(app, path, who=DEV, remote="192.0.2.2"))[0] == 200
    clock.now += 2
    assert (await ask(app, path, who=DEV))[0] == 200


@pytest.mark.attack("A-failed-logins")
async def test_guessing_over_many_names_is_slowed_too(way: Any, clock: Clock) -> None:
    app = way(failed_logins=SLOW)
    found = [(await ask(app, who=(f"name-{n}", "x")))[0] for n in range(60)]
    assert found == [401] * 50 + [429] * 10


async def test_right_passwords_cost_nothing(way: Any, clock: Clock) -> None:
    app = way(failed_logins={"per_second": 0.001, "burst": 1})
    assert {(await ask(app, who=who))[0] for _ in range(20) for who in (DEV, READER, ROBOT)} == {200}


async def test_the_401s_before_a_login_are_no_failed_logins(way: Any, clock: Clock) -> None:
    """docker and podman ask first without anything, then for a token, then for twenty layers."""
    app = way(address={"per_second": 1, "burst": 23}, failed_logins={"per_second": 0.001, "burst": 1})
    assert (await ask(app))[0] == 401
    status, _ = await ask(app, "/auth/token?scope=repository:ci/api:pull", who=DEV)
    assert status == 200
    assert [(await ask(app, "/v2/ci/api/tags/list", who=DEV))[0] for _ in range(21)] == [404] * 21
    assert (await ask(app, "/v2/ci/api/tags/list", who=DEV))[0] == 429


async def test_probes_are_never_counted(way: Any, clock: Clock) -> None:
    app = way(address={"per_second": 0.001, "burst": 1})
    for path in ("/healthz", "/readyz", "/metrics"):
        assert {(await ask(app, path))[0] for _ in range(10)} == {200}
    assert [(await ask(app))[0] for _ in range(2)] == [401, 429]
    assert (await ask(app, "/readyz"))[0] == 200


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "unix", False),
        ("no:address", "no:other", False),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same


def test_memory_is_bounded_and_a_busy_bucket_is_not_forgotten() -> None:
    buckets = Buckets(Rate(per_second=1, burst=2), most=100)
    for n in range(10_000):
        if n % 50 == 0:
            buckets.take("busy", 0.0)
        buckets.take(f"address {n}", 0.0)
        assert len(buckets) <= 200
    assert buckets.wait("busy", 0.0) > 100  # seconds: 200 were taken


@hypothesis_settings(deadline=None)
@given(st.lists(st.floats(0, 3), max_size=60), st.integers(1, 5), st.floats(0.5, 5))
def test_no_more_than_burst_and_rate_are_let_in(gaps: list[float], burst: int, rate: float) -> None:
    """In every stretch of time at most ``burst`` and ``rate`` times its length, and at least one after 1/rate."""
    buckets, now, let_in = Buckets(Rate(per_second=rate, burst=burst)), 1000.0, list[float]()
    for gap in gaps:
        now += gap
        if buckets.wait("x", now) <= 0:
            buckets.take("x", now)
            let_in.append(now)
        else:
            assert now - let_in[-1] < 1 / rate + 1e-9
    for start in range(len(let_in)):
        for end in range(start, len(let_in)):
            assert end - start + 1 <= burst + rate * (let_in[end] - let_in[start]) + 1e-6


def test_new_limits_begin_anew_and_the_same_ones_go_on() -> None:
    limits = RateLimits(address=Rate(per_second=0.001, burst=1))
    limiter = RateLimiter(limits)
    assert limiter.admits("192.0.2.1", "")
    limiter.keep_or_replace(limits)
    assert not limiter.admits("192.0.2.1", "")
    limiter.keep_or_replace(RateLimits(address=Rate(per_second=0.001, burst=2)))
    limiter.check_address("192.0.2.1")
    limiter.check_address("192.0.2.1")
    with pytest.raises(TooManyRequests) as refused:
        limiter.check_address("192.0.2.1")
    assert refused.value.retry_after == pytest.approx(1000, abs=1)


@pytest.mark.attack("A-failed-logins")
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("reads", [True, False], ids=["short", "long"])
async def test_behind_a_proxy_it_is_the_clients_address(tmp_path: Path, declared: bool, reads: bool) -> None:
    """What an undeclared peer writes about its address makes it nobody else."""
    given = settings(tmp_path, rate_limits={"address": {"per_second": 0.001, "burst": 3}})
    proxies = Proxies([ipaddress.ip_network("127.0.0.0/8")] if declared else [], "x-forwarded")
    with closing(LocalRegistry.open(given.data)) as registry:
        async with asking(build.app_of(settings(tmp_path), registry, log=False), DEV) as http:
            await push_image(http, "public/api", "1.0", b"layer")
        app = build.app_of(given, registry, reads=registry.reads if reads else None, log=False)
        front = front_of(app.at_once, given.limits, app.refused, proxies)
        async with served(app, front) as port, httpx.AsyncClient(trust_env=False) as http:
            url = f"http://127.0.0.1:{port}/v2/public/api/manifests/1.0"
            asked = ("192.0.2.1", "192.0.2.2") * 4
            found = [(await http.get(url, headers={"x-forwarded-for": each})).status_code for each in asked]
    assert found == ([200] * 6 + [429] * 2 if declared else [200] * 3 + [429] * 5)
