"""Everything that claims to be a registry, how to start it, and what the protocol lets it leave out."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from identity.grants import Action, Grant
from oci_wire.client import Credentials, RemoteRegistry
from oci_wire.memory import MemoryRegistry
from registry_node import build
from registry_node.registries.local import LocalRegistry
from registry_node.registries.virtual.doors import Door
from registry_node.registries.virtual.rights import Rights
from registry_node.registries.virtual.virtual import VirtualRegistry
from registry_node.settings import NodeSettings
from registry_node.settings.virtual import Virtual
from tests import postgresql
from tests.contract.content import push
from tests.nodes import GRANTS, SECRETS, RunningNode, free_port, many, users
from tests.tools import require

VIRTUAL_MEMBERS = [
    {"name": "other", "kind": "local", "url": "http://127.0.0.1:1"},
    {"name": "own", "kind": "local", "url": "http://127.0.0.1:2"},
    {"name": "far", "kind": "remote", "url": "http://127.0.0.1:3"},
]
EVERYTHING_GRANTED = (Grant("everyone", frozenset(Action)),)
ENGINE = Credentials("towpath-engine", SECRETS["towpath-engine"])

# What an implementation may lack. A test that needs one of them says so; everything else is asked of all.
REFERRERS_API = "referrers API"
TAG_DELETE = "deletes tags"
SPARSE = "takes sparse indexes"
SHA512 = "sha512"
EXTENSION = "/_towpath"
UNTAGGED = "lists a repository without tags"
SESSION_RANGE = "tells how far a session is after a refused chunk"
CATALOG = "lists repositories of which nothing was read"
FORGETS = "a digest that was deleted may come back as another type"
CHECKED = "compares a manifest with what it names"
EVERYTHING = frozenset(
    {CATALOG, FORGETS, CHECKED, REFERRERS_API, TAG_DELETE, SPARSE, SHA512, EXTENSION, SESSION_RANGE, UNTAGGED}
)

Opened = AbstractAsyncContextManager[Any]


@dataclass(frozen=True)
class Implementation:
    """``open(folder, server)``: ``server`` is what ``serve`` gave, once for all tests."""

    name: str
    open: Callable[[Path, Any], Opened]
    capabilities: frozenset[str] = EVERYTHING
    serve: Callable[[Path], contextlib.AbstractContextManager[Any]] = field(
        default=lambda folder: contextlib.nullcontext()
    )
    marks: tuple[str, ...] = ()


@asynccontextmanager
async def _memory(folder: Path, server: None) -> AsyncIterator[Any]:
    yield MemoryRegistry()


@asynccontextmanager
async def _local(folder: Path, server: None) -> AsyncIterator[Any]:
    with contextlib.closing(LocalRegistry.open(folder / "data")) as registry:
        yield registry


@contextlib.contextmanager
def _postgresql(folder: Path) -> Iterator[tuple[Path, str]]:
    with postgresql.server() as cluster:
        yield folder / "data", cluster.database()


@asynccontextmanager
async def _local_on_postgresql(folder: Path, server: tuple[Path, str]) -> AsyncIterator[Any]:
    data, dsn = server
    with contextlib.closing(LocalRegistry.open(data, dsn=dsn)) as registry:
        yield registry


@asynccontextmanager
async def _over_asgi(folder: Path, server: None) -> AsyncIterator[Any]:
    """Our HTTP on both sides without a socket, over the twin: whatever differs from it is ours."""
    settings = NodeSettings.model_validate(
        {"node": "box", "scope": "sandbox", "listen": {"port": 0}, "data": folder / "data"}
        | {"users": users(), "grants": GRANTS}
    )
    app = build.app_of(settings, MemoryRegistry(), log=False)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
        yield RemoteRegistry("http://box.test", credentials=ENGINE, client=http, chunk_size=64 * 1024)


@asynccontextmanager
async def _virtual(folder: Path, server: None) -> AsyncIterator[Any]:
    """Over a local registry, where pushes go, and two that have something else."""
    virtual = Virtual.model_validate(
        {"members": VIRTUAL_MEMBERS, "unmatched": "members", "push_to": "own", "resolve": "newest"}
    )
    with contextlib.closing(LocalRegistry.open(folder / "data")) as own:
        members = {"own": own, "other": MemoryRegistry(node="other"), "far": MemoryRegistry(node="far")}
        doors = [
            Door(each.name, each.kind, members[each.name], Rights(each.name, lambda: EVERYTHING_GRANTED))
            for each in virtual.members
        ]
        for name in ("other", "far"):
            await push(members[name], "elsewhere/app", name.encode(), tags=["1.0", name])
        yield VirtualRegistry(virtual, doors, node="virtual")


@contextlib.contextmanager
def _node(folder: Path) -> Iterator[str]:
    node = RunningNode(folder)
    try:
        node.start()
        yield node.url
    finally:
        node.kill()


@contextlib.contextmanager
def _virtual_node(folder: Path) -> Iterator[str]:
    """A virtual over an empty node and the one that takes its pushes, all asked over HTTP."""
    with many(folder) as make:
        members = []
        for name in ("first", "second"):
            node, secret = make(name), folder / f"{name}.secret"
            secret.touch(mode=0o600)
            secret.write_text(f"{ENGINE.username}:{ENGINE.password}")
            members.append({"name": name, "kind": "local", "url": node.url, "credentials": {"file": str(secret)}})
        virtual = {"members": members, "unmatched": "members", "push_to": "second"}
        yield make("everything", kind="virtual", virtual=virtual).url


@contextlib.contextmanager
def _mirrored_node_on_postgresql(folder: Path) -> Iterator[tuple[str, str]]:
    with postgresql.server() as cluster:
        secret = folder / "index.dsn"
        secret.touch(mode=0o600)
        secret.write_text(cluster.database())
        with _mirrored_node(folder, index={"postgresql": {"dsn_file": str(secret)}}) as urls:
            yield urls


@contextlib.contextmanager
def _mirrored_node(folder: Path, **settings: Any) -> Iterator[tuple[str, str]]:
    """A node that is filled and the mirror before it, which believes no tag and no absence for any time. ``settings``:
    of the mirror's node."""
    with many(folder) as make:
        origin, secret = make("origin"), folder / "origin.secret"
        secret.touch(mode=0o600)
        secret.write_text(f"{ENGINE.username}:{ENGINE.password}")
        upstream = {"name": "origin", "url": origin.url, "credentials": {"file": str(secret)}}
        believes = {"tag_seconds": 0, "negative_seconds": 0, "keep_deleted": False}
        declared = {"upstreams": [upstream], **believes}
        mirror = make("cache", kind="mirror", scope="cache", mirror=declared, **settings)
        yield origin.url, mirror.url


