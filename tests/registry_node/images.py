"""Small images for the tests, and how a client pushes them."""

from __future__ import annotations

import json
from typing import Any

import httpx

from oci_wire.digest import Digest
from oci_wire.manifest import OCI_MANIFEST

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def descriptor(content: bytes, media_type: str, algorithm: str = "sha256") -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(content, algorithm)), "size": len(content)}


def image(*layers: bytes, config: bytes = b"{}", **fields: Any) -> bytes:
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, CONFIG),
        "layers": [descriptor(each, LAYER) for each in layers],
        **fields,
    }
    return json.dumps(body, indent=3).encode()


async def push_blob(http: httpx.AsyncClient, repository: str, content: bytes) -> str:
    digest = str(Digest.of(content))
    answer = await http.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=content)
    assert answer.status_code == 201, answer.text
    return digest


async def push_image(http: httpx.AsyncClient, repository: str, tag: str, *layers: bytes, **fields: Any) -> bytes:
    """Pushes config, layers and manifest; gives back the manifest's bytes."""
    for content in (b"{}", *layers):
        await push_blob(http, repository, content)
    manifest = image(*layers, **fields)
    url, kind = f"/v2/{repository}/manifests/{tag}", {"content-type": OCI_MANIFEST}
    answer = await http.put(url, content=manifest, headers=kind)
    assert answer.status_code == 201, answer.text
    return manifest
