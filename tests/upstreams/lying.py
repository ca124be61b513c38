"""An upstream that lies: honest holdings, and a plan that spoils answers, the same ones for the same seed."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Self

from tests.upstreams import faults
from tests.upstreams.faults import Fault
from tests.upstreams.holdings import Holdings, Route
from tests.upstreams.serving import Reply, Request, Server, refusal


class Plan:
    """Which answers are spoilt, and how. ``share`` of the answers that carry content; ``slow`` of those take time.

    ``done`` counts the faulty answers by name. ``kinds``: of requests that it spoils (Route.kind); ``methods`` too."""

    def __init__(
        self,
        seed: int = 0,
        *,
        share: float = 1.0,
        slow: float = 0.02,
        among: Sequence[Fault] = faults.QUICK,
        slow_among: Sequence[Fault] = faults.SLOW,
        kinds: Sequence[str] = ("manifests", "blobs"),
        methods: Sequence[str] = ("GET",),
    ) -> None:
        self._random, self.share, self.slow = Random(seed), share, slow
        self.among, self._slow_among, self._kinds, self._methods = tuple(among), tuple(slow_among), kinds, methods
        self.done: Counter[str] = Counter()

    def stop(self) -> None:
        """From here on all answers are honest."""
        self.share = 0.0

    def spoilt(self, request: Request, honest: Reply) -> Reply:
        route = Route.of(request.path)
        spoils = route is not None and route.kind in self._kinds and request.method in self._methods
        if not spoils or honest.status not in (200, 206, 304) or self._random.random() >= self.share:
            return honest
        slow = self.slow and self._random.random() < self.slow
        fault = self._random.choice(self._slow_among if slow else self.among)
        self.done[fault.__name__] += 1
        return fault(request, honest, self._random).but(fault=fault.__name__)


class LyingUpstream:
    """``holdings`` is the truth; ``server.seen`` what it was asked. ``basic``: user:password without which it says 401.

    ``stranger`` is another server, on another host, that gives wrong bytes of the right length to everybody and keeps
    what it was sent; ``to_stranger`` and ``realm_at_stranger`` are faults that lead there."""

    def __init__(self, plan: Plan | None = None, *, basic: str = "") -> None:
        self.holdings, self.plan = Holdings(), plan or Plan(share=0.0)
        self._basic = f"Basic {base64.b64encode(basic.encode()).decode()}" if basic else ""
        self.server = Server(self._answer)
        self.stranger = Server(self._strange, "127.0.0.9")

    def __enter__(self) -> Self:
        self.server.start()
        self.stranger.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()
        self.stranger.close()

    @property
    def url(self) -> str:
        return self.server.url

    def to_stranger(self, request: Request, reply: Reply, random: Random) -> Reply:
        """Content is said to lie on a host that nobody has declared."""
        return Reply(307, {"location": f"{self.stranger.url}{request.path}"})

    def realm_at_stranger(self, request: Request, reply: Reply, random: Random) -> Reply:
        """Whoever wants a token shall ask a host that nobody has declared, and as whom."""
        challenge = f'Bearer realm="{self.stranger.url}/token",service="registry"'
        return refusal(401, "UNAUTHORIZED", www_authenticate=challenge)

    def _answer(self, request: Request) -> Reply:
        if self._basic and request.headers.get("authorization") != self._basic:
            return refusal(401, "UNAUTHORIZED", www_authenticate='Basic realm="upstream"')
        return self.plan.spoilt(request, self.holdings.answer(request))

    def _strange(self, request: Request) -> Reply:
        if request.path == "/token":
            return Reply(200, {"content-type": "application/json"}, b'{"token": "from-a-stranger"}')
        honest = self.holdings.answer(request)
        return faults.other_bytes(request, honest, Random(0)) if honest.body else honest
