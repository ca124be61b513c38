"""Manifests as bytes with a reading of them. The bytes are never serialised again: the digest is theirs.

Source: OCI image-spec 1.1 (manifest, index), Docker image manifest v2 schema 2 (manifest, list).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import ManifestInvalid, ManifestTooLarge

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"

IMAGES = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_LIST)
ACCEPTED = IMAGES + INDEXES
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
MAX_BYTES = 4 * 1024 * 1024  # distribution-spec 1.1 asks for at least 4 MiB
# Layers whose bytes live elsewhere: no registry needs to hold them (image-spec 1.1, "Non-distributable layers").
FOREIGN_LAYERS = (
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Bytes as pushed, their media type and digest, and what they say.

    ``blobs`` are config and layers, without the ``foreign`` layers; ``children`` the manifests of an index."""

    content: bytes
    media_type: str
    digest: Digest
    blobs: tuple[Descriptor, ...] = ()
    children: tuple[Descriptor, ...] = ()
    config: Descriptor | None = None
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    foreign: tuple[Descriptor, ...] = ()

    @classmethod
    def parse(cls, content: bytes, media_type: str = "", *, algorithm: str = "sha256") -> Manifest:
        """Reads and checks the bytes. ``media_type`` is the Content-Type they came with ("" when unknown: then
        the body's own ``mediaType``). Raises ManifestInvalid, ManifestTooLarge."""
        if len(content) > MAX_BYTES:
            raise ManifestTooLarge(f"a manifest may have {MAX_BYTES} bytes, this one has {len(content)}")
        body = _load(content)
        kind = _media_type(body, media_type.partition(";")[0].strip())
        indexed = kind in INDEXES
        _refuse_hybrids(body, indexed)
        config = None if indexed else Descriptor.from_json(body.get("config"))
        layers = () if indexed else _descriptors(body, "layers")
        blobs = tuple(each for each in layers if each.media_type not in FOREIGN_LAYERS)
        return cls(
            content,
            kind,
            Digest.of(content, algorithm),
            (config, *blobs) if config else (),
            _descriptors(body, "manifests") if indexed else (),
            config,
            Descriptor.from_json(body["subject"]) if body.get("subject") is not None else None,
            _artifact_type(body, config),
            _annotations(body),
            tuple(each for each in layers if each.media_type in FOREIGN_LAYERS),
        )

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEXES

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def descriptor(self) -> Descriptor:
        """As a parent or a referrers list names this manifest."""
        return Descriptor(self.media_type, self.digest, self.size)

    @property
    def referrer_descriptor(self) -> Descriptor:
        """With artifactType and annotations (distribution-spec 1.1, "Listing Referrers")."""
        return Descriptor(self.media_type, self.digest, self.size, self.annotations, self.artifact_type)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers differ on which of two equal keys counts (as with hybrids, below)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ManifestInvalid("a JSON object of the manifest has a key twice")
    return found


def _load(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content.decode(), object_pairs_hook=_each_key_once)
        if _SURROGATE.search(content):
            json.dumps(body, ensure_ascii=False).encode()  # half a character cannot be stored or sent
    except (ValueError, RecursionError):
        raise ManifestInvalid("the manifest is not JSON in UTF-8") from None
    if not isinstance(body, dict):
        raise ManifestInvalid("a manifest must be a JSON object")
    if body.get("schemaVersion") == 1:
        raise ManifestInvalid(
            "Docker schema 1 is not served here; push again with Docker 1.10 or newer, or with skopeo"
        )
    if body.get("schemaVersion") != 2:
        raise ManifestInvalid("schemaVersion must be 2")
    return body


def _media_type(body: dict[str, Any], declared: str) -> str:
    own = body.get("mediaType")
    if own is not None and not isinstance(own, str):
        raise ManifestInvalid("mediaType must be a string")
    if own and declared in ACCEPTED and own != declared:
        raise ManifestInvalid(f"mediaType is {own!r} but Content-Type is {declared!r}")
    kind = declared if declared in ACCEPTED else own or (OCI_INDEX if "manifests" in body else OCI_MANIFEST)
    if declared and declared not in ACCEPTED and declared not in ("application/json", "application/octet-stream"):
        raise ManifestInvalid(f"Content-Type {declared[:100]!r} is none of {', '.join(ACCEPTED)}")
    if kind not in ACCEPTED:
        raise ManifestInvalid(f"mediaType {kind[:100]!r} is none of {', '.join(ACCEPTED)}")
    return kind


def _refuse_hybrids(body: dict[str, Any], indexed: bool) -> None:
    """One document that reads as image and as index means different things to different clients (CVE-2021-41190)."""
    if indexed and ("layers" in body or "config" in body):
        raise ManifestInvalid("an index must not have config or layers")
    if not indexed and "manifests" in body:
        raise ManifestInvalid("an image manifest must not have manifests")


def _descriptors(body: dict[str, Any], key: str) -> tuple[Descriptor, ...]:
    found = body.get(key)
    if found is None and key == "layers":
        return ()
    if not isinstance(found, list):
        raise ManifestInvalid(f"{key} must be a list of descriptors")
    return tuple(Descriptor.from_json(each) for each in found)


def _artifact_type(body: dict[str, Any], config: Descriptor | None) -> str:
    """Falls back to the config's media type (distribution-spec 1.1, "Listing Referrers")."""
    own = body.get("artifactType")
    if own is not None and not isinstance(own, str):
        raise ManifestInvalid("artifactType must be a string")
    return own or (config.media_type if config else "")


def _annotations(body: dict[str, Any]) -> dict[str, str]:
    found = body.get("annotations")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise ManifestInvalid("annotations must map strings to strings")
    return dict(found)
