"""A registry that says what a test wants it to say, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from oci_wire.client import RemoteRegistry
from oci_wire.registry import Call

HOME = "https://registry.example"
CALL = Call("tests")
Handler = Callable[[httpx.Request], httpx.Response]


class Body(httpx.AsyncByteStream):
    """These chunks, then the end, or an exception in its place."""

    def __init__(self, *chunks: bytes, then: Exception | None = None) -> None:
        self.chunks, self.then = chunks, then

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk
        if self.then is not None:
            raise self.then


def answer(status: int = 200, *chunks: bytes, then: Exception | None = None, **headers: Any) -> httpx.Response:
    """Header names with underscores; the length is told unless the test tells one, or None."""
    named = {name.replace("_", "-"): str(value) for name, value in headers.items() if value is not None}
    if "content_length" not in headers:
        named["content-length"] = str(sum(map(len, chunks)))
    return httpx.Response(status, headers=named, stream=Body(*chunks, then=then))


@dataclass
class Script(httpx.AsyncBaseTransport):
    """Answers by ``handler``; ``asked`` are the requests in order, their bodies read."""

    handler: Handler
    asked: list[httpx.Request] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(request)
        return self.handler(request)

    @property
    def lines(self) -> list[str]:
        return [f"{each.method} {each.url}" for each in self.asked]

    @property
    def authorizations(self) -> list[str | None]:
        return [each.headers.get("authorization") for each in self.asked]

    def to(self, host: str) -> list[httpx.Request]:
        return [each for each in self.asked if each.url.host == host]


def remote(handler: Handler, url: str = HOME, **options: Any) -> tuple[RemoteRegistry, Script]:
    script = Script(handler)
    return RemoteRegistry(url, client=httpx.AsyncClient(transport=script), **options), script


def in_turn(answers: Sequence[httpx.Response]) -> Handler:
    """One after the other; the test fails when more is asked."""
    left = iter(answers)

    def handler(request: httpx.Request) -> httpx.Response:
        found = next(left, None)
        assert found is not None, f"not expected: {request.method} {request.url}"
        return found

    return handler
