"""A multi-platform image as an OCI layout folder, made on the spot: an index, two platforms, some layers each."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from oci_wire.manifest import OCI_INDEX, OCI_MANIFEST

PLATFORMS = (("linux", "amd64"), ("linux", "arm64"))
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
FILES = ("base", "app", "config")


def packed(name: str, content: bytes, mode: int = 0o644) -> bytes:
    """A tar of one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), mode
        tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


class Layout:
    """Writes one layout; ``index`` is the digest of the index, ``manifests`` those of the platforms, ``config`` that of
    our own platform's configuration.

    ``files``: a layer for each. ``program``: one more layer, and the entry point of every platform (it runs on ours).
    """

    def __init__(self, folder: Path, files: tuple[str, ...] = FILES, program: bytes | None = None) -> None:
        self.folder, self._files, self._program = folder, files, program
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        children = [self._image(os, architecture) for os, architecture in PLATFORMS]
        self.manifests = [str(each["digest"]) for each in children]
        self.config = str(self.read(self.manifests[0])["config"]["digest"])
        described = self._json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}, OCI_INDEX)
        self.index = str(described["digest"])
        named = {**described, "annotations": {"org.opencontainers.image.ref.name": "1.0"}}
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))

    def read(self, digest: str) -> dict[str, Any]:
        """A blob that is JSON."""
        found: dict[str, Any] = json.loads((self.folder / "blobs" / "sha256" / digest.partition(":")[2]).read_bytes())
        return found

    def _image(self, os: str, architecture: str) -> dict[str, Any]:
        tars = [packed(f"{name}.txt", f"{name} {architecture}\n".encode() * 4000) for name in self._files]
        if self._program is not None:
            tars.append(packed("hello", self._program, 0o755))
        config = {
            "os": os,
            "architecture": architecture,
            "config": {
                "Entrypoint" if self._program is not None else "Cmd": ["/hello"],
                "Labels": {"org.opencontainers.image.version": "1.0"},
            },
            "history": [{"created_by": f"layer {n}"} for n in range(len(tars))],
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(each).hexdigest()}" for each in tars]},
        }
        body = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self._json(config, _CONFIG),
            "layers": [self._blob(gzip.compress(each, mtime=0), _LAYER) for each in tars],
        }
        return {**self._json(body, OCI_MANIFEST), "platform": {"os": os, "architecture": architecture}}

    def _json(self, value: dict[str, Any], media_type: str) -> dict[str, Any]:
        return self._blob(json.dumps(value).encode(), media_type)

    def _blob(self, content: bytes, media_type: str) -> dict[str, Any]:
        digest = sha256(content).hexdigest()
        (self.folder / "blobs" / "sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}
