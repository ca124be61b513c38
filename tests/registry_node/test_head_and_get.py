"""HEAD has GET's status and headers, and no body, for every URL of the node that knows GET (RFC 9110 section 9.3.2).

The URLs of the protocol are swept in tests/protocol (base.head-is-get); these are the node's own.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes import RunningNode, running
from tests.protocol.target import Target

# New each time; or how the body is framed that HEAD has not (RFC 9110 lets it be left out).
_VARYING = {"date", "x-request-id", "transfer-encoding"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    folder: Path = tmp_path_factory.mktemp("swept")
    with running(folder / "box") as node:
        yield node


def _urls(node: RunningNode) -> list[str]:
    """Every path of the node's own API document that has a GET, its parameters filled in; and what stands beside it."""
    with node.client("towpath-engine") as http:
        pushed = Target(node.url, http).image("apps/api", "1.0")
        lease = http.post("/_towpath/v1/r/apps/api/_/leases", json={"holder": "x", "ttl": 60})
        assert lease.status_code == 201
        document = http.get("/_towpath/v1/openapi.json").json()
    filled = {
        "repository": "apps/api",
        "reference": "1.0",
        "digest": pushed.digest,
        "txid": "none",
        "owner": "none",
        "lease": "none",
    }
    found = [path for path, operations in document["paths"].items() if "get" in operations]
    for name, value in filled.items():
        found = [path.replace(f"{{{name}}}", value) for path in found]
    assert not [path for path in found if "{" in path], "a parameter that this test does not know"
    return sorted({*found, "/healthz", "/readyz", "/metrics", "/nothing", "/v2/apps/api/manifests/1.0?x=1"})


def test_head_is_get_without_a_body(node: RunningNode) -> None:
    urls = _urls(node)
    assert len(urls) >= 8
    for who in ("towpath-engine", "reader", None):
        with node.client(who) as http:
            for url in urls:
                got, head = http.get(url), http.head(url)
                assert head.status_code == got.status_code, url
                assert head.content == b"", url
                assert set(head.headers) - _VARYING == set(got.headers) - _VARYING, url
                assert head.headers.get("content-type") == got.headers.get("content-type"), url
                assert head.headers.get("www-authenticate") == got.headers.get("www-authenticate"), url


def test_a_pipeline_of_heads_stays_in_step(node: RunningNode) -> None:
    """A body after one HEAD would be read as the next answer."""
    urls = [*_urls(node), "/v2/", "/v2/apps/api/tags/list", "/v2/BAD/tags/list", "/healthz"]
    host, _, port = node.host.partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        asked = "".join(f"HEAD {url} HTTP/1.1\r\nHost: {node.host}\r\n\r\n" for url in urls)
        last = f"GET /healthz HTTP/1.1\r\nHost: {node.host}\r\nConnection: close\r\n\r\n"
        sock.sendall((asked + last).encode())
        said = b"".join(iter(lambda: sock.recv(65536), b""))
    answers = said.split(b"\r\n\r\n")
    assert [each.startswith(b"HTTP/1.1 ") for each in answers[:-1]] == [True] * (len(urls) + 1)
    assert answers[-1] == b"ok\n"
