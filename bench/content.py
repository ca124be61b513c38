"""What the benchmarks ask for: tags of small images over many repositories, 64 KB blobs, one large blob."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from hashlib import sha256

import httpx

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Content:
    """Paths that exist at one registry."""

    manifests: list[str]
    small_blobs: list[str]
    large_blob: str


def _push(client: httpx.Client, repository: str, content: bytes) -> str:
    digest = f"sha256:{sha256(content).hexdigest()}"
    location = client.post(f"/v2/{repository}/blobs/uploads/").raise_for_status().headers["location"]
    client.put(httpx.URL(location).copy_merge_params({"digest": digest}), content=content).raise_for_status()
    return digest


def _described(content: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": f"sha256:{sha256(content).hexdigest()}", "size": len(content)}


def prepare(host: str, headers: dict[str, str], repositories: list[str], *, tags: int, megabytes: int) -> Content:
    """Pushes it all; ``tags`` in each repository, every one with a manifest of its own (about 2 KB, as real ones)."""
    manifests, blobs = [], []
    layers = [os.urandom(64 * 1024) for _ in range(8)]
    config = b'{"architecture": "amd64", "os": "linux"}'
    with httpx.Client(base_url=f"http://{host}", headers=headers, timeout=60, trust_env=False) as client:
        for repository in repositories:
            for content in (config, *layers):
                digest = _push(client, repository, content)
                blobs.append(f"/v2/{repository}/blobs/{digest}")
            for n in range(tags):
                body = {
                    "schemaVersion": 2,
                    "mediaType": OCI_MANIFEST,
                    "config": _described(config, "application/vnd.oci.image.config.v1+json"),
                    "layers": [_described(each, "application/vnd.oci.image.layer.v1.tar+gzip") for each in layers],
                    "annotations": {"org.opencontainers.image.version": f"{repository}:{n}", "made.for": "x" * 300},
                }
                path = f"/v2/{repository}/manifests/v{n}"
                client.put(path, content=json.dumps(body), headers={"content-type": OCI_MANIFEST}).raise_for_status()
                manifests.append(path)
        large = _push(client, repositories[0], os.urandom(megabytes * 1024 * 1024))
    small = [path for path in blobs if not path.endswith(sha256(config).hexdigest())]
    return Content(manifests, small, f"/v2/{repositories[0]}/blobs/{large}")
