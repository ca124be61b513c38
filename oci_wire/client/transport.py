"""One request and its answer: authorisation, redirects, deadlines, and errors as classes of ``errors.py``."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

import httpx

from oci_wire import errors
from oci_wire.client.attempts import Retry, retry_after
from oci_wire.client.credentials import Origin, Source, step
from oci_wire.client.long_bodies import LONG_BODY, past_the_parser, told_length
from oci_wire.client.tokens import NOTHING, Authority, Need
from oci_wire.errors import (
    Internal,
    LoginRefused,
    RegistryError,
    TimedOut,
    Unauthorized,
    Unavailable,
    Unreachable,
    Unsupported,
    Untrusted,
)
from oci_wire.registry import VIA, Call, Chunks
from oci_wire.streams import close

if find_spec("sniffio") is None:  # httpcore looks for it with each lock: a search of all folders, five in a request
    sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type] # "not there", as the import system has it
MAX_REDIRECTS = 5
MAX_ERROR_BYTES = 64 * 1024
ERROR_SECONDS, TOKEN_SECONDS = 10.0, 60.0  # for the whole body: a byte now and then keeps no read timeout waiting
MAX_BODY_BYTES = 32 * 1024 * 1024
REDIRECTS = (301, 302, 303, 307, 308)
NOTES = ("age", "warning")  # what a mirror says of an answer that may be old (RFC 9111)
_NOTE = re.compile(r"[\x20-\x7e]{1,500}")
_AUTH_ROUNDS = 3  # no token yet, a token that no longer counts, the answer
_HTTP_FAULTS = (httpx.TransportError, httpx.DecodingError, httpx.StreamError)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. ``target`` is a path of the registry, or a URL that it gave us.

    ``default`` is what a bare 404 means; ``expect`` are the statuses that are no error."""

    method: str
    target: str | httpx.URL
    need: Need = NOTHING
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | Chunks = b""  # a stream is sent once: such a request is not for ``send``
    expect: tuple[int, ...] = (200,)
    default: type[RegistryError] | None = None
    limit: int = MAX_BODY_BYTES
    patience: float | None = None  # seconds to wait for the next bytes, None: the HTTP client's own


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, read to its end."""

    status: int
    headers: httpx.Headers
    content: bytes
    url: httpx.URL

    def json(self) -> Any:
        """Raises Internal: whoever answered is no registry."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            raise Internal(f"{Origin.of(self.url)} answered something that is not JSON") from None


