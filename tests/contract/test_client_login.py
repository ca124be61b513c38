"""The client and our node's own token service: each side written from the specification, here they meet."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from oci_wire.client import Credentials, RemoteRegistry
from oci_wire.errors import Denied, Unauthorized
from oci_wire.memory import MemoryRegistry
from registry_node import build
from registry_node.settings import NodeSettings
from tests.contract.content import CALL, push, push_blob
from tests.nodes import GRANTS, SECRETS, users


class Node:
    """A node's app without a socket, and the Authorization headers that it was sent."""

    def __init__(self, folder: Path) -> None:
        given = {"node": "box", "scope": "sandbox", "listen": {"port": 0}, "data": folder}
        settings = NodeSettings.model_validate({**given, "users": users(), "grants": GRANTS})
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(build.app_of(settings, MemoryRegistry(), log=False))
        )
        self.sent: list[tuple[str, str]] = []
        plain = self.http.send

        async def watching(request: httpx.Request, **options: object) -> httpx.Response:
            self.sent.append((request.url.path, request.headers.get("authorization", "").partition(" ")[0]))
            return await plain(request, **options)  # type: ignore[arg-type]  # passed through

        self.http.send = watching  # type: ignore[method-assign]  # to see what is sent

    def as_(self, name: str, secret: str = "") -> RemoteRegistry:
        credentials = Credentials(name, secret or SECRETS[name]) if name else None
        return RemoteRegistry("http://box.test", credentials=credentials, client=self.http)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_the_password_goes_to_the_token_service_alone(node: Node) -> None:
    await push(node.as_("dev"), "apps/api", b"layer", tags=["v1"])
    schemes: dict[str, set[str]] = {}
    for path, scheme in node.sent:
        schemes.setdefault(path.split("/")[1], set()).add(scheme)
    assert schemes == {"auth": {"Basic"}, "v2": {"", "Bearer"}}
    assert [path for path, _ in node.sent].count("/auth/token") == 1


async def test_a_reader_reads_and_does_not_write(node: Node) -> None:
    pushed = await push(node.as_("dev"), "apps/api", b"layer", tags=["v1"])
    reader = node.as_("reader")
    assert (await reader.resolve(CALL, "apps/api", "v1")).digest == pushed.digest
    with pytest.raises((Denied, Unauthorized)):
        await push_blob(reader, "apps/api", b"more")
    assert (await reader.resolve(CALL, "apps/api", "v1")).digest == pushed.digest


@pytest.mark.parametrize(("name", "secret"), [("dev", "wrong"), ("nobody-we-know", "x"), ("", "")])
async def test_whoever_cannot_say_who_they_are_gets_nothing(node: Node, name: str, secret: str) -> None:
    await push(node.as_("dev"), "apps/api", b"layer", tags=["v1"])
    before = len(node.sent)
    with pytest.raises(Unauthorized):
        await node.as_(name, secret).resolve(CALL, "apps/api", "v1")
    assert len(node.sent) - before <= 6
