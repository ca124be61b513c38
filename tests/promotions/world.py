"""A small world to promote in: a topology of four scopes over registries in memory, images, keys, an engine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives import serialization

from identity.grants import Principal
from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.manifest import OCI_INDEX, OCI_MANIFEST, Manifest
from oci_wire.memory import MemoryRegistry
from oci_wire.registry import Call, once
from promotions.engine import Engine
from promotions.keys import PrivateKey, generate, load_private
from promotions.outcome import Outcome, Request
from promotions.place import ExtendedRegistry, Place
from promotions.progress import Watch, unwatched
from promotions.retry import RetryPolicy
from promotions.sign import Layout, sign
from promotions.store import Store
from topology.model import Topology

CALL = Call("test")
CI = Principal("ci-runner", frozenset({"ci"}), robot=True, how="token")
DEV = Principal("dev", frozenset({"devs"}), how="password")
NODES = {"sandbox": "sandbox-eu", "ci-pool": "ci-pool-eu", "prod": "prod-eu"}
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
DOCUMENT: dict[str, Any] = {
    "apiVersion": "towpath/v1",
    "kind": "Topology",
    "metadata": {"name": "world"},
    "sites": {"eu": {"hosts": {"eu-1": {}}}, "us": {"hosts": {"us-1": {}}}},
    "users": {"ci-runner": {"robot": True, "token": {"env": "CI"}}, "dev": {"password": {"env": "DEV"}}},
    "groups": {"ci": {"users": ["ci-runner"]}, "devs": {"users": ["dev"]}},
    "scopes": {
        "sandbox": {"class": "dev", "cleanup": {"every": "6h", "keep": [{"pushedWithin": "3d"}]}},
        "ci-pool": {"class": "ci"},
        "prod": {"class": "prod", "write": "promotion-only", "immutableTags": ["v*"]},
    },
    "nodes": {
        "sandbox-eu": {"kind": "local", "scope": "sandbox", "site": "eu", "host": "eu-1", "port": 5001},
        "ci-pool-eu": {"kind": "local", "scope": "ci-pool", "site": "eu", "host": "eu-1", "port": 5002},
        "prod-eu": {"kind": "local", "scope": "prod", "site": "eu", "host": "eu-1", "port": 5003},
        "prod-us": {"kind": "local", "scope": "prod", "role": "replica", "site": "us", "host": "us-1", "port": 5003},
    },
    "trust": {
        "release-key": {"type": "key", "file": "release.pub"},
        "towpath-key": {"type": "key", "file": "towpath.pub", "privateKey": {"file": "towpath.key"}},
    },
    "gates": {"signed": {"type": "signature", "by": ["release-key"]}},
    "promotions": [
        {
            "id": "to-prod",
            "from": "ci-pool",
            "to": "prod",
            "by": ["ci"],
            "repositories": ["apps/**"],
            "gates": ["signed"],
            "tags": ["{tag}", "stable"],
            "attestWith": "towpath-key",
        }
    ],
    "replications": [
        {"id": "everywhere", "from": "prod-eu", "to": ["prod-us"], "on": "event", "reconcile": "1m", "deletes": "trash"}
    ],
}


def topology(folder: Path, change: Callable[[dict[str, Any]], None] | None = None, *, keys: bool = True) -> Topology:
    """The world's topology; ``change`` edits the document first. ``keys``: writes its key files into ``folder``."""
    document = json.loads(json.dumps(DOCUMENT))
    if change is not None:
        change(document)
    for name, (_, public) in _pairs().items() if keys else ():
        (folder / f"{name}.key").write_bytes(_plain(name))
        (folder / f"{name}.pub").write_bytes(public)
    return Topology.model_validate(document, context={"base": str(folder)})


@cache
def _pairs() -> dict[str, tuple[bytes, bytes]]:
    """scrypt is slow on purpose: once a run."""
    return {name: generate() for name in ("release", "towpath")}


@cache
def key(name: str) -> PrivateKey:
    return load_private(_pairs()[name][0])


def _plain(name: str) -> bytes:
    private = key(name).key
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@cache
def _empty_database() -> bytes:
    """Migrated once a run."""
    with TemporaryDirectory() as folder:
        Store.open(Path(folder)).close()
        return (Path(folder) / "promotions.db").read_bytes()


