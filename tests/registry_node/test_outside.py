"""A node that a proxy shows by path: every name that goes out is the one that clients use, and every right is asked for
by the node's own."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_wire import routes
from oci_wire.auth import TokenScope
from oci_wire.digest import Digest
from registry_node import build
from registry_node.front import front_of
from registry_node.outside import HERE, NAMESPACE, PREFIX, Outside, told
from registry_node.registries.local import LocalRegistry
from registry_node.settings import Limits
from tests.registry_node.conftest import DEV, asking, settings
from tests.registry_node.images import push_image
from tests.registry_node.test_forwarded import proxies
from tests.registry_node.test_front import served

NAMED = {"x-forwarded-namespace": "team/prod"}
BELOW = {"x-forwarded-prefix": "/prod"}
LAYER = b"layer"
DIGEST = str(Digest.of(LAYER))


@asynccontextmanager
async def node(folder: Path, networks: tuple[str, ...] = ("127.0.0.0/8",)) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a node with two images of the same layer, which believes these proxies."""
    made = settings(folder)
    with closing(LocalRegistry.open(made.data)) as registry:
        app = build.app_of(made, registry, reads=registry.reads)
        async with asking(app) as http:
            await push_image(http, "public/api", "1.0", LAYER)
            await push_image(http, "public/web", "1.0", LAYER)
            await push_image(http, "public/web", "2.0", b"another layer")
        front = front_of(app.at_once, Limits(), app.refused, proxies(networks=networks))
        async with (
            served(app, front) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", auth=DEV, trust_env=False) as client,
        ):
            yield client


@pytest.mark.parametrize(("headers", "start", "below"), [(NAMED, "/v2/team/prod", ""), (BELOW, "/prod/v2", "/prod")])
async def test_every_address_that_goes_out(tmp_path: Path, headers: dict[str, str], start: str, below: str) -> None:
    async with node(tmp_path) as http:
        opened = await http.post("/v2/public/new/blobs/uploads/", headers=headers)
        session = opened.headers["docker-upload-uuid"]
        own = f"/v2/public/new/blobs/uploads/{session}"
        assert opened.headers["location"] == f"{start}/public/new/blobs/uploads/{session}"
        part = await http.patch(own, content=b"part", headers=headers)
        assert part.headers["location"] == f"{start}/public/new/blobs/uploads/{session}"
        done = await http.put(own, params={"digest": str(Digest.of(b"part"))}, headers=headers)
        assert done.headers["location"] == f"{start}/public/new/blobs/{Digest.of(b'part')}"
        manifest = await http.get("/v2/public/api/manifests/1.0", headers=headers)
        kind = {"content-type": manifest.headers["content-type"], **headers}
        put = await http.put("/v2/public/api/manifests/3.0", content=manifest.content, headers=kind)
        assert put.headers["location"] == f"{start}/public/api/manifests/{manifest.headers['docker-content-digest']}"
        page = await http.get("/v2/public/web/tags/list", params={"n": 1}, headers=headers)
        assert page.headers["link"] == f'<{start}/public/web/tags/list?n=1&last=1.0>; rel="next"'
        anonymous = await http.get("/v2/private/x/manifests/1", auth=httpx.Auth(), headers=headers)
        assert f"{below}/auth/token" in anonymous.headers["www-authenticate"]


async def test_lists_hold_the_names_that_clients_use(tmp_path: Path) -> None:
    async with node(tmp_path) as http:
        tags = await http.get("/v2/public/api/tags/list", headers=NAMED)
        assert tags.json() == {"name": "team/prod/public/api", "tags": ["1.0"]}
        first = await http.get("/v2/_catalog", params={"n": 1}, headers=NAMED)
        assert first.json() == {"repositories": ["team/prod/public/api"]}
        (link,) = re.findall(r"<(.*)>", first.headers["link"])
        assert link.startswith("/v2/team/prod/_catalog?")
        second = await http.get(link.replace("/team/prod/_catalog", "/_catalog"), headers=NAMED)
        assert second.json() == {"repositories": ["team/prod/public/web"]}


