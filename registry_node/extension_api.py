"""``/_towpath/v1`` over HTTP (oci_wire/extension.py says what each call means). All of it needs ``promote`` but ``why``."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel

from oci_wire.digest import Digest
from oci_wire.errors import ManifestUnknown, NameUnknown, RequestInvalid, to_json
from oci_wire.extension import (
    MAX_HELD_DIGESTS,
    MAX_LEASE_SECONDS,
    Features,
    Hold,
    LeaseRenewal,
    LeaseRequest,
    TagTransaction,
)
from registry_node import parameters
from registry_node.exchange import MAX_PAGE, Exchange
from registry_node.extension_routes import ExtensionRoute, validated
from registry_node.manifests import require_pull
from registry_node.messages import Response

M = TypeVar("M", bound=BaseModel)
_MAX_BODY = 2 * 1024 * 1024  # a thousand tags, or a thousand digests, with room


async def _body(exchange: Exchange, model: type[M]) -> M:
    content = await exchange.request.body(_MAX_BODY, RequestInvalid)
    return validated(lambda: model.model_validate_json(content, strict=True))


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
    limit = max(1, min(parameters.whole(route, "limit", 1000), MAX_PAGE))
    after = route.get("after") or ""
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
    rehash = parameters.flag(route, "rehash")
    digest = Digest.parse(route.target)
    await exchange.require_promote_digest(digest)
    return _json(await exchange.registry.closure(exchange.call, route.repository, digest, rehash=rehash))


async def why(exchange: Exchange, route: ExtensionRoute) -> Response:
    """The one call here that needs the pull right alone. Members that the caller may not read are shown to those who may
    promote: to others they look absent."""
    await require_pull(exchange, route.target)
    found = await exchange.registry.why(exchange.call, route.repository, route.target)
    if not exchange.caller.may_promote(route.repository):
        found = found.model_copy(update={"asked": tuple(each for each in found.asked if each.outcome != "forbidden")})
    return _json(found)
