"""The short way of a read answers as the long way does, byte for byte, or not at all."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from oci_wire.digest import Digest
from oci_wire.manifest import DOCKER_LIST, OCI_INDEX
from registry_node import build
from registry_node.app import App
from registry_node.registries.local import LocalRegistry
from tests.registry_node.conftest import DEV, READER, asking, settings
from tests.registry_node.images import push_image
from tests.registry_node.test_access import token_for
from tests.registry_node.test_app import raw


@pytest.fixture
async def ways(tmp_path: Path) -> AsyncIterator[tuple[App, App]]:
    """Two apps over one registry: with the short way and without."""
    given = settings(tmp_path)
    with closing(LocalRegistry.open(given.data)) as registry:
        yield (
            build.app_of(given, registry, reads=registry.reads, log=False),
            build.app_of(given, registry, log=False),
        )


def basic(name: str, secret: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{name}:{secret}".encode())


async def test_both_ways_say_the_same(ways: tuple[App, App]) -> None:
    short, long = ways
    async with asking(short, DEV) as http:
        digest = str(Digest.of(await push_image(http, "apps/api", "1.0", b"layer")))
        await push_image(http, "public/api", "1.0", b"layer")
        await push_image(http, "secret/api", "1.0", b"layer")
    tokens = [
        (await token_for(short, who, "repository:apps/api:pull"))["authorization"].encode()
        for who in (DEV, READER, None)
    ]
    credentials = [None, basic(*DEV), basic(*READER), basic("dev", "wrong"), b"Bearer x", *tokens]
    targets = [
        f"/v2/{repository}/manifests/{reference}".encode()
        for repository in ("apps/api", "public/api", "secret/api", "none", "APPS")
        for reference in ("1.0", digest, digest.replace(":", "%3A"), "none", "sha256:" + "0" * 64, "-bad")
    ]
    blobs = [*(str(Digest.of(each)) for each in (b"layer", b"{}")), "sha256:" + "0" * 64, "sha256:bad"]
    targets += [
        f"/v2/{repository}/blobs/{each}".encode()
        for repository in ("apps/api", "public/api", "secret/api", "none", "APPS")
        for each in blobs
    ]
    headers = [
        [],
        [(b"accept", b"*/*")],
        [(b"if-none-match", f'"{digest}"'.encode())],
        [(b"range", b"bytes=0-1")],
        [(b"x-new", b"1")],
    ]
    answered = 0
    for credential in credentials:
        for target in targets:
            for more in headers:
                for method in ("GET", "HEAD"):
                    asked = [(b"host", b"box.test"), *more, *([(b"authorization", credential)] if credential else [])]
                    first, second = [await raw(app, method, target, asked) for app in ways]
                    for answer in (first, second):
                        assert answer[1].pop("x-request-id")
                    assert first == second, (credential, target, more)
                    answered += short.prompt is not None and short.prompt.answer(method, target, asked, "") is not None
    assert answered > 50  # it is a short way, not no way
    assert long.prompt is None


async def test_a_moved_or_deleted_tag_shows_at_once(ways: tuple[App, App]) -> None:
    short, _ = ways
    async with asking(short, DEV) as http:
        first = await push_image(http, "apps/api", "1.0", b"layer")
        assert (await http.get("/v2/apps/api/manifests/1.0")).content == first
        second = await push_image(http, "apps/api", "1.0", b"another layer")
        assert (await http.get("/v2/apps/api/manifests/1.0")).content == second
        await http.delete(f"/v2/apps/api/manifests/{Digest.of(second)}")
        assert (await http.get("/v2/apps/api/manifests/1.0")).status_code == 404
        assert (await http.get(f"/v2/apps/api/manifests/{Digest.of(second)}")).status_code == 404
        assert (await http.get(f"/v2/apps/api/manifests/{Digest.of(first)}")).content == first


async def test_the_same_bytes_keep_the_type_that_each_repository_was_told(ways: tuple[App, App]) -> None:
    body = b'{"schemaVersion": 2, "manifests": []}'
    types = {"apps/oci": OCI_INDEX, "apps/docker": DOCKER_LIST}
    for app in ways:
        async with asking(app) as http:
            for name, kind in types.items():
                url = f"/v2/{name}/manifests/1.0"
                assert (await http.put(url, content=body, headers={"content-type": kind})).status_code == 201
    for app in ways:
        for name, kind in types.items():
            asked = [(b"host", b"box.test"), (b"authorization", basic(*DEV))]
            _, headers, _ = await raw(app, "GET", f"/v2/{name}/manifests/1.0".encode(), asked)
            assert headers["content-type"] == kind