@dataclass
class Nodes:
    """The nodes of a topology as registries in memory (or whatever stands in for one)."""

    topology: Topology
    registries: dict[str, ExtendedRegistry] = field(default_factory=dict)

    def of(self, node: str) -> ExtendedRegistry:
        if node not in self.registries:
            declared = self.topology.nodes[node]
            immutable = self.topology.scopes[declared.scope].immutable_tags
            self.registries[node] = MemoryRegistry(node=node, scope=declared.scope, immutable_tags=immutable)
        return self.registries[node]

    def place(self, node: str, repository: str) -> Place:
        scope = self.topology.nodes[node].scope
        return Place(node, scope, self.of(node), repository, repository, f"http://{node}")


async def put(place: Place, content: bytes, media_type: str) -> Descriptor:
    blob = Descriptor(media_type, Digest.of(content), len(content))
    await place.registry.put_blob(CALL, place.repository, blob, once(content))
    return blob


async def image(
    place: Place, *tags: str, labels: dict[str, str] | None = None, salt: str = "", layers: int = 2
) -> Manifest:
    config = {"architecture": "amd64", "os": "linux", "config": {"Labels": labels or {}}, "salt": salt}
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": (await put(place, json.dumps(config).encode(), CONFIG)).to_json(),
        "layers": [
            (await put(place, f"layer {number} {salt}".encode() * 100, LAYER)).to_json() for number in range(layers)
        ],
    }
    manifest = Manifest.parse(json.dumps(body).encode(), OCI_MANIFEST)
    await place.registry.put_manifest(CALL, place.repository, manifest, tags=tags)
    return manifest


async def index(place: Place, *tags: str, salt: str = "", labels: dict[str, str] | None = None) -> Manifest:
    """An index of two platforms."""
    children = [await image(place, salt=f"{salt}-{each}", labels=labels) for each in ("amd64", "arm64")]
    entries = [
        {**each.descriptor.to_json(), "platform": {"os": "linux", "architecture": name}}
        for each, name in zip(children, ("amd64", "arm64"), strict=True)
    ]
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    manifest = Manifest.parse(json.dumps(body).encode(), OCI_INDEX)
    await place.registry.put_manifest(CALL, place.repository, manifest, tags=tags)
    return manifest


class World:
    """Everything in one folder. ``nodes`` keep what is in them; engines come and go."""

    def __init__(self, folder: Path, change: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.folder = folder
        self.topology = topology(folder, change)
        self.nodes = Nodes(self.topology)
        (folder / "engine").mkdir(exist_ok=True)
        (folder / "engine" / "promotions.db").write_bytes(_empty_database())
        self.store = Store.open(folder / "engine")
        self.key = key("release")
        self.now: Callable[[], float] = time.time

    @property
    def ledgers(self) -> Path:
        return self.folder / "engine" / "ledger"

    def _now(self) -> float:
        return self.now()  # a test may change it later

    def engine(self) -> Engine:
        async def no_sleep(_: float) -> None:
            return None

        retry = RetryPolicy(attempts=3, sleep=no_sleep)
        return Engine(self.topology, self.nodes, self.store, self.ledgers, retry, now=self._now)

    def place(self, scope: str, repository: str = "apps/api") -> Place:
        return self.nodes.place(NODES.get(scope, scope), repository)

    async def signed_image(self, tag: str = "1.0", *, salt: str = "", layout: Layout = Layout.TAG) -> Manifest:
        """An index in ci-pool, signed with the release key."""
        source = self.place("ci-pool")
        made = await index(source, tag, salt=salt or tag)
        await sign(source, CALL, made.digest, self.key, layout=layout)
        return made

    async def promote(
        self,
        reference: str = "1.0",
        who: Principal = CI,
        *,
        watch: Watch = unwatched,
        dry_run: bool = False,
        **asked: str,
    ) -> Outcome:
        request = Request("apps/api", reference, **({"edge": "to-prod"} | asked))
        return await self.engine().promote(request, who, dry_run=dry_run, watch=watch)

    async def shown(self, scope: str, tag: str, repository: str = "apps/api") -> str | None:
        from promotions.transfer import current

        return await current(self.place(scope, repository), CALL, tag)
