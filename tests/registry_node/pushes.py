"""Content through the port: for tests of what lies below HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest
from oci_wire.extension import LeaseRequest, TagChange, TagReceipt, TagTransaction
from oci_wire.manifest import OCI_INDEX, OCI_MANIFEST, Manifest
from oci_wire.registry import Call, once
from registry_node.registries.through import Whole
from tests.registry_node.images import descriptor, image

CI = Call("ci")
CONFIG = b"{}"


def manifest_of(*layers: bytes, config: bytes = CONFIG, **fields: Any) -> Manifest:
    return Manifest.parse(image(*layers, config=config, **fields), OCI_MANIFEST)


def index_of(*children: Manifest) -> Manifest:
    manifests = [descriptor(each.content, each.media_type) for each in children]
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    return Manifest.parse(json.dumps(body).encode(), OCI_INDEX)


async def put_blob(registry: Whole, repository: str, content: bytes, call: Call = CI) -> Digest:
    digest = Digest.of(content)
    await registry.put_blob(call, repository, Descriptor(OCTET_STREAM, digest, len(content)), once(content))
    return digest


async def put_image(
    registry: Whole, repository: str, *layers: bytes, tags: Sequence[str] = (), config: bytes = CONFIG, **fields: Any
) -> Manifest:
    for content in (config, *layers):
        await put_blob(registry, repository, content)
    manifest = manifest_of(*layers, config=config, **fields)
    await registry.put_manifest(CI, repository, manifest, tags=tags)
    return manifest


async def transaction(registry: Whole, repository: str, *changes: TagChange, **fields: Any) -> TagTransaction:
    lease = await registry.take_lease(CI, repository, LeaseRequest(holder="engine", ttl=60))
    given = {"not_after": time.time() + 60, "actor": "engine", "tags": changes, **fields}
    return TagTransaction(lease=lease.id, token=lease.token, **given)


async def set_tags(registry: Whole, repository: str, *changes: TagChange) -> TagReceipt:
    wanted = await transaction(registry, repository, *changes)
    return await registry.commit_tags(CI, repository, uuid4().hex, wanted)


def change(tag: str, expect: Manifest | None, to: Manifest | None) -> TagChange:
    return TagChange(tag=tag, expect=str(expect.digest) if expect else None, to=str(to.digest) if to else None)


async def cut(*chunks: bytes) -> AsyncIterator[bytes]:
    """A body whose client goes away after these chunks."""
    for chunk in chunks:
        yield chunk
    raise ConnectionResetError("the client has gone")
