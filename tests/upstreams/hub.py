"""A Docker Hub of the tests: three hosts, as the real one has.

- the registry: images of the ``library/`` under that name only; whoever shows no token gets 401 with the realm of
- the token service: Bearer for ``registry.docker.io``, to anybody or to a user by Basic; a token for what is not there
  is worth nothing, so that absent and private look alike (401), as at the Hub;
- the storage: blobs come from there by 307; it refuses every request that carries an Authorization header.

Manifests by GET are counted against a budget, told in ``ratelimit-*`` headers; HEAD is free; what is over gets 429.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from typing import Self

from tests.upstreams.holdings import Holdings, Image, Route, blob
from tests.upstreams.serving import Reply, Request, Server, refusal

SERVICE = "registry.docker.io"
WINDOW = 21_600
SPENT = "You have reached your pull rate limit. You may increase the limit by authenticating and upgrading"


class FakeHub:
    """``holdings`` is what it has; ``budget``: manifests for anybody, and for each user. ``users``: name to password.

    ``registry``, ``tokens`` and ``storage`` are its servers, each with all that it was asked (``seen``)."""

    def __init__(
        self, *, budget: int = 100, retry_after: int = 60, users: Mapping[str, str] | None = None, life: float = 300
    ) -> None:
        self.holdings, self.budget, self.retry_after, self.users = Holdings(), budget, retry_after, dict(users or {})
        self._life = life
        self._known: dict[str, tuple[str, str, float]] = {}  # token -> who, repository that it opens, until when
        self.spent: Counter[str] = Counter()  # by who; "" is anybody
        self.registry = Server(self._answer, "127.0.0.1")
        self.tokens = Server(self._token, "127.0.0.2")
        self.storage = Server(self._stored, "127.0.0.3")

    def __enter__(self) -> Self:
        for each in (self.registry, self.tokens, self.storage):
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """The outage: nobody answers any more."""
        for each in (self.registry, self.tokens, self.storage):
            each.close()

    @property
    def url(self) -> str:
        return self.registry.url

    def objects(self) -> Counter[str]:
        """How often each was sent: manifests by the registry, blobs by the storage; ``GET name reference``."""
        found: Counter[str] = Counter()
        for request in self.registry.seen:
            route = Route.of(request.path)
            if route is not None and route.kind == "manifests" and "authorization" in request.headers:
                found[f"{request.method} {route.repository} {route.reference}"] += 1
        for request in self.storage.seen:
            _, repository, digest = request.path.split("::")
            found[f"{request.method} {repository} {digest}"] += 1
        return found

    def image(self, name: str, *layers: bytes, tags: tuple[str, ...] = ("latest",)) -> Image:
        """``name``: as people say it; a plain one lies below library/."""
        return self.holdings.image(name if "/" in name else f"library/{name}", *layers, tags=tags)

    def forget_tokens(self) -> None:
        """All that were given are worth nothing from here on."""
        self._known.clear()

    def _answer(self, request: Request) -> Reply:
        route = Route.of(request.path)
        wanted = route.repository if route else ""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        who, opens, until = self._known.get(token, ("", "-", 0.0)) if scheme == "Bearer" else ("", "-", 0.0)
        if until < time.monotonic() or (wanted and opens != wanted):
            return self._challenge(wanted, error="insufficient_scope" if token in self._known else "")
        if route is None or route.kind not in ("manifests", "blobs"):
            return self.holdings.answer(request)
        if route.kind == "manifests":
            return self._counted(request, who)
        honest = self.holdings.answer(request)
        if honest.status >= 400 or request.method == "HEAD":
            return honest
        place = f"{self.storage.url}/registry-v2::{route.repository}::{route.reference}?verify={secrets.token_hex(8)}"
        return Reply(307, {"location": place})

    def _challenge(self, repository: str, error: str) -> Reply:
        scope = f',scope="repository:{repository}:pull"' if repository else ""
        more = f',error="{error}"' if error else ""
        challenge = f'Bearer realm="{self.tokens.url}/token",service="{SERVICE}"{scope}{more}'
        return refusal(401, "UNAUTHORIZED", "authentication required", www_authenticate=challenge)

    def _counted(self, request: Request, who: str) -> Reply:
        if request.method == "GET":
            if self.spent[who] >= self.budget:
                return refusal(429, "TOOMANYREQUESTS", SPENT, retry_after=str(self.retry_after), **self._limits(who))
            self.spent[who] += 1
        return self.holdings.answer(request).with_headers(**self._limits(who))

    def _limits(self, who: str) -> dict[str, str]:
        left = max(0, self.budget - self.spent[who])
        return {
            "ratelimit_limit": f"{self.budget};w={WINDOW}",
            "ratelimit_remaining": f"{left};w={WINDOW}",
            "docker_ratelimit_source": who or "127.0.0.1",
        }

    def _token(self, request: Request) -> Reply:
        scheme, _, basic = request.headers.get("authorization", "").partition(" ")
        who, _, password = base64.b64decode(basic).decode().partition(":") if scheme == "Basic" else ("", "", "")
        if who and self.users.get(who) != password:
            return Reply(401, {"content-type": "application/json"}, b'{"details":"incorrect username or password"}')
        if request.query.get("service") != SERVICE:
            return Reply(400, {"content-type": "application/json"}, b'{"details":"service is wrong"}')
        token = secrets.token_urlsafe(24)
        wanted = request.query.get("scope", "repository::").split(":")[1]
        opens = wanted if wanted in self.holdings.repositories else ""
        self._known[token] = (who, opens, time.monotonic() + self._life)
        given = {"token": token, "access_token": token, "expires_in": int(self._life)}
        return Reply(200, {"content-type": "application/json"}, json.dumps(given).encode())

    def _stored(self, request: Request) -> Reply:
        if "authorization" in request.headers:
            return Reply(400, {"content-type": "application/xml"}, b"<Error><Code>InvalidArgument</Code></Error>")
        _, repository, digest = request.path.split("::")
        return blob(request, self.holdings.repositories[repository].blobs[digest], digest)
