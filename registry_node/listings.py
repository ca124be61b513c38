"""What is there: the base, the catalog, tags, referrers (distribution-spec 1.1, "Content Discovery")."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from oci_wire import routes
from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.manifest import OCI_INDEX
from oci_wire.registry import Page
from oci_wire.routes import Endpoint, Route
from registry_node.access import Challenged
from registry_node.exchange import Exchange
from registry_node.messages import Response


def _page(
    exchange: Exchange, body: dict[str, Any], following: Route | None, media_type: str = "application/json"
) -> Response:
    headers: dict[str, str | tuple[str, ...]] = {"content-type": media_type}
    if following is not None:
        headers["link"] = f'<{exchange.outside.url(following)}>; rel="next"'
    return Response(200, headers, json.dumps(body).encode())


async def base(exchange: Exchange) -> Response:
    """200 to whoever has shown credentials, or an anonymous token. Others are challenged even where anonymous may
    pull: Docker and skopeo decide here, once, whether this registry wants credentials at all."""
    caller = exchange.caller
    if caller.who.anonymous and caller.scopes is None and caller.policy.challenges:
        raise Challenged("sign in, or ask for an anonymous token")
    return Response(200, {"content-type": "application/json"}, b"{}")


async def _shown(
    fetch: Callable[[str, int], Awaitable[Page[str]]], after: str, limit: int, sees: Callable[[str], bool] | None
) -> tuple[list[str], bool]:
    """At most ``limit`` names after one, and whether there are more of those that the caller sees: a link to a page
    that shows nothing would tell of what is hidden. ``sees`` None: everything."""
    names: list[str] = []
    following: str | None = after
    wanted = limit if sees is None else limit + 1
    while following is not None and len(names) < wanted:
        page = await fetch(following, wanted)
        names += page.items if sees is None else filter(sees, page.items)
        following = page.next
    return names[:limit], len(names) > limit or (sees is None and bool(names) and following is not None)


async def catalog(exchange: Exchange) -> Response:
    """The repositories that the caller may pull, and no others."""
    exchange.caller.require_name()
    limit, last = exchange.limit(), exchange.route.get("last") or ""
    after, fetch = exchange.outside.inside(last) or last, partial(_repositories, exchange)
    names, more = await _shown(fetch, after, limit, exchange.caller.lists) if limit else ([], False)
    called = [exchange.outside.name(each) for each in names]
    return _page(exchange, {"repositories": called}, routes.catalog(called[-1], limit) if more else None)


async def _repositories(exchange: Exchange, after: str, limit: int) -> Page[str]:
    return await exchange.registry.repositories(exchange.call, after=after, limit=limit)


async def tags(exchange: Exchange) -> Response:
    """The tags that the caller may pull, and no others."""
    repository, limit = exchange.route.repository, exchange.limit()
    exchange.caller.require_pull(repository)
    sees = None if exchange.caller.may_pull_any_digest(repository) else partial(exchange.caller.may_pull, repository)
    fetch = partial(_tags, exchange)
    if not limit:
        await fetch("", 0)  # the repository must be there all the same
    names, more = await _shown(fetch, exchange.route.get("last") or "", limit, sees) if limit else ([], False)
    following = routes.tags(repository, names[-1], limit) if more else None
    return _page(exchange, {"name": exchange.outside.name(repository), "tags": names}, following)


async def _tags(exchange: Exchange, after: str, limit: int) -> Page[str]:
    return await exchange.registry.tags(exchange.call, exchange.route.repository, after=after, limit=limit)


async def referrers(exchange: Exchange) -> Response:
    """An empty index for what the caller may not pull, as for what nothing refers to."""
    repository, digest = exchange.route.repository, Digest.parse(exchange.route.target)
    exchange.caller.require_pull(repository)
    kind, after = exchange.route.get("artifactType") or "", exchange.route.get("last") or ""
    page: Page[Descriptor] = Page(())
    if await exchange.may_pull_digest(repository, digest):
        page = await exchange.registry.referrers(exchange.call, repository, digest, artifact_type=kind, after=after)
    manifests = [each.to_json() for each in page.items]
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    query = (*((("artifactType", kind),) if kind else ()), ("last", page.next or ""))
    following = Route(Endpoint.REFERRERS, repository, str(digest), query) if page.next is not None else None
    answer = _page(exchange, body, following, OCI_INDEX)
    if kind:
        answer.headers["oci-filters-applied"] = "artifactType"
    return answer
