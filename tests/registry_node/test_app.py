"""What every request meets: the table, errors, odd paths. No input may end as a 500."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from oci_wire.memory import MemoryRegistry
from registry_node import build
from registry_node.app import TABLE, App
from tests.registry_node.conftest import settings
from tests.registry_node.images import push_image

AUTH = b"Basic ZGV2OmNvcnJlY3QgaG9yc2U="  # dev


async def raw(
    app: App, method: str, target: bytes, headers: list[tuple[bytes, bytes]] | None = None, body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    """Asks the app with exactly these bytes: what no HTTP client would send, but an attacker does."""
    path, _, query = target.partition(b"?")
    given_headers = [(b"host", b"box.test"), (b"authorization", AUTH)] if headers is None else headers
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "headers": given_headers,
        "client": ("127.0.0.1", 1),
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    names = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return sent[0]["status"], names, b"".join(each.get("body", b"") for each in sent[1:])


async def test_every_url_says_which_methods_it_knows(app: App) -> None:
    digest = "sha256:" + "0" * 64
    for path, allowed in (
        ("/v2/", "GET, HEAD"),
        ("/v2/_catalog", "GET, HEAD"),
        ("/v2/a/tags/list", "GET, HEAD"),
        ("/v2/a/manifests/x", "GET, HEAD, PUT, DELETE"),
        (f"/v2/a/blobs/{digest}", "GET, HEAD, DELETE"),
        ("/v2/a/blobs/uploads/", "POST"),
        ("/v2/a/blobs/uploads/x", "GET, PATCH, PUT, DELETE, HEAD"),
        (f"/v2/a/referrers/{digest}", "GET, HEAD"),
        ("/auth/token", "GET, POST, HEAD"),
        ("/_towpath/v1/events", "GET, HEAD"),
        ("/healthz", "GET, HEAD"),
    ):
        status, headers, body = await raw(app, "TRACE", path.encode())
        assert (status, headers["allow"]) == (405, allowed), path
        assert json.loads(body)["errors"][0]["code"] == "UNSUPPORTED"
    assert len({endpoint for endpoint, _ in TABLE}) == 8


@pytest.mark.parametrize(
    "target",
    [
        b"/v2/../etc/manifests/x",
        b"/v2/%2e%2e/%2e%2e/manifests/x",
        b"/v2/a/%2e%2e/b/manifests/x",
        b"/v2/a%2fb/manifests/x",
        b"/v2//manifests/x",
        b"/v2/a//b/manifests/x",
        b"/v2/a/manifests/..",
        b"/v2/a/manifests/%2e%2e%2f%2e%2e",
        b"/v2/a/blobs/sha256:..%2f..%2fetc",
        b"/v2/a/blobs/sha256%3A%00",
        b"//evil.test/v2/",
        b"/v2/a/blobs/uploads/%2e%2e%2f%2e%2e",
        b"/v2/a/blobs/uploads/" + b"x" * 300,
        b"/v2/" + b"a" * 300 + b"/manifests/x",
        b"/v2/a/manifests/" + b"x" * 129,
        b"/v2/A/manifests/x",
        b"/v2/a';DROP TABLE tags;--/manifests/x",
        b"/v2/a/tags/list?n=1;DROP&last=%27%22",
        b"/\xff\xfe/\x00",
        b"/v2/a/manifests/x?" + b"&".join(b"a=b" for _ in range(500)),
        b"/_towpath/v1/r/../_/tags",
        b"/_towpath/v1/r/a/_/leases/%2e%2e%2f",
    ],
)
async def test_odd_paths_are_refused_in_the_protocols_words(app: App, target: bytes) -> None:
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        status, headers, body = await raw(app, method, target)
        assert 400 <= status < 500, (method, status)
        assert headers["content-type"] == "application/json"
        assert "location" not in headers
        if method != "HEAD":
            assert json.loads(body)["errors"][0]["code"]


@pytest.mark.attack("A-duplicate-headers")
@pytest.mark.parametrize("name", [b"host", b"authorization", b"content-length", b"content-type", b"range"])
async def test_a_header_that_came_twice_is_refused(app: App, name: bytes) -> None:
    headers = [(b"host", b"box.test"), (b"authorization", AUTH), (name, b"1"), (name, b"2")]
    status, _, body = await raw(app, "GET", b"/v2/", headers)
    assert (status, json.loads(body)["errors"][0]["code"]) == (400, "REQUEST_INVALID")


@pytest.mark.parametrize("host", [None, b"", b'evil.test"', b"a b", b"x" * 300])
async def test_a_host_that_cannot_be_read_is_refused(app: App, host: bytes | None) -> None:
    status, headers, _ = await raw(app, "GET", b"/v2/", [] if host is None else [(b"host", host)])
    assert status == 400
    assert "www-authenticate" not in headers


@pytest.mark.parametrize(
    "value", [b"Basic", b"Basic !", b"Basic Og==", b"Basic /////w==", b"Bearer", b"Bearer x", b"Digest x", b"x"]
)
async def test_credentials_that_cannot_be_read_are_none(app: App, value: bytes) -> None:
    status, headers, _ = await raw(app, "GET", b"/v2/", [(b"host", b"box.test"), (b"authorization", value)])
    assert status == 401
    assert headers["www-authenticate"].startswith("Bearer realm=")


async def test_a_bug_is_a_500_that_shows_nothing_of_itself(
    tmp_path: Path, registry: MemoryRegistry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("/secret/path/of/ours")

    monkeypatch.setattr(registry, "resolve", broken)
    app = build.app_of(settings(tmp_path), registry, log=True)
    status, headers, body = await raw(app, "HEAD", b"/v2/a/manifests/x")
    assert (status, body) == (500, b"")
    status, headers, body = await raw(
        app, "GET", b"/v2/a/manifests/x", [(b"if-none-match", b"x"), (b"host", b"b"), (b"authorization", AUTH)]
    )
    assert status == 500
    assert b"secret" not in body
    assert headers["x-request-id"].encode() in body
    logged = capsys.readouterr().err
    assert "/secret/path/of/ours" in logged
    assert headers["x-request-id"] in logged


async def test_probes_and_metrics(app: App, http: httpx.AsyncClient) -> None:
    await push_image(http, "apps/api", "1.0", b"layer")
    await http.get("/v2/apps/api/manifests/none")
    text = (await http.get("/metrics")).text
    assert 'registry_http_requests_total{code="201",handler="manifest",method="PUT"} 1.0' in text
    assert 'registry_http_requests_total{code="404",handler="manifest",method="GET"} 1.0' in text
    for name in (
        "registry_http_in_flight_requests 1.0",
        "registry_http_request_duration_seconds_bucket",
        "registry_http_request_size_bytes_total",
        "registry_http_response_size_bytes_total",
        "registry_storage_free_bytes ",
        "registry_storage_size_bytes ",
        "towpath_start_time_seconds ",
        'towpath_build_info{release="",version="',
        "process_resident_memory_bytes ",
    ):
        assert name in text
    assert "apps/api" not in text
    assert (await http.get("/readyz")).status_code == 200
    app.node.draining.set()
    assert (await http.get("/readyz")).status_code == 503
    assert (await http.get("/healthz")).status_code == 200
    assert (await http.get("/v2/")).headers["connection"] == "close"


async def test_another_way_to_speak_is_refused(app: App) -> None:
    with pytest.raises(RuntimeError, match="speaks HTTP"):
        await app({"type": "websocket"}, None, None)  # type: ignore[arg-type]


PATHS = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from(
            ["v2", "a", "b/c", "manifests", "blobs", "uploads", "tags", "list", "referrers", "_catalog", "_", "..", "",
             "sha256:" + "0" * 64, "sha512:x", "%2e", "%00", "x" * 130, "_towpath", "v1", "r", "leases", "closure", "auth",
             "token", "events", "transactions", "holds"]
        ),
        max_size=8,
    ).map(lambda parts: ("/" + "/".join(parts)).encode()),
)  # fmt: skip
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"range", b"content-range", b"content-type", b"content-length", b"if-none-match", b"expect"]),
        st.one_of(st.binary(max_size=30), st.sampled_from([b"bytes=0-1", b"0-4", b"5", b"*"])),
    ),
    max_size=3,
)
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"])
QUERIES = st.one_of(
    st.just(b""), st.binary(max_size=30), st.sampled_from([b"digest=x", b"mount=x&from=y", b"n=-1&last=%00"])
)


@given(path=PATHS, query=QUERIES, headers=HEADERS, method=METHODS, body=st.binary(max_size=50))
@hypothesis_settings(max_examples=400, deadline=None)
def test_no_input_makes_a_500(
    path: bytes, query: bytes, headers: list[tuple[bytes, bytes]], method: str, body: bytes, tmp_path_factory: Any
) -> None:
    app = _shared(tmp_path_factory)
    asked = [(b"host", b"box.test"), (b"authorization", AUTH), *headers]
    status, _, _ = asyncio.run(raw(app, method, path + (b"?" + query if query else b""), asked, body))
    assert status < 500


_APPS: list[App] = []


def _shared(factory: Any) -> App:
    if not _APPS:
        _APPS.append(build.app_of(settings(factory.mktemp("node")), MemoryRegistry(), log=False))
    return _APPS[0]