class Transport:
    """Talks to one registry. ``url`` is its origin with the base path, e.g. ``https://host:5000/registry``; ``front``
    says that it stands before others (remote.py)."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        *,
        credentials: Source,
        realms: frozenset[str],
        retry: Retry,
        clock: Callable[[], float],
        front: bool = False,
    ) -> None:
        self._client, self._front = client, front
        self._base = httpx.URL(url.rstrip("/") + "/")
        self.home = Origin.of(self._base)
        self._authority = Authority(self.home, credentials, self._fetch_token, realms, clock)
        self.retry = retry

    def locate(self, target: str | httpx.URL) -> httpx.URL:
        """The whole URL of a path of this registry; a URL stays what it is."""
        if isinstance(target, httpx.URL):
            return target
        path = self._base.raw_path.rstrip(b"/") + target.encode("ascii")
        return self._base.copy_with(raw_path=path)

    def follow(self, answer_url: httpx.URL, location: str) -> httpx.URL:
        """The URL of a Location or Link, checked. Raises Unsupported."""
        return step(self.home, answer_url, location)

    def is_home(self, url: httpx.URL) -> bool:
        """Whether a URL is on the registry's own origin and under its base path."""
        return Origin.of(url) == self.home and url.raw_path.startswith(self._base.raw_path)

    async def send(self, call: Call, ask: Ask) -> Answer:
        """Asks, again when ``retry`` says so. Raises what the answer means."""
        return await self.retry(lambda: self.send_once(call, ask))

    async def send_once(self, call: Call, ask: Ask) -> Answer:
        async with self.opened(call, ask) as response:
            with faults(self.home):
                async with asyncio.timeout(call.remaining()):
                    content = b"" if ask.method == "HEAD" else await _read(response, ask.limit)
            return Answer(response.status_code, response.headers, content, response.url)

    @asynccontextmanager
    async def opened(self, call: Call, ask: Ask) -> AsyncIterator[httpx.Response]:
        """The response, its body still to be read. Raises what an unexpected status means."""
        response = await self.open(call, ask)
        try:
            yield response
        finally:
            await response.aclose()

    async def open(self, call: Call, ask: Ask) -> httpx.Response:
        """The caller closes it."""
        response = await self._authorised(call, ask)
        if response.status_code in ask.expect:
            if self._front:
                call.notes.update(_notes(response))
            return response
        try:
            raise await _error(response, ask.default)
        finally:
            await response.aclose()

    async def _authorised(self, call: Call, ask: Ask) -> httpx.Response:
        url = self.locate(ask.target)
        if self._front and call.ns and ask.method in ("GET", "HEAD"):
            url = url.copy_set_param("ns", call.ns)
        for attempt in range(_AUTH_ROUNDS):
            known = await self._authority.header(ask.need) if Origin.of(url) == self.home else None
            response = await self._redirected(call, ask, url, known)
            asked = response.status_code == 401 and Origin.of(response.url) == self.home
            last = attempt == _AUTH_ROUNDS - 1
            if not asked or last or not await self._authority.learn(ask.need, known, response.headers):
                return response
            await response.aclose()
        raise AssertionError("unreachable")

    async def _redirected(self, call: Call, ask: Ask, url: httpx.URL, authorization: str | None) -> httpx.Response:
        """Reads follow redirects; on another origin they carry no credentials."""
        for _ in range(MAX_REDIRECTS + 1):
            mine = authorization if Origin.of(url) == self.home else None
            response = await self._exchange(call, ask, url, mine)
            if response.status_code not in REDIRECTS or response.status_code in ask.expect:
                return response
            await response.aclose()
            if ask.method not in ("GET", "HEAD"):
                raise Unsupported(f"{self.home} redirects a {ask.method}; use the address that it leads to")
            url = self.follow(url, response.headers.get("location", ""))
        raise Unsupported(f"{self.home} redirects more than {MAX_REDIRECTS} times")

    async def _exchange(self, call: Call, ask: Ask, url: httpx.URL, authorization: str | None) -> httpx.Response:
        headers = {"Accept-Encoding": "identity", "User-Agent": "towpath", **ask.headers}
        if Origin.of(url) == self.home:
            headers["X-Request-Id"] = call.request_id
            if call.via:
                headers[VIA] = ",".join(call.via)
        if authorization:
            headers["Authorization"] = authorization
        request = httpx.Request(ask.method, url, headers=headers, content=ask.content)
        return await self._send(call, request, ask.patience)

    async def _send(self, call: Call, request: httpx.Request, patience: float | None = None) -> httpx.Response:
        request.extensions["timeout"] = self._client.timeout.as_dict()
        if patience is not None:
            request.extensions["timeout"]["read"] = patience
        with faults(Origin.of(request.url)):
            async with asyncio.timeout(call.remaining()):
                return await self._sent(request)

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        """An idle connection may end just when a request is on its way: a read is then asked once more (RFC 9112
        section 9.3.1), over another one."""
        connection = _Connection()
        request.extensions["trace"] = connection.traced
        send = partial(self._client.send, request, stream=True, auth=None, follow_redirects=False)
        try:
            return await send()
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            if not connection.idle or request.method not in ("GET", "HEAD"):
                raise
            return await send()

    async def _fetch_token(self, request: httpx.Request) -> bytes:
        request.headers["Accept-Encoding"] = "identity"
        response = await self._send(Call(), request)
        try:
            if response.status_code in (400, 401, 403):
                raise _refused(request, response)
            if response.status_code != 200:
                raise await _error(response, None)
            with faults(Origin.of(request.url)):
                async with asyncio.timeout(TOKEN_SECONDS):
                    return await _read(response, MAX_ERROR_BYTES * 16)
        finally:
            await response.aclose()


