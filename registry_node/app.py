"""The node as a plain ASGI app: a table of (endpoint, method) -> handler, and one place where errors become answers."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
import traceback
from dataclasses import dataclass, field
from uuid import uuid4

from oci_wire import extension, routes
from oci_wire.errors import Internal, NameUnknown, RegistryError, RequestInvalid, Unsupported, to_json
from oci_wire.registry import Call
from oci_wire.routes import Endpoint, Route
from registry_node import blobs, extension_api, listings, manifests, uploads
from registry_node.access import TOKEN_PATH, Access, Challenged
from registry_node.exchange import Exchange, Handler, Node
from registry_node.messages import ClientGone, Message, Receive, Request, Response, Send
from registry_node.metrics import Metrics, Observation, RequestLog, write_line
from registry_node.prompt import Header, Prompt, Rendered, Wire
from registry_node.token_api import TokenApi

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
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,270}")
_LINGER_BYTES, _LINGER_SECONDS = 4 * 1024 * 1024, 2.0  # of a body that nobody wants: so that its sender sees why
PROBES = ("/healthz", "/readyz", "/metrics")  # for machines that ask every few seconds: no log line each
_METHODS = {endpoint: tuple(method for other, method in TABLE if other is endpoint) for endpoint in Endpoint}
_KNOWN_METHODS = frozenset(("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"))


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


@dataclass(slots=True)
class Trace:
    """What is known of a request so far, for metrics and the log. 499: the client left before an answer."""

    request_id: str = field(default_factory=lambda: uuid4().hex)
    began: float = field(default_factory=time.monotonic)
    handler: str = "none"
    who: str = "-"
    status: int = 499
    sent: int = 0
    code: str = ""  # of a refusal, with one word for why, and the declared user that wrong credentials named
    why: str = ""
    tried: str = ""

    def refused(self, error: RegistryError) -> None:
        self.code, self.why = error.code, error.why
        self.tried = error.tried if isinstance(error, Challenged) else ""

    def refusal(self) -> dict[str, str]:
        """For the log line: only what there is."""
        said = {"code": self.code, "why": self.why, "tried": self.tried}
        return {name: value for name, value in said.items() if value}


class App:
    """``await app(scope, receive, send)``. ``in_flight``: requests being answered now; ``log``: a line for each."""

    def __init__(
        self,
        node: Node,
        access: Access,
        tokens: TokenApi,
        metrics: Metrics,
        *,
        prompt: Prompt | None = None,
        log: RequestLog | None = None,
    ) -> None:
        self.node, self.access, self.tokens, self.metrics = node, access, tokens, metrics
        self.prompt, self.log = prompt, log
        self.in_flight = 0
        metrics.in_flight.set_function(lambda: self.in_flight)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"this app speaks HTTP, not {scope['type']}")
        if scope["method"] in ("GET", "HEAD") and not scope["query_string"]:
            remote = scope["client"][0] if scope.get("client") else ""
            found = self._prompt(scope["method"], scope["raw_path"], scope["headers"], remote)
            if found is not None:
                return await self._at_once(scope["method"], *found, send)
        await self._the_long_way(scope, receive, send)
        return None

    def at_once(self, method: str, path: bytes, headers: list[Header], remote: str) -> Wire | None:
        """The short way for a server that calls it itself (front.py): a GET or HEAD without query or body."""
        found = self._prompt(method, path, headers, remote)
        if found is None:
            return None
        rendered, request_id = found
        return Wire(b"%bx-request-id: %b\r\n" % (rendered.lines, request_id), rendered.body if method == "GET" else b"")

    def refused(self, method: str, path: str, status: int, sent: int, remote: str) -> bytes:
        """Records a request that the server refused itself (front.py). Its request id."""
        trace = Trace(status=status, sent=sent)
        self._record(Request(method, path, {}, remote=remote), trace)
        return trace.request_id.encode()

    async def _at_once(self, method: str, rendered: Rendered, request_id: bytes, send: Send) -> None:
        headers = [*rendered.headers, (b"x-request-id", request_id)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": rendered.body if method == "GET" else b""})

    def _prompt(self, method: str, path: bytes, headers: list[Header], remote: str) -> tuple[Rendered, bytes] | None:
        """An answer of the short way and its request id, recorded as sent."""
        if self.prompt is None or self.node.draining.is_set():
            return None
        began = time.monotonic()
        rendered = self.prompt.answer(path, headers)
        if rendered is None or not self.access.limiter.admits(remote, rendered.who):
            return None
        trace = Trace(began=began, handler=rendered.handler, who=rendered.who or "-", status=200)
        trace.sent = len(rendered.body) if method == "GET" else 0
        self._record(Request(method, path.decode("latin-1"), {}, remote=remote), trace)
        return rendered, trace.request_id.encode()

    async def _the_long_way(self, scope: Message, receive: Receive, send: Send) -> None:
        request = Request.of(scope, receive)
        trace = _trace_of(request)
        self.in_flight += 1
        try:
            response = await self._respond(request, trace)
            await self._deliver(request, response, trace, send)
        except ClientGone:
            pass  # nobody is left to answer; an upload keeps what came
        except Exception as error:  # in mid-body the server then cuts the connection: half is not taken for whole
            self._report(trace, error)
        finally:
            self.in_flight -= 1
            self._record(request, trace)

    async def _respond(self, request: Request, trace: Trace) -> Response:
        try:
            return await self._dispatch(request, trace)
        except RegistryError as error:
            trace.refused(error)
            return self._refusal(request, error)
        except ClientGone:
            raise
        except Exception as error:
            self._report(trace, error)
            trace.code = Internal.code
            return self._refusal(request, Internal(f"something broke here; the log has it under {trace.request_id}"))

    async def _dispatch(self, request: Request, trace: Trace) -> Response:
        if request.path in PROBES:
            trace.handler = request.path[1:]
            return self._probe(request)
        self.access.limiter.check_address(request.remote)
        if request.repeated:
            raise RequestInvalid(f"the {request.repeated} header came twice")
        if not _HOST.fullmatch(request.headers.get("host", "")):
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
        route = extension_api.parse(request.target)
        if route is None:
            raise NameUnknown("nothing is served at this path")
        trace.handler = f"towpath-{route.kind}"
        _require_method(request.method, extension_api.methods(route))
        exchange = await self._exchange(request, Route(Endpoint.BASE, route.repository), trace)
        if route.repository:
            exchange.caller.require_promote(route.repository)
        return await extension_api.HANDLERS[extension_api.key(route, request.method)](exchange, route)

    async def _exchange(self, request: Request, route: Route, trace: Trace) -> Exchange:
        caller = await self.access.caller(request.headers, request.remote)
        trace.who = caller.who.name or "-"
        return Exchange(self.node, request, route, caller, Call(caller.who.name, trace.request_id))

    def _probe(self, request: Request) -> Response:
        _require_method(request.method, ("GET",))
        if request.path == "/metrics":
            kind, text = self.metrics.render()
            return Response(200, {"content-type": kind}, text)
        draining = request.path == "/readyz" and self.node.draining.is_set()
        body = b"draining\n" if draining else b"ok\n"
        return Response(503 if draining else 200, {"content-type": "text/plain"}, body)

    def _refusal(self, request: Request, error: RegistryError) -> Response:
        headers: dict[str, str | tuple[str, ...]] = {"content-type": "application/json"}
        if isinstance(error, Challenged):
            headers["www-authenticate"] = str(error.challenge(request.base_url, self.node.name))
        if isinstance(error, MethodUnsupported):
            headers["allow"] = ", ".join(error.allowed)
        if error.retry_after is not None or error.status in (429, 503):
            headers["retry-after"] = str(math.ceil(error.retry_after or 1))
        return Response(error.status, headers, to_json(error))

    async def _deliver(self, request: Request, response: Response, trace: Trace, send: Send) -> None:
        trace.status, response.zero_copy = response.status, request.zero_copy
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

    def _report(self, trace: Trace, error: Exception) -> None:
        where = traceback.format_exception(error)
        write_line(level="error", request_id=trace.request_id, handler=trace.handler, trace="".join(where))

    def _record(self, request: Request, trace: Trace) -> None:
        seconds = time.monotonic() - trace.began
        method = request.method if request.method in _KNOWN_METHODS else "other"
        self.metrics.observe(Observation(method, trace.handler, trace.status, seconds, request.received, trace.sent))
        if self.log is not None and (request.path not in PROBES or trace.handler == "none"):
            self.log.add(
                level="info",
                request_id=trace.request_id,
                remote=request.remote,
                who=trace.who,
                method=method,
                path=request.path[:1000],
                status=trace.status,
                received=request.received,
                sent=trace.sent,
                ms=round(seconds * 1000, 2),
                **trace.refusal(),
            )


def _trace_of(request: Request) -> Trace:
    """Under the id that the client gave, when it is one."""
    given = request.headers.get("x-request-id", "")
    return Trace(given) if _REQUEST_ID.fullmatch(given) else Trace()


async def _discard(request: Request) -> None:
    """Reads on for a moment after an early answer, so that a client in the middle of its body gets to see it."""
    with contextlib.suppress(ClientGone, TimeoutError, RegistryError):  # also a body that is framed wrongly
        async with asyncio.timeout(_LINGER_SECONDS):
            limit = request.received + _LINGER_BYTES
            async for _ in request.chunks():
                if request.received > limit:
                    return
