"""Every operation of our own API, once: the dispatcher finds its handler here, the OpenAPI document its types.

``python -m registry_node.operations`` prints the document; ``docs/reference-api.json`` is that."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

from oci_wire.extension import (
    VERSION,
    ClosureReport,
    Explanation,
    Features,
    Hold,
    HoldReceipt,
    Lease,
    LeaseRenewal,
    LeaseRequest,
    TagReceipt,
    TagStates,
    TagTransaction,
)
from registry_node import event_stream
from registry_node import extension_api as api
from registry_node.access import TOKEN_PATH
from registry_node.exchange import MAX_PAGE, Exchange
from registry_node.extension_routes import ExtensionRoute, template
from registry_node.messages import Response
from registry_node.openapi import Operation, Parameter, Schema, document
from registry_node.parameters import FLAGS, MAX_WHOLE

_NAME_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[A-Za-z0-9][A-Za-z0-9._:@-]*$"}
_DIGEST_SCHEMA = {"type": "string", "pattern": "^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$"}
_TAG_SCHEMA = {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"}
_WHOLE = {"type": "integer", "minimum": 0, "maximum": MAX_WHOLE}
REPOSITORY = Parameter(
    "repository",
    {"type": "string", "format": "repository-name", "minLength": 1, "maxLength": 255},
    "Its slashes are sent as they are, never as %2F.",
    "path",
)
ID, OWNER, TXID = (Parameter(name, _NAME_SCHEMA, place="path") for name in ("id", "owner", "txid"))
DIGEST = Parameter("digest", _DIGEST_SCHEMA, place="path")
NS = Parameter("ns", {"type": "string"}, "Whose image is meant, where the node stands for several.")
REFERENCE = Parameter("reference", {"anyOf": [_DIGEST_SCHEMA, _TAG_SCHEMA]}, "A tag or a digest.", "path")


async def describe(exchange: Exchange, route: ExtensionRoute) -> Response:
    exchange.caller.require_name()
    return Response(200, {"content-type": "application/json"}, _text().encode())


# (kind, whether a part follows, method) -> operation
OPERATIONS: dict[tuple[str, bool, str], Operation] = {
    ("features", False, "GET"): Operation("What this node can do.", {200: Features}, api.features),
    ("openapi", False, "GET"): Operation("This document.", {200: {"type": "object"}}, describe),
    ("events", False, "GET"): Operation(
        "What has happened, one JSON object a line, in order for each repository; 410: compare tags instead.",
        {200: "application/x-ndjson"},
        event_stream.events,
        (410,),
        (
            Parameter("after", _WHOLE, "The position of the last event known."),
            Parameter(
                "wait", {"type": "number", "minimum": 0, "maximum": 999999999}, "Seconds for the first one, at most 60."
            ),
        ),
    ),
    ("leases", False, "POST"): Operation(
        "Takes the lease of a repository.", {201: Lease}, api.take_lease, (409,), (REPOSITORY,), LeaseRequest
    ),
    ("leases", True, "PUT"): Operation(
        "Renews a lease.", {200: Lease}, api.renew_lease, (410,), (REPOSITORY, ID), LeaseRenewal
    ),
    ("leases", True, "DELETE"): Operation(
        "Ends a lease.", {204: None}, api.release_lease, (410,), (REPOSITORY, ID), LeaseRenewal
    ),
    ("holds", True, "PUT"): Operation(
        "Keeps digests until a time.", {200: HoldReceipt}, api.put_hold, (), (REPOSITORY, OWNER), Hold
    ),
    ("holds", True, "DELETE"): Operation("Drops a hold.", {204: None}, api.drop_hold, (), (REPOSITORY, OWNER)),
    ("transactions", True, "PUT"): Operation(
        "Changes tags, all or none; the same again answers 200 with the first receipt.",
        {201: TagReceipt, 200: TagReceipt},
        api.put_transaction,
        (409, 410, 412, 422, 507),
        (REPOSITORY, TXID),
        TagTransaction,
    ),
    ("transactions", True, "GET"): Operation(
        "The receipt of a transaction.", {200: TagReceipt}, api.get_transaction, (404,), (REPOSITORY, TXID)
    ),
    ("transactions", True, "DELETE"): Operation(
        "From now on it never lands.", {200: {"type": "object"}}, api.abort_transaction, (409,), (REPOSITORY, TXID)
    ),
    ("tags", False, "GET"): Operation(
        "Tags with their digests.",
        {200: TagStates, 304: None},
        api.tag_states,
        (404,),
        (
            REPOSITORY,
            Parameter("after", {"type": "string"}, "The last tag of the page before."),
            Parameter("limit", _WHOLE, f"At most {MAX_PAGE} are given."),
            Parameter("If-None-Match", {"type": "string"}, "The ETag of an answer before.", "header"),
        ),
    ),
    ("closure", True, "GET"): Operation(
        "Whether all that a digest needs is here.",
        {200: ClosureReport},
        api.closure,
        (404, 502, 504),
        (REPOSITORY, DIGEST, Parameter("rehash", {"enum": list(FLAGS)}, "Whether the bytes are read and hashed.")),
    ),
    ("why", True, "GET"): Operation(
        "Who answers for a tag or digest, who was asked, and which rule kept the rest from it; the pull right is enough.",
        {200: Explanation},
        api.why,
        (404,),
        (REPOSITORY, REFERENCE, NS),
    ),
}
_TOKEN: Schema = {
    "type": "object",
    "required": ["token", "access_token", "expires_in", "issued_at", "scope"],
    "properties": {
        **{name: {"type": "string"} for name in ("token", "access_token", "refresh_token", "issued_at", "scope")},
        "expires_in": {"type": "integer"},
    },
}
_LOGIN: Schema = {
    "type": "object",
    "required": ["grant_type"],
    "properties": {
        "grant_type": {"enum": ["password", "refresh_token"]},
        **{name: {"type": "string"} for name in ("username", "password", "refresh_token", "scope")},
    },
}
_ASKED = (
    Parameter("scope", {"type": "array", "items": {"type": "string"}}, "repository:NAME:pull,push"),
    Parameter("offline_token", {"type": "string"}, "true: a refresh token as well."),
)
NODE = {
    (TOKEN_PATH, "GET"): Operation(
        "A Bearer token for what the caller may do of the scopes.", {200: _TOKEN}, None, (401,), _ASKED, open=True
    ),
    (TOKEN_PATH, "POST"): Operation("The same as OAuth2.", {200: _TOKEN}, None, (401,), form=_LOGIN, open=True),
    ("/healthz", "GET"): Operation("Whether the process answers.", {200: "text/plain"}, open=True),
    ("/readyz", "GET"): Operation(
        "Whether requests should be sent here.", {200: "text/plain", 503: "text/plain"}, open=True
    ),
    ("/metrics", "GET"): Operation("For Prometheus.", {200: "text/plain"}, open=True),
}


def _key(route: ExtensionRoute, method: str) -> tuple[str, bool, str]:
    return route.kind, bool(route.target), "GET" if method == "HEAD" else method


def methods(route: ExtensionRoute) -> tuple[str, ...]:
    """The methods that this URL knows, for Allow."""
    return tuple(each for kind, part, each in OPERATIONS if (kind, part) == (route.kind, bool(route.target)))


async def answer(exchange: Exchange, route: ExtensionRoute) -> Response:
    """Lets the handler of this URL and method answer; the method must be one of ``methods``."""
    handler = OPERATIONS[_key(route, exchange.request.method)].handler
    assert handler is not None
    return await handler(exchange, route)


def _all() -> Iterator[tuple[str, str, Operation]]:
    for (path, method), operation in NODE.items():
        yield path, method, operation
    for (kind, part, method), operation in OPERATIONS.items():
        yield template(kind, part), method, operation


@functools.cache
def _text() -> str:
    return json.dumps(document("Towpath registry node", VERSION, _all()), indent=1) + "\n"


if __name__ == "__main__":
    print(_text(), end="")