class _Connection:
    """What one request was sent over. ``idle``: it had carried another one before."""

    def __init__(self) -> None:
        self.idle = self._connected = False

    async def traced(self, event: str, facts: Mapping[str, Any]) -> None:
        """httpcore's ``trace`` extension."""
        if event == "connection.connect_tcp.complete":
            self._connected, self.idle = True, getattr(facts["return_value"], "kept", False)
        elif event == "http11.send_request_headers.started":
            self.idle = self.idle or not self._connected


def _refused(request: httpx.Request, response: httpx.Response) -> Unauthorized:
    """By a token service: the credentials that it was shown, or whoever showed none."""
    shown = "authorization" in request.headers or request.method == "POST"
    where = f"{Origin.of(request.url)} refused {'these credentials' if shown else 'a token without credentials'}"
    return (LoginRefused if shown else Unauthorized)(f"{where} ({response.status_code})")


def _notes(response: httpx.Response) -> dict[str, str]:
    found = {name: response.headers.get(name, "") for name in NOTES}
    return {name: value for name, value in found.items() if _NOTE.fullmatch(value)}


@contextmanager
def faults(where: Origin) -> Iterator[None]:
    """Turns what goes wrong on the way into Unreachable, TimedOut or Untrusted."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise TimedOut(f"{where} did not answer in time") from error
    except TimeoutError as error:
        raise TimedOut(f"{where} did not answer before the deadline of this call") from error
    except httpx.InvalidURL as error:  # httpx reads a Location, followed or not
        raise Unsupported(f"{where} leads to what is no URL: {error}") from error
    except _HTTP_FAULTS as error:
        if _is_distrust(error):
            raise Untrusted(f"{where}: {error}") from error
        raise Unreachable(f"{where}: {error or type(error).__name__}") from error


def _is_distrust(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


async def raw(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it came over the wire."""
    if response.is_stream_consumed:  # a transport that gives whole bodies
        yield response.content
        return
    left = told_length(response)
    chunks = response.aiter_raw()
    try:
        async for chunk in chunks:
            yield chunk
            left -= len(chunk)
            if left >= LONG_BODY:
                break
        else:
            return
        async for chunk in past_the_parser(response, left):
            yield chunk
    finally:
        await close(chunks)


async def _read(response: httpx.Response, limit: int) -> bytes:
    """The body, undecoded. Raises Unavailable when it is compressed, too long, or shorter than it said."""
    if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise Unsupported(f"{Origin.of(response.url)} compresses its answers, although asked not to")
    content = bytearray()
    async for chunk in raw(response):
        content += chunk
        if len(content) > limit:
            raise Unsupported(f"{Origin.of(response.url)} sent more than the {limit} bytes that are read")
    told = response.headers.get("content-length")
    if told is not None and told.isdigit() and int(told) != len(content):
        raise Unavailable(f"{Origin.of(response.url)} sent {len(content)} of {told} bytes")
    return bytes(content)


async def _error(response: httpx.Response, default: type[RegistryError] | None) -> RegistryError:
    body = bytearray()
    try:
        async with asyncio.timeout(ERROR_SECONDS):
            async for chunk in raw(response):
                body += chunk
                if len(body) > MAX_ERROR_BYTES:
                    break
    except (*_HTTP_FAULTS, TimeoutError):
        body.clear()
    wait = retry_after(response.headers.get("retry-after"))
    found = errors.from_response(response.status_code, bytes(body), default=default, retry_after=wait)
    found.add_note(f"{response.request.method} {response.request.url.copy_with(query=None)}: {response.status_code}")
    return found
