"""Layers that lie elsewhere: fetched from the ``urls`` of their descriptors (image-spec 1.1, "Non-distributable layers").

Whoever makes an image writes these addresses, and this node asks them from where it stands. So each address, and each one
that an answer leads to, must fit the allow-list; names that lead to private addresses are not connected to, whatever the
list says; no credentials and no names of ours are sent; and what comes must have the size that the manifest says, and
hash to the digest (fill.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import httpx

from oci_wire import errors
from oci_wire.address_patterns import Address, AddressPattern
from oci_wire.client.addresses import CheckedTransport, Reach
from oci_wire.client.attempts import Retry, once_only, retry_after
from oci_wire.client.blob_stream import Blob
from oci_wire.client.credentials import Origin
from oci_wire.client.transport import MAX_REDIRECTS, REDIRECTS, Ask, faults
from oci_wire.descriptor import Descriptor
from oci_wire.errors import BlobUnknown, SizeInvalid, Unsupported, UpstreamFailed
from oci_wire.registry import BlobStream, ByteRange, Call
from registry_node.recent import Recent
from registry_node.registries.upstreams.asked import Answer, UpstreamStatus
from registry_node.registries.upstreams.failures import ABSENT
from registry_node.registries.upstreams.guard import Guard, Tally
from registry_node.registries.upstreams.lies import Lies

T = TypeVar("T")
NAME = "(urls)"  # of all of them together, in figures; no upstream can be called so
CONNECTIONS, OF_ONE_HOST = 32, 8
_HALF = 128  # hosts whose failures are remembered
_MOST_URLS = 8  # of one layer, that are looked at
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "towpath"}


class AllowList:
    """Requests to addresses that fit a pattern, each step of the way. ``http``: connects to public addresses only."""

    def __init__(self, patterns: Iterable[AddressPattern], http: Callable[[], httpx.AsyncClient]) -> None:
        self._patterns, self._make = tuple(patterns), http
        self._http: httpx.AsyncClient | None = None  # made when first needed: reading certificates takes time

    def among(self, urls: Iterable[str]) -> tuple[Address, ...]:
        """Those of them that may be asked."""
        found = []
        for each in urls:
            try:
                address = Address.parse(each)
            except ValueError:
                continue
            if self.has(address):
                found.append(address)
        return tuple(found)

    def has(self, address: Address) -> bool:
        return any(each.fits(address) for each in self._patterns)

    async def send(self, ask: Ask, address: Address) -> httpx.Response:
        """The response of the last address that this one leads to; the caller closes it. Raises Unsupported for a step
        that is not allowed, and what goes wrong with a connection."""
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._exchange(ask, address)
            if response.status_code not in REDIRECTS:
                return response
            await response.aclose()
            address = self._next(address, response.headers.get("location", ""))
        raise Unsupported(f"{address.host} redirects more than {MAX_REDIRECTS} times")

    def _next(self, address: Address, location: str) -> Address:
        try:
            there = address.joined(location)
        except ValueError as error:
            raise Unsupported(f"{address.host} leads to {location[:200]!r}, which {error}") from error
        if not self.has(there):
            raise Unsupported(f"{address.host} leads to {there.host}, which is not allowed: not followed")
        return there

    async def _exchange(self, ask: Ask, address: Address) -> httpx.Response:
        if self._http is None:
            self._http = self._make()
        request = httpx.Request(ask.method, str(address), headers={**_HEADERS, **ask.headers})
        request.extensions["timeout"] = self._http.timeout.as_dict()
        with faults(Origin.of(request.url)):
            return await self._http.send(request, stream=True, auth=None, follow_redirects=False)

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.aclose()


@dataclass(frozen=True, slots=True)
class _Place:
    """One address as the source of a blob (client/blob_stream.py)."""

    allowed: AllowList
    address: Address
    retry: Retry = once_only

    @property
    def home(self) -> Origin:
        return Origin(self.address.scheme, self.address.host, self.address.port)

    async def open(self, call: Call, ask: Ask) -> httpx.Response:
        call.remaining()
        response = await self.allowed.send(ask, self.address)
        if response.status_code in ask.expect:
            return response
        await response.aclose()
        wait = retry_after(response.headers.get("retry-after"))
        raise errors.from_response(response.status_code, b"", default=ask.default, retry_after=wait)


class ForeignLayers:
    """Belongs to one event loop. The upstream of an answer is the host that was asked."""

    def __init__(self, allowed: AllowList, lies: Lies, *, answer_seconds: float) -> None:
        self._allowed, self._lies, self._answer_seconds = allowed, lies, answer_seconds
        self._guards: Recent[str, Guard] = Recent(_HALF)
        self._tally = Tally()

    @classmethod
    def of(cls, patterns: Iterable[str], lies: Lies, *, answer_seconds: float) -> ForeignLayers:
        """Raises ValueError for what is no pattern."""

        def http() -> httpx.AsyncClient:
            transport = CheckedTransport(Reach(""), httpx.create_ssl_context(), connections=CONNECTIONS)
            return httpx.AsyncClient(
                transport=transport, timeout=httpx.Timeout(answer_seconds, pool=None), trust_env=False
            )

        return cls(AllowList(map(AddressPattern.parse, patterns), http), lies, answer_seconds=answer_seconds)

    async def stat(self, call: Call, layer: Descriptor) -> Answer[Descriptor]:
        """``layer`` as a manifest names it, with its urls. Raises BlobUnknown, UpstreamFailed."""
        ask = Ask("HEAD", "", default=BlobUnknown)

        async def question(guard: Guard, place: _Place) -> Descriptor:
            return await guard.ask(lambda: _said(call, ask, place, layer))

        return await self._first(layer, question)

    async def open(self, call: Call, layer: Descriptor, span: ByteRange | None) -> Answer[BlobStream]:
        """The bytes as they come, of the right size, and not verified. Raises RangeInvalid as well."""
        ask = Ask("GET", "", expect=(200, 206), default=BlobUnknown)

        async def question(guard: Guard, place: _Place) -> BlobStream:
            return await guard.open(lambda: _opened(Blob(place, call, ask, layer.digest), layer, span))

        return await self._first(layer, question)

    async def _first(self, layer: Descriptor, question: Callable[[Guard, _Place], Awaitable[T]]) -> Answer[T]:
        failed: UpstreamFailed | None = None
        for address in self._places(layer):
            try:
                value = await question(self._guard(address.host), _Place(self._allowed, address))
                return Answer(address.host, value, held=False)
            except ABSENT:
                continue
            except UpstreamFailed as error:
                self._lies.note_failure(error, str(layer.digest))
                failed = failed or error
        raise failed or BlobUnknown(f"{layer.digest} is at no upstream, and at none of its urls that may be asked")

    def _places(self, layer: Descriptor) -> list[Address]:
        """Those that may be asked, in order; who lied about it last."""
        found = self._allowed.among(layer.urls[:_MOST_URLS])
        return sorted(found, key=lambda each: self._lies.told_at(each.host, str(layer.digest)))

    def _guard(self, host: str) -> Guard:
        guard = self._guards.get(host)
        if guard is None:
            guard = Guard(host, answer_seconds=self._answer_seconds, connections=OF_ONE_HOST, tally=self._tally)
            self._guards.put(host, guard)
        return guard

    def blame(self, host: str) -> None:
        """Bytes from there were wrong."""
        guard = self._guards.get(host)
        if guard is not None:
            guard.blame()

    def status(self) -> UpstreamStatus:
        """Of all hosts together: one that fails does not keep the others from being asked."""
        tally = self._tally
        return UpstreamStatus(
            NAME, "closed", 0.0, None, None, dict(tally.outcomes), tally.received, last_error=tally.last_error
        )

    async def aclose(self) -> None:
        await self._allowed.aclose()


async def _said(call: Call, ask: Ask, place: _Place, layer: Descriptor) -> Descriptor:
    response = await place.open(call, ask)
    await response.aclose()
    told = response.headers.get("content-length", str(layer.size))
    if told != str(layer.size):
        raise SizeInvalid(f"{place.home} has {told[:20]} bytes, the manifest says {layer.size}")
    return replace(layer, urls=())


async def _opened(blob: Blob, layer: Descriptor, span: ByteRange | None) -> BlobStream:
    stream = await blob.open(span, verify=False)
    if stream.descriptor.size != layer.size:
        await stream.aclose()
        raise SizeInvalid(f"{blob.transport.home} has {stream.descriptor.size} bytes, the manifest says {layer.size}")
    return stream
