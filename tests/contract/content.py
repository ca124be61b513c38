"""Images made on the spot, and how they get into any registry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.manifest import OCI_INDEX, OCI_MANIFEST, Manifest
from oci_wire.registry import Call, Chunks, Registry, once

CALL = Call("tests")
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def described(content: bytes, media_type: str = LAYER, algorithm: str = "sha256") -> Descriptor:
    return Descriptor(media_type, Digest.of(content, algorithm), len(content))


def image(*layers: bytes, config: bytes = b"{}", **fields: Any) -> Manifest:
    """A manifest whose config and layers are these; ``subject``, ``artifactType`` and so on as fields."""
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(config, CONFIG).to_json(),
        "layers": [described(each).to_json() for each in layers],
        **fields,
    }
    return Manifest.parse(json.dumps(body, indent=1).encode())


def index(*children: Descriptor, **fields: Any) -> Manifest:
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [each.to_json() for each in children],
        **fields,
    }
    return Manifest.parse(json.dumps(body, indent=1).encode())


async def stream(*chunks: bytes) -> Chunks:
    for chunk in chunks:
        yield chunk


async def push_blob(registry: Registry, repository: str, content: bytes, algorithm: str = "sha256") -> Descriptor:
    return await registry.put_blob(CALL, repository, described(content, algorithm=algorithm), once(content))


async def push(
    registry: Registry, repository: str, *layers: bytes, tags: Sequence[str] = (), config: bytes = b"{}", **fields: Any
) -> Manifest:
    """Config, layers, manifest, tags."""
    for content in (config, *layers):
        await push_blob(registry, repository, content)
    manifest = image(*layers, config=config, **fields)
    await registry.put_manifest(CALL, repository, manifest, tags=tags)
    return manifest
