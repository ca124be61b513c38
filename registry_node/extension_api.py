"""``/_towpath/v1`` over HTTP (oci_wire/extension.py says what each call means). All of it needs ``promote``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, TypeAdapter, ValidationError

from oci_wire.digest import Digest
from oci_wire.errors import Denied, ManifestUnknown, NameUnknown, RequestInvalid, to_json
from oci_wire.extension import (
    EVENTS,
    MAX_HELD_DIGESTS,
    MAX_LEASE_SECONDS,
    ROOT,
    VERSION,
    Event,
    Features,
    Hold,
    LeaseRenewal,
    LeaseRequest,
    Name,
    TagTransaction,
)
from oci_wire.reference import check_repository
from oci_wire.routes import parse_query
from registry_node.exchange import MAX_PAGE, Exchange
from registry_node.messages import ClientGone, Response

M = TypeVar("M", bound=BaseModel)
_REPOSITORIES = f"{ROOT}{VERSION}/r/"
_MAX_BODY = 2 * 1024 * 1024  # a thousand tags, or a thousand digests, with room
_MAX_WAIT = 60.0  # seconds
_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True, slots=True)
class ExtensionRoute:
    """``kind``: features, events, leases, holds, transactions, tags or closure; ``target``: the part after it."""

    kind: str
    repository: str = ""
    target: str = ""
    query: tuple[tuple[str, str], ...] = ()

    def get(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.query if key == name), default)


ExtensionHandler = Callable[[Exchange, ExtensionRoute], Awaitable[Response]]


def parse(target: str) -> ExtensionRoute | None:
    """Reads a request target; None when it is no URL of the extension. Raises NameInvalid, RequestInvalid."""
    path, _, query = target.partition("?")
    pairs = parse_query(query)
    if path == ROOT:
        return ExtensionRoute("features", query=pairs)
    if path == EVENTS:
        return ExtensionRoute("events", query=pairs)
    name, marker, rest = path.removeprefix(_REPOSITORIES).rpartition("/_/")
    if not path.startswith(_REPOSITORIES) or not marker:
        return None
    kind, _, part = rest.partition("/")
    if kind not in ("leases", "holds", "transactions", "tags", "closure") or (kind == "tags" and part):
        return None
    return ExtensionRoute(kind, check_repository(name), _part(kind, unquote(part)), pairs)


def _part(kind: str, text: str) -> str:
    if kind == "closure":
        return str(Digest.parse(text))
    if text or kind in ("holds", "transactions"):
        return _validated(lambda: _NAME.validate_python(text))
    return ""


T = TypeVar("T")


def _validated(read: Callable[[], T]) -> T:
    try:
        return read()
    except ValidationError as error:
        found = [{"field": ".".join(map(str, each["loc"])), "problem": each["msg"]} for each in error.errors()]
        said = "; ".join(f"{each['field'] or 'value'}: {each['problem']}" for each in found)
        raise RequestInvalid(said, detail=found) from None


async def _body(exchange: Exchange, model: type[M]) -> M:
    content = await exchange.request.body(_MAX_BODY, RequestInvalid)
    return _validated(lambda: model.model_validate_json(content))


def _json(model: BaseModel, status: int = 200) -> Response:
    return Response(status, {"content-type": "application/json"}, model.model_dump_json().encode())


async def features(exchange: Exchange, route: ExtensionRoute) -> Response:
    exchange.caller.require_name()
    found = await exchange.registry.features(exchange.call)
    limits = {"leaseSeconds": MAX_LEASE_SECONDS, "heldDigests": MAX_HELD_DIGESTS, "page": MAX_PAGE}
    return _json(found or Features(node=exchange.node.name, scope="", features=(), limits=limits))


async def take_lease(exchange: Exchange, route: ExtensionRoute) -> Response:
    request = await _body(exchange, LeaseRequest)
    return _json(await exchange.registry.take_lease(exchange.call, route.repository, request), 201)


async def renew_lease(exchange: Exchange, route: ExtensionRoute) -> Response:
    renewal = await _body(exchange, LeaseRenewal)
    return _json(await exchange.registry.renew_lease(exchange.call, route.repository, route.target, renewal))


async def release_lease(exchange: Exchange, route: ExtensionRoute) -> Response:
    renewal = await _body(exchange, LeaseRenewal)
    await exchange.registry.release_lease(exchange.call, route.repository, route.target, renewal.token)
    return Response(204)


async def put_hold(exchange: Exchange, route: ExtensionRoute) -> Response:
    hold = await _body(exchange, Hold)
    return _json(await exchange.registry.put_hold(exchange.call, route.repository, route.target, hold))


async def drop_hold(exchange: Exchange, route: ExtensionRoute) -> Response:
    await exchange.registry.drop_hold(exchange.call, route.repository, route.target)
    return Response(204)


async def put_transaction(exchange: Exchange, route: ExtensionRoute) -> Response:
    transaction = await _body(exchange, TagTransaction)
    for change in transaction.tags:
        exchange.caller.require_promote(route.repository, change.tag)
    known = await exchange.registry.read_transaction(exchange.call, route.repository, route.target)
    try:
        receipt = await exchange.registry.commit_tags(exchange.call, route.repository, route.target, transaction)
    except ManifestUnknown as error:  # the URL is there, a target of the transaction is not
        return Response(422, {"content-type": "application/json"}, to_json(error))
    return _json(receipt, 200 if known is not None else 201)


async def get_transaction(exchange: Exchange, route: ExtensionRoute) -> Response:
    receipt = await exchange.registry.read_transaction(exchange.call, route.repository, route.target)
    if receipt is None:
        raise NameUnknown(f"transaction {route.target} has not landed; it still may")
    return _json(receipt)


async def abort_transaction(exchange: Exchange, route: ExtensionRoute) -> Response:
    await exchange.registry.abort_transaction(exchange.call, route.repository, route.target)
    return Response(200, {"content-type": "application/json"}, b"{}")


async def tag_states(exchange: Exchange, route: ExtensionRoute) -> Response:
    rev = exchange.request.headers.get("if-none-match", "").strip().strip('"')
    known = int(rev) if rev.isascii() and rev.isdigit() and len(rev) <= 18 else None
    limit = max(1, min(int(_number(route, "limit", 1000)), MAX_PAGE))
    after = route.get("after")
    states = await exchange.registry.tag_states(
        exchange.call, route.repository, after=after, limit=limit, known_rev=known
    )
    if states is None:
        return Response(304, {"etag": f'"{known}"'})
    mine = [each for each in states.tags if exchange.caller.may_promote(route.repository, each.tag)]
    answer = _json(states if len(mine) == len(states.tags) else states.model_copy(update={"tags": tuple(mine)}))
    answer.headers["etag"] = f'"{states.rev}"'
    return answer


async def closure(exchange: Exchange, route: ExtensionRoute) -> Response:
    rehash = any(key == "rehash" and value not in ("0", "false") for key, value in route.query)
    digest = Digest.parse(route.target)
    await exchange.require_promote_digest(digest)
    return _json(await exchange.registry.closure(exchange.call, route.repository, digest, rehash=rehash))


async def events(exchange: Exchange, route: ExtensionRoute) -> Response:
    """The status is known only once the first event is there, or the wait is over: 410 must still be possible."""
    exchange.caller.require_name()
    if not exchange.caller.may_promote_something():
        raise Denied("the events of a node need a grant to promote")
    after, wait = int(_number(route, "after", 0)), min(_number(route, "wait", 0.0), _MAX_WAIT)
    stream = _until_draining(exchange, exchange.registry.events(exchange.call, after=after, wait=wait))
    first = await _unless_gone(exchange, _next(stream))
    return Response(200, {"content-type": "application/x-ndjson"}, _lines(exchange, first, stream))


async def _unless_gone(exchange: Exchange, first: Coroutine[Any, Any, Event | None]) -> Event | None:
    """What is awaited before an answer begins: a client that hangs up meanwhile must not be waited for. Raises
    ClientGone."""
    wanted, gone = asyncio.create_task(first), asyncio.create_task(exchange.request.hung_up())
    try:
        await asyncio.wait({wanted, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not wanted.done():
            raise ClientGone
        return wanted.result()
    finally:
        for each in (wanted, gone):
            each.cancel()
        await asyncio.gather(wanted, gone, return_exceptions=True)


async def _until_draining(exchange: Exchange, stream: AsyncIterator[Event]) -> AsyncIterator[Event]:
    """A node that shuts down ends the wait of those who listen."""
    stop = asyncio.create_task(exchange.node.draining.wait())
    try:
        while True:
            following = asyncio.ensure_future(_next(stream))
            await asyncio.wait({following, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                return
            event = following.result()
            if event is None:
                return
            yield event
    finally:
        stop.cancel()


async def _next(stream: AsyncIterator[Event]) -> Event | None:
    return await anext(stream, None)


async def _lines(exchange: Exchange, first: Event | None, rest: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    event = first
    while event is not None:
        if exchange.caller.may_promote(event.repository):
            yield event.model_dump_json().encode() + b"\n"
        event = await anext(rest, None)


def _number(route: ExtensionRoute, name: str, default: float) -> float:
    text = route.get(name)
    if not text:
        return default
    try:
        number = json.loads(text)
    except ValueError:
        number = None
    if not isinstance(number, int | float) or isinstance(number, bool) or not 0 <= number < 2**62:
        raise RequestInvalid(f"{name} must be a number, zero or more")
    return number


# (kind, whether a part follows, method) -> handler
HANDLERS: dict[tuple[str, bool, str], ExtensionHandler] = {
    ("features", False, "GET"): features,
    ("events", False, "GET"): events,
    ("leases", False, "POST"): take_lease,
    ("leases", True, "PUT"): renew_lease,
    ("leases", True, "DELETE"): release_lease,
    ("holds", True, "PUT"): put_hold,
    ("holds", True, "DELETE"): drop_hold,
    ("transactions", True, "PUT"): put_transaction,
    ("transactions", True, "GET"): get_transaction,
    ("transactions", True, "DELETE"): abort_transaction,
    ("tags", False, "GET"): tag_states,
    ("closure", True, "GET"): closure,
}


def key(route: ExtensionRoute, method: str) -> tuple[str, bool, str]:
    return route.kind, bool(route.target), "GET" if method == "HEAD" else method


def methods(route: ExtensionRoute) -> tuple[str, ...]:
    """The methods that this URL knows, for Allow."""
    return tuple(each for kind, part, each in HANDLERS if (kind, part) == (route.kind, bool(route.target)))
