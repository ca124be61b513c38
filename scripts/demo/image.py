"""A small but real multi-platform image, made on the spot as an OCI image layout (image-spec 1.1)."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
PLATFORMS = ("amd64", "arm64")
MIB = 1024 * 1024


def make(root: Path, *, version: str, created: str, mib: int = 4, program: bytes = b"") -> str:
    """Writes the layout, with the index tagged ``version``; returns the index's digest. Every run makes new content,
    so that nothing is there already by chance. ``mib``: size of the layer that the platforms share;
    ``program``: what the images run, else they hold random bytes."""
    (root / "blobs" / "sha256").mkdir(parents=True)
    base = _layer({"etc/os-release": b'NAME="demo"\nID=demo\n', "usr/share/demo/data.bin": os.urandom(mib * MIB)})
    program = program or os.urandom(MIB)
    made = [_platform(root, each, base, program, version=version, created=created) for each in PLATFORMS]
    index = _keep(root, _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": made}), INDEX)
    listed = {**index, "annotations": {"org.opencontainers.image.ref.name": version}}
    (root / "index.json").write_bytes(_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [listed]}))
    (root / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    return str(index["digest"])


def _platform(
    root: Path, architecture: str, base: bytes, program: bytes, *, version: str, created: str
) -> dict[str, Any]:
    application = _layer({f"usr/bin/api-{architecture}": program, "etc/api.conf": b"listen = 8080\n"})
    notes = _layer({"usr/share/doc/api/VERSION": f"{version} {architecture}\n".encode()})
    layers = [base, application, notes]
    config = {
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": {
            "Entrypoint": [f"/usr/bin/api-{architecture}"],
            "Labels": {
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.source": "https://git.example/apps/api",
                "org.opencontainers.image.revision": hashlib.sha256(application).hexdigest()[:40],
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [_digest(gzip.decompress(layer)) for layer in layers]},
        "history": [{"created": created, "created_by": f"demo layer {at + 1}"} for at in range(len(layers))],
    }
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _keep(root, _json(config), CONFIG),
        "layers": [_keep(root, layer, LAYER) for layer in layers],
    }
    platform = {"architecture": architecture, "os": "linux"}
    return {**_keep(root, _json(body), MANIFEST), "platform": platform}


def _layer(files: dict[str, bytes]) -> bytes:
    """A gzipped tar; the same files give the same bytes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if "bin/" in name else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), compresslevel=1, mtime=0)


def _keep(root: Path, content: bytes, media_type: str) -> dict[str, Any]:
    digest = _digest(content)
    (root / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
