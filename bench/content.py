"""What the benchmarks ask for: tags of small images over many repositories, 64 KB blobs, one large blob."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256

import httpx

from oci_wire.manifest import ACCEPTED

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ACCEPT = ", ".join(ACCEPTED)  # distribution shows an OCI manifest to no one else
KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True)
class Content:
    """Paths that exist at one registry. ``large_digest``: of ``large_blob``, which has ``large_bytes``."""

    manifests: list[str]
    small_blobs: list[str]
    large_blob: str
    large_bytes: int


@dataclass(frozen=True)
class Wanted:
    """How much there is to be."""

    repositories: int = 1000
    tags: int = 10  # in each repository, every one with a manifest of its own (about 2 KB, as real ones)
    megabytes: int = 256

    @property
    def names(self) -> list[str]:
        return [f"bench/r{n}" for n in range(self.repositories)]


def push(client: httpx.Client, repository: str, content: bytes) -> str:
    digest = f"sha256:{sha256(content).hexdigest()}"
    location = client.post(f"/v2/{repository}/blobs/uploads/").raise_for_status().headers["location"]
    client.put(httpx.URL(location).copy_merge_params({"digest": digest}), content=content).raise_for_status()
    return digest


def described(content: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": f"sha256:{sha256(content).hexdigest()}", "size": len(content)}


def _manifest(repository: str, number: int, config: bytes, layers: list[bytes]) -> str:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": described(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [described(each, "application/vnd.oci.image.layer.v1.tar+gzip") for each in layers],
            "annotations": {"org.opencontainers.image.version": f"{repository}:{number}", "made.for": "x" * 1400},
        }
    )


def prepare(client: httpx.Client, wanted: Wanted) -> Content:
    """Pushes it all over four connections."""
    layers = [os.urandom(64 * KIB)]
    config = b'{"architecture": "amd64", "os": "linux"}'

    def one(repository: str) -> tuple[list[str], list[str]]:
        blobs = [push(client, repository, content) for content in (*layers, config)][:-1]
        manifests = []
        for n in range(wanted.tags):
            path = f"/v2/{repository}/manifests/v{n}"
            body = _manifest(repository, n, config, layers)
            client.put(path, content=body, headers={"content-type": OCI_MANIFEST}).raise_for_status()
            manifests.append(path)
        return manifests, [f"/v2/{repository}/blobs/{each}" for each in blobs]

    with ThreadPoolExecutor(4) as threads:
        pushed = list(threads.map(one, wanted.names))
    size = wanted.megabytes * MIB
    large = push(client, wanted.names[0], os.urandom(MIB) * wanted.megabytes)
    manifests, blobs = ([path for each in pushed for path in each[side]] for side in (0, 1))
    return Content(manifests, blobs[:256], f"/v2/{wanted.names[0]}/blobs/{large}", size)
