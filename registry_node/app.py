"""The node as a plain ASGI app: a table of (endpoint, method) -> handler, and one place where errors become answers."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Iterable

from oci_wire import extension, routes
from oci_wire.errors import Internal, LoopDetected, NameUnknown, RegistryError, RequestInvalid, Unsupported, to_json
from oci_wire.registry import MOST_VIA, VIA, Call
from oci_wire.routes import Endpoint, Route
from registry_node import blobs, extension_routes, listings, manifests, operations, uploads
from registry_node.access import TOKEN_PATH, Access, Challenged
from registry_node.exchange import Exchange, Handler, Node
from registry_node.forwarded import Origin
from registry_node.heads import Head
from registry_node.known_heads import HOST, Header
from registry_node.messages import ClientGone, Message, Receive, Request, Response, Send
from registry_node.prompt import Prompt
from registry_node.records import PROBES, Records, Trace
from registry_node.token_api import TokenApi

OriginOf = Callable[[Iterable[Header]], Origin]
TABLE: dict[tuple[Endpoint, str], Handler] = {
    (Endpoint.BASE, "GET"): listings.base,
    (Endpoint.CATALOG, "GET"): listings.catalog,
    (Endpoint.TAGS, "GET"): listings.tags,
    (Endpoint.REFERRERS, "GET"): listings.referrers,
    (Endpoint.MANIFEST, "GET"): manifests.get,
    (Endpoint.MANIFEST, "HEAD"): manifests.head,
    (Endpoint.MANIFEST, "PUT"): manifests.put,
    (Endpoint.MANIFEST, "DELETE"): manifests.delete,
    (Endpoint.BLOB, "GET"): blobs.get,
    (Endpoint.BLOB, "HEAD"): blobs.head,
    (Endpoint.BLOB, "DELETE"): blobs.delete,
    (Endpoint.UPLOADS, "POST"): uploads.start,
    (Endpoint.UPLOAD, "GET"): uploads.status,
    (Endpoint.UPLOAD, "PATCH"): uploads.append,
    (Endpoint.UPLOAD, "PUT"): uploads.finish,
    (Endpoint.UPLOAD, "DELETE"): uploads.cancel,
}
_OK = b"HTTP/1.1 200 OK\r\n"
_LINGER_BYTES, _LINGER_SECONDS = 4 * 1024 * 1024, 2.0  # of a body that nobody wants: so that its sender sees why
_VIA_CHARACTERS = 2000
_METHODS = {endpoint: tuple(method for other, method in TABLE if other is endpoint) for endpoint in Endpoint}


class MethodUnsupported(Unsupported):
    """405 with the methods that this URL knows."""

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{method[:20]} is not allowed here")
        self.allowed = allowed


def _require_method(method: str, allowed: tuple[str, ...]) -> None:
    """HEAD goes wherever GET does. Raises MethodUnsupported."""
    allowed = (*allowed, "HEAD") if "GET" in allowed and "HEAD" not in allowed else allowed
    if method not in allowed:
        raise MethodUnsupported(method, allowed)


class App:
    """``await app(scope, receive, send)``. ``in_flight``: requests being answered now; ``log``: a line for each."""

    def __init__(
        self,
        node: Node,
        access: Access,
        tokens: TokenApi,
        records: Records,
        *,
        prompt: Prompt | None = None,
    ) -> None:
        self.node, self.access, self.tokens, self.records = node, access, tokens, records
        self.metrics, self.log = records.metrics, records.log
        self.prompt = prompt
        self.in_flight = 0
        self.closing: list[Callable[[], Awaitable[None]]] = []  # what ends with the event loop
        self.settings_mark: Callable[[], str] = lambda: ""  # names the content of the settings file that holds
        self.metrics.watch("registry_http_in_flight_requests", "Requests being answered", lambda: self.in_flight)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"this app speaks HTTP, not {scope['type']}")
        if not await self._at_once(scope, send):
            await self._the_long_way(scope, receive, send)

    async def aclose(self) -> None:
        """Once no request comes any more."""
        for each in self.closing:
            await each()

    def at_once(self, content: bytes, head: Head | None, origin: OriginOf, more: bytes) -> bytes | None:
        """The short way for a server that calls it itself (front.py): a whole answer, with the header lines ``more``.
        ``content``: a request head; ``head``: the same read, None when it has not been."""
        if self.prompt is None or self.node.draining.is_set():
            return None
        known = self.prompt.known
        asked = known.find(content) if head is None else known.learn(content, head)
        if asked is None:
            return None
        answer = self.prompt.answer_to(*asked, origin(asked[1].forwarded).address)
        if answer is None:
            return None
        found, request_id = answer
        body = b"" if asked[0].head else found.body
        return b"".join((_OK, more, found.lines, b"x-request-id: ", request_id.encode(), b"\r\n\r\n", body))

    def refused(self, method: str, path: str, status: int, sent: int, remote: str) -> bytes:
        """Records a request that the server refused itself (front.py). Its request id."""
        trace = Trace(status=status, sent=sent)
        self.records.add(Request(method, path, {}, remote=remote), trace)
        return trace.request_id.encode()

    async def _at_once(self, scope: Message, send: Send) -> bool:
        """The short way under any other server."""
        method = scope["method"]
        if self.prompt is None or self.node.draining.is_set() or method not in ("GET", "HEAD") or scope["query_string"]:
            return False
        remote = scope["client"][0] if scope.get("client") else ""
        answer = self.prompt.answer(method, scope["raw_path"], scope["headers"], remote)
        if answer is None:
            return False
        headers = [*answer[0].headers, (b"x-request-id", answer[1].encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer[0].body if method == "GET" else b""})
        return True

    async def _the_long_way(self, scope: Message, receive: Receive, send: Send) -> None:
        request = Request.of(scope, receive)
        trace = Trace.of(request)
        self.in_flight += 1
        try:
            response = await self._respond(request, trace)
            await self._deliver(request, response, trace, send)
        except ClientGone:
            pass  # nobody is left to answer; an upload keeps what came
        except Exception as error:  # in mid-body the server then cuts the connection: half is not taken for whole
            self.records.report(trace, error)
        finally:
            self.in_flight -= 1
            self.records.add(request, trace)

    async def _respond(self, request: Request, trace: Trace) -> Response:
        try:
            return await self._dispatch(request, trace)
        except RegistryError as error:
            trace.refused(error)
            return self._refusal(request, error)
        except ClientGone:
            raise
        except Exception as error:
            self.records.report(trace, error)
            trace.code = Internal.code
            return self._refusal(request, Internal(f"something broke here; the log has it under {trace.request_id}"))

    async def _dispatch(self, request: Request, trace: Trace) -> Response:
        if request.path in PROBES:
            trace.handler = request.path[1:]
            return self._probe(request)
        self.access.limiter.check_address(request.remote)
        if request.repeated:
            raise RequestInvalid(f"the {request.repeated} header came twice")
        if not HOST.fullmatch(request.headers.get("host", "")):
            raise RequestInvalid("the Host header is missing or cannot be read")
        if request.path == TOKEN_PATH:
            trace.handler = "token"
            _require_method(request.method, ("GET", "POST"))
            who, response = await self.tokens.answer(request)
            trace.who = who.name or "-"
            return response
        if request.path.startswith(extension.ROOT):
            return await self._extension(request, trace)
        return await self._protocol(request, trace)

    async def _protocol(self, request: Request, trace: Trace) -> Response:
        route = routes.parse(request.target)
        if route is None:
            raise NameUnknown("nothing is served at this path")
        trace.handler = route.endpoint.value
        _require_method(request.method, _METHODS[route.endpoint])
        handler = TABLE.get((route.endpoint, request.method)) or TABLE[route.endpoint, "GET"]  # HEAD: a GET, bodiless
        return await handler(await self._exchange(request, route, trace))

    async def _extension(self, request: Request, trace: Trace) -> Response:
        route = extension_routes.parse(request.target)
        if route is None:
            raise NameUnknown("nothing is served at this path")
        trace.handler = f"towpath-{route.kind}"
        _require_method(request.method, operations.methods(route))
        exchange = await self._exchange(request, Route(Endpoint.BASE, route.repository, query=route.query), trace)
        if route.repository and route.kind != "why":
            exchange.caller.require_promote(route.repository)
        return await operations.answer(exchange, route)

    async def _exchange(self, request: Request, route: Route, trace: Trace) -> Exchange:
        caller = await self.access.caller(request.headers, request.remote)
        trace.who = caller.who.name or "-"
        who, via = caller.who, (*self._via(request), self.node.mark)
        ns, notes = route.get("ns") or "", trace.notes
        call = Call(who.name, trace.request_id, None, ns, notes, groups=who.groups, robot=who.robot, via=via)
        return Exchange(self.node, request, route, caller, call)

    def _via(self, request: Request) -> tuple[str, ...]:
        """The nodes that it has come through. Raises LoopDetected when this is one of them, or there are too many."""
        told = request.headers.get(VIA, "")
        via = tuple(filter(None, (each.strip() for each in told[:_VIA_CHARACTERS].split(","))))
        if self.node.mark in via or len(via) >= MOST_VIA or len(told) > _VIA_CHARACTERS:
            raise LoopDetected(
                f"this request has come through {self.node.name} before, or through {MOST_VIA} registries: they ask each "
                "other in a circle. Take one of them out of the other's members or upstreams"
            )
        return via

    def _probe(self, request: Request) -> Response:
        _require_method(request.method, ("GET",))
        if request.path == "/metrics":
            kind, text = self.metrics.render()
            return Response(200, {"content-type": kind}, text)
        draining = request.path == "/readyz" and self.node.draining.is_set()
        body = b"draining\n" if draining else b"ok\n"
        headers: dict[str, str | tuple[str, ...]] = {"content-type": "text/plain"}
        if request.path == "/readyz" and (mark := self.settings_mark()):
            headers["towpath-settings"] = mark
        return Response(503 if draining else 200, headers, body)

    def _refusal(self, request: Request, error: RegistryError) -> Response:
        headers: dict[str, str | tuple[str, ...]] = {"content-type": "application/json"}
        if isinstance(error, Challenged):
            headers["www-authenticate"] = str(error.challenge(request.base_url, self.node.name, request.outside))
        if isinstance(error, MethodUnsupported):
            headers["allow"] = ", ".join(error.allowed)
        if error.retry_after is not None or error.status in (429, 503):
            headers["retry-after"] = str(math.ceil(error.retry_after or 1))
        return Response(error.status, headers, to_json(error))

    async def _deliver(self, request: Request, response: Response, trace: Trace, send: Send) -> None:
        trace.status, response.zero_copy = response.status, request.zero_copy
        response.headers.update(trace.notes)
        response.headers["x-request-id"] = trace.request_id
        if request.path.startswith("/v2"):
            response.headers["docker-distribution-api-version"] = "registry/2.0"
        unread = request.unread
        if unread or self.node.draining.is_set():
            response.headers["connection"] = "close"
        try:
            linger = _discard(request) if unread else None
            head = request.method == "HEAD"
            trace.sent = await response.send(send, head=head, hung_up=request.hung_up, before_end=linger)
        finally:
            await response.aclose()


async def _discard(request: Request) -> None:
    """Reads on for a moment after an early answer, so that a client in the middle of its body gets to see it."""
    with contextlib.suppress(ClientGone, TimeoutError, RegistryError):  # also a body that is framed wrongly
        async with asyncio.timeout(_LINGER_SECONDS):
            limit = request.received + _LINGER_BYTES
            async for _ in request.chunks():
                if request.received > limit:
                    return