class Filled:
    """What is written goes to the upstream, what is read comes through the mirror."""

    def __init__(self, upstream: RemoteRegistry, mirror: RemoteRegistry) -> None:
        self._upstream, self._mirror = upstream, mirror

    def __getattr__(self, name: str) -> Any:
        writes = name.startswith(("put_", "mount_", "delete_", "start_", "append", "finish_", "cancel_", "upload_"))
        return getattr(self._upstream if writes else self._mirror, name)


@asynccontextmanager
async def _mirrored(folder: Path, urls: tuple[str, str]) -> AsyncIterator[Any]:
    upstream, mirror = (RemoteRegistry(url, credentials=ENGINE, chunk_size=64 * 1024) for url in urls)
    async with upstream, mirror:
        yield Filled(upstream, mirror)


@asynccontextmanager
async def _remote(folder: Path, url: str) -> AsyncIterator[Any]:
    async with RemoteRegistry(url, credentials=ENGINE, chunk_size=64 * 1024) as registry:
        yield registry


@contextlib.contextmanager
def docker_registry(folder: Path) -> Iterator[str]:
    """Debian's docker-registry (distribution 2.8) on a free port, deletion switched on; gives its URL."""
    program, port = require("docker-registry"), free_port()
    settings = folder / "registry.yml"
    settings.write_text(
        "version: 0.1\n"
        "log: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(settings)], stdout=log, stderr=log)
    try:
        _wait(process, f"http://127.0.0.1:{port}/v2/", folder / "registry.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"{url} does not answer: {log.read_text()}")


ALL = (
    Implementation("memory", _memory),
    Implementation("local", _local),
    Implementation("virtual", _virtual, EVERYTHING - {EXTENSION}),
    Implementation("local-postgresql", _local_on_postgresql, serve=_postgresql, marks=("clients",)),
    Implementation("client-asgi-memory", _over_asgi),
    Implementation("client-node", _remote, serve=_node, marks=("slow",)),
    # Leases, transactions and events belong to the node that holds the content: a virtual has none.
    Implementation("client-virtual-node", _remote, EVERYTHING - {EXTENSION}, _virtual_node, ("slow",)),
    Implementation(
        "client-mirror-node", _mirrored, EVERYTHING - {EXTENSION, CATALOG, FORGETS}, _mirrored_node, ("slow",)
    ),
    Implementation(
        "client-mirror-node-postgresql",
        _mirrored,
        EVERYTHING - {EXTENSION, CATALOG, FORGETS},
        _mirrored_node_on_postgresql,
        ("slow", "clients"),
    ),
    Implementation(
        "client-docker-registry",
        _remote,
        # It answers a referrers request with 404, deletes by digest only, wants every child of an index first.
        EVERYTHING - {CHECKED, REFERRERS_API, TAG_DELETE, SPARSE, EXTENSION, SHA512, SESSION_RANGE, UNTAGGED},
        docker_registry,
        ("clients",),
    ),
)