async def test_a_mount_is_from_a_repository_of_this_node(tmp_path: Path) -> None:
    async with node(tmp_path) as http:
        for source, status in (("team/prod/public/api", 201), ("public/api", 202), ("team/prodpublic/api", 202)):
            asked = {"mount": DIGEST, "from": source}
            assert (await http.post("/v2/public/new/blobs/uploads/", params=asked, headers=NAMED)).status_code == status
        asked = {"mount": DIGEST, "from": "team/prod/public/api"}
        assert (await http.post("/v2/public/newer/blobs/uploads/", params=asked)).status_code == 202
        asked["from"] = "team/prod/public/../api"
        assert (await http.post("/v2/public/new/blobs/uploads/", params=asked, headers=NAMED)).status_code == 400


async def test_challenge_and_token_speak_of_the_same_names(tmp_path: Path) -> None:
    async with node(tmp_path) as http:
        asked = await http.post("/v2/private/x/blobs/uploads/", auth=httpx.Auth(), headers=NAMED)
        assert 'scope="repository:team/prod/private/x:pull,push"' in asked.headers["www-authenticate"]
        query = {
            "service": "towpath",
            "offline_token": "true",
            "scope": "repository:team/prod/public/api:pull repository:public/web:pull repository:other/public/web:pull",
        }
        issued = (await http.get("/auth/token", params=query, headers=NAMED)).json()
        assert issued["scope"] == "repository:team/prod/public/api:pull" and "refresh_token" not in issued
        bearer = {"authorization": f"Bearer {issued['token']}", **NAMED}
        plain = httpx.Auth()
        got = await http.get(f"/v2/public/api/blobs/{DIGEST}", auth=plain, headers=bearer)
        assert got.content == LAYER
        other = await http.get(f"/v2/public/web/blobs/{DIGEST}", auth=plain, headers=bearer)
        assert (other.status_code, "repository:team/prod/public/web:pull" in other.headers["www-authenticate"]) == (
            401,
            True,
        )
        assert (await http.get("/auth/token", params={"service": "towpath"})).status_code == 400, "no proxy said so"


@pytest.mark.parametrize("networks", [(), ("10.0.0.0/8",)])
async def test_nobody_but_a_declared_proxy_is_believed(tmp_path: Path, networks: tuple[str, ...]) -> None:
    async with node(tmp_path, networks) as http:
        for headers in (NAMED, BELOW):
            opened = await http.post("/v2/public/new/blobs/uploads/", headers=headers)
            assert opened.headers["location"].startswith("/v2/public/new/blobs/uploads/")
            tags = await http.get("/v2/public/api/tags/list", headers=headers)
            assert tags.json()["name"] == "public/api"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (NAMESPACE, value)
        for value in (b"", b"/prod", b"prod/", b"Prod", b"a//b", b"../x", b"a b", b'a"b', b"a\xff", b"a" * 300)
    ]
    + [(PREFIX, value) for value in (b"", b"prod", b"/prod/", b"//evil", b"/../x", b"/a b", b'/"', b"/a" * 300)],
)
def test_what_can_not_be_read_counts_as_absent(name: bytes, value: bytes) -> None:
    assert told([(name, value)]) == HERE
    assert told([(name, b"prod"), (name, b"prod")]) == HERE, "twice: one of them is not the proxy's"


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_nothing_breaks_it(prefix: bytes, namespace: bytes) -> None:
    found = told([(PREFIX, prefix), (NAMESPACE, namespace)])
    assert found.url(routes.base()).startswith("/")


def test_names_in_and_out() -> None:
    outside = Outside(namespace="team/prod")
    assert outside.inside(outside.name("apps/api")) == "apps/api"
    assert [outside.inside(each) for each in ("team/prod", "team/prod/", "team/production/a", "a", "")] == [None] * 5
    assert (HERE.name("a"), HERE.inside("a"), HERE.url(routes.tags("a"))) == ("a", "a", "/v2/a/tags/list")
    assert outside.url(routes.base()) == "/v2/team/prod/"
    everything = TokenScope("registry", "catalog", frozenset(("*",)))
    assert outside.scopes_inside([everything]) == (everything,)
    assert outside.scopes("registry:catalog:*") == "registry:catalog:*"
