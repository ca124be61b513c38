"""The extension over HTTP: statuses and bad input. What the calls mean is the contract suite's part."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from oci_wire import extension
from oci_wire.digest import Digest
from oci_wire.extension import Asked, Explanation
from oci_wire.memory import MemoryRegistry
from oci_wire.registry import Call
from registry_node import build
from registry_node.app import App
from registry_node.messages import Message
from registry_node.registries.through import Through
from tests.registry_node.conftest import DEV, ENGINE, READER, asking, settings
from tests.registry_node.images import push_image

API = "apps/api"
NOWHERE = f"sha256:{'0' * 64}"


@pytest.fixture
async def engine(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(app, ENGINE) as client:
        yield client


async def leased(engine: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await engine.post(extension.leases_path(API), json={"holder": "pr_1", "ttl": 60})
    assert answer.status_code == 201, answer.text
    lease = answer.json()
    base = {"lease": lease["id"], "token": lease["token"], "not_after": time.time() + 60, "actor": "tests"}
    return {**base, "tags": [], **changes}


async def test_features(engine: httpx.AsyncClient) -> None:
    found = (await engine.get("/_towpath/")).json()
    assert (found["node"], found["scope"], found["versions"]) == ("box", "sandbox", ["v1"])


async def test_leases(engine: httpx.AsyncClient) -> None:
    lease = (await engine.post(extension.leases_path(API), json={"holder": "pr_1", "ttl": 60})).json()
    other = await engine.post(extension.leases_path(API), json={"holder": "pr_2", "ttl": 60})
    assert (other.status_code, other.json()["errors"][0]["code"]) == (409, "CONFLICT")
    path = extension.leases_path(API, lease["id"])
    renewed = await engine.put(path, json={"token": lease["token"], "ttl": 120})
    assert renewed.status_code == 200
    assert renewed.json()["expires"] > lease["expires"]
    assert (await engine.request("DELETE", path, json={"token": lease["token"]})).status_code == 204
    assert (await engine.put(path, json={"token": lease["token"]})).status_code == 410


async def test_a_transaction_of_tags(engine: httpx.AsyncClient) -> None:
    digest = str(Digest.of(await push_image(engine, API, "1.0", b"layer")))
    tags = [{"tag": "stable", "expect": None, "to": digest}, {"tag": "1.0", "expect": digest, "to": None}]
    body = await leased(engine, tags=tags)
    path = extension.transaction_path(API, "pr_1")
    assert (await engine.get(path)).status_code == 404
    first, second = await engine.put(path, json=body), await engine.put(path, json=body)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json() == (await engine.get(path)).json()
    assert (await engine.delete(path)).status_code == 409  # it has landed
    assert (await engine.get(f"/v2/{API}/tags/list")).json()["tags"] == ["stable"]
    states = await engine.get(extension.tags_path(API))
    assert [each["digest"] for each in states.json()["tags"]] == [digest]
    same = await engine.get(extension.tags_path(API), headers={"if-none-match": states.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")


async def test_transactions_that_are_refused(engine: httpx.AsyncClient) -> None:
    digest = str(Digest.of(await push_image(engine, API, "1.0", b"layer")))
    moved = {"tag": "1.0", "expect": NOWHERE, "to": digest}
    fine = {"tag": "new", "expect": None, "to": digest}
    body = await leased(engine)
    for n, (changes, status) in enumerate(
        (
            ({"tags": [fine, moved]}, 412),
            ({"tags": [{"tag": "new", "expect": None, "to": NOWHERE}]}, 422),
            ({"tags": [fine], "not_after": time.time() - 1}, 410),
            ({"tags": [fine], "token": body["token"] + 1}, 409),
            ({"tags": []}, 400),
            ({"tags": [{"tag": "no/tag", "expect": None, "to": digest}]}, 400),
            ({"tags": [fine], "unless": "something new"}, 400),
        )
    ):
        answer = await engine.put(extension.transaction_path(API, f"pr_{n}"), json={**body, **changes})
        assert answer.status_code == status, answer.text
        assert answer.json()["errors"][0]["message"]
        if status == 412:
            assert answer.json()["errors"][0]["detail"]["1.0"] == digest
    assert (await engine.get(f"/v2/{API}/tags/list")).json()["tags"] == ["1.0"]
    aborted = extension.transaction_path(API, "pr_aborted")
    assert (await engine.delete(aborted)).status_code == 200
    assert (await engine.put(aborted, json={**body, "tags": [fine]})).status_code == 409


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"holder": "x"}', b'{"holder": "x y", "ttl": 1}', b'{"holder":"x","ttl":301}']
)
async def test_a_body_that_cannot_be_read_says_which_field(engine: httpx.AsyncClient, body: bytes) -> None:
    answer = await engine.post(extension.leases_path(API), content=body)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "REQUEST_INVALID")


async def test_holds_keep_a_digest(engine: httpx.AsyncClient) -> None:
    digest = str(Digest.of(await push_image(engine, API, "1.0", b"layer")))
    path = extension.hold_path(API, "pr_1")
    hold = {"digests": [digest, NOWHERE], "until": time.time() + 60, "reason": "tests"}
    receipt = await engine.put(path, json=hold)
    assert receipt.json() == {"present": [digest], "missing": [NOWHERE]}
    assert (await engine.delete(f"/v2/{API}/manifests/{digest}")).status_code == 403
    assert (await engine.delete(path)).status_code == 204
    assert (await engine.delete(f"/v2/{API}/manifests/{digest}")).status_code == 202


async def test_a_closure(engine: httpx.AsyncClient) -> None:
    digest = Digest.of(await push_image(engine, API, "1.0", b"layer"))
    report = (await engine.get(extension.closure_path(API, digest), params={"rehash": "1"})).json()
    assert (report["complete"], report["manifests"], report["blobs"]) == (True, 1, 2)


async def test_events_as_lines(engine: httpx.AsyncClient) -> None:
    assert (await engine.get(extension.EVENTS)).content == b""
    await push_image(engine, API, "1.0", b"layer")
    answer = await engine.get(extension.EVENTS)
    assert answer.headers["content-type"] == "application/x-ndjson"
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [(each["kind"], each["tag"]) for each in events if each["kind"] == "tag"] == [("tag", "1.0")]
    after = events[-1]["position"]
    waiting = asyncio.create_task(engine.get(extension.EVENTS, params={"after": after, "wait": "20"}))
    await asyncio.sleep(0)
    await push_image(engine, API, "2.0", b"layer")
    assert '"2.0"' in (await waiting).text


async def test_a_drain_ends_the_wait_for_events(app: App, engine: httpx.AsyncClient) -> None:
    waiting = asyncio.create_task(engine.get(extension.EVENTS, params={"wait": "60"}))
    await asyncio.sleep(0.05)
    app.node.draining.set()
    answer = await asyncio.wait_for(waiting, 20)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    "query", [{"after": "-1"}, {"after": "x"}, {"wait": "NaN"}, {"wait": "Infinity"}, {"wait": "[]"}]
)
async def test_numbers_that_are_none(engine: httpx.AsyncClient, query: dict[str, str]) -> None:
    assert (await engine.get(extension.EVENTS, params=query)).status_code == 400


async def test_all_of_it_needs_a_grant_to_promote(app: App, engine: httpx.AsyncClient) -> None:
    digest = Digest.of(await push_image(engine, API, "1.0", b"layer"))
    calls = [
        ("POST", extension.leases_path(API)),
        ("PUT", extension.leases_path(API, "x")),
        ("PUT", extension.hold_path(API, "x")),
        ("PUT", extension.transaction_path(API, "x")),
        ("GET", extension.transaction_path(API, "x")),
        ("DELETE", extension.transaction_path(API, "x")),
        ("GET", extension.tags_path(API)),
        ("GET", extension.closure_path(API, digest)),
        ("GET", extension.EVENTS),
    ]
    for who, status in ((DEV, 403), (None, 401)):
        async with asking(app, who) as client:
            for method, path in calls:
                assert (await client.request(method, path)).status_code == status, path


@pytest.mark.parametrize(
    "path",
    ["/_towpath/v2/events", "/_towpath/v1/r/apps/api/_/other", "/_towpath/v1/r/apps/api", "/_towpath/v1/r/_/tags"],
)
async def test_paths_that_are_none(engine: httpx.AsyncClient, path: str) -> None:
    assert (await engine.get(path)).status_code in (400, 404)


async def test_who_hangs_up_while_waiting_for_events_is_not_waited_for(app: App, http: httpx.AsyncClient) -> None:
    await push_image(http, "apps/api", "1.0", b"layer")
    gone, sent = asyncio.Event(), list[Message]()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async with asking(app, ENGINE) as engine:
        lines = (await engine.get("/_towpath/v1/events?after=0")).text.splitlines()
    name, secret = ENGINE
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/_towpath/v1/events",
        "raw_path": b"/_towpath/v1/events",
        "query_string": f"after={json.loads(lines[-1])['position']}&wait=60".encode(),
        "headers": [
            (b"host", b"box.test"),
            (b"authorization", b"Basic " + base64.b64encode(f"{name}:{secret}".encode())),
        ],
    }
    asked = asyncio.create_task(app(scope, receive, send))
    while app.in_flight == 0:
        await asyncio.sleep(0)
    gone.set()
    await asyncio.wait_for(asked, 30)
    assert (app.in_flight, sent) == (0, [])


async def test_why_needs_the_pull_right_and_no_more(engine: httpx.AsyncClient, app: App) -> None:
    digest = str(Digest.of(await push_image(engine, API, "1.0", b"layer")))
    async with asking(app, READER) as reader:
        found = await reader.get(extension.why_path(API, "1.0"))
        assert (found.status_code, found.json()["digest"], found.json()["answered"]) == (200, digest, "box")
        assert (await reader.get(extension.why_path(API, digest))).json()["rule"] == "its own content"
        assert (await reader.get(extension.why_path(API, "2.0"))).json()["answered"] is None
        hidden = await reader.get(extension.why_path("other/api", "1.0"))
        assert (hidden.status_code, hidden.json()["errors"][0]["code"]) == (404, "NAME_UNKNOWN")
        assert (await reader.get(extension.why_path(API, "-bad"))).status_code == 400
        assert (await reader.get(extension.why_path(API, "sha256:00"))).status_code == 400
    async with asking(app, None) as nobody:
        assert (await nobody.get(extension.why_path(API, "1.0"))).status_code == 401


class Members(Through):
    """Says that it asked a member which this caller may not read."""

    async def why(self, call: Call, repository: str, reference: str) -> Explanation:
        asked = (Asked(member="hidden", outcome="forbidden"), Asked(member="open", outcome="absent"))
        return (await super().why(call, repository, reference)).model_copy(update={"asked": asked})


async def test_why_shows_forbidden_members_to_those_who_may_promote(tmp_path: Path, registry: MemoryRegistry) -> None:
    app = build.app_of(settings(tmp_path), Members(registry), log=False)
    for who, shown in ((ENGINE, ["hidden", "open"]), (READER, ["open"])):
        async with asking(app, who) as http:
            answer = await http.get(extension.why_path(API, "1.0"))
            assert [each["member"] for each in answer.json()["asked"]] == shown
