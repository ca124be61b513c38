"""Descriptors (OCI image-spec 1.1, "OCI Content Descriptors"): what a manifest says of another content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oci_wire.digest import Digest
from oci_wire.errors import DigestInvalid, ManifestInvalid

OCTET_STREAM = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Platform:
    """``os/architecture[/variant]``"""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Media type, digest and size in bytes; the rest as the spec names it."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str = ""
    platform: Platform | None = None
    urls: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Any) -> Descriptor:
        """Raises ManifestInvalid when the value is no descriptor. Unknown fields are allowed (image-spec 1.1)."""
        if not isinstance(value, dict):
            raise ManifestInvalid("a descriptor must be a JSON object")
        media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
        if not isinstance(media_type, str) or not isinstance(digest, str):
            raise ManifestInvalid("a descriptor needs mediaType and digest")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**63:
            raise ManifestInvalid(f"the size of descriptor {digest[:80]!r} must be a whole number of bytes")
        try:
            parsed = Digest.parse(digest)
        except DigestInvalid as error:
            raise ManifestInvalid(error.message) from None
        return cls(
            media_type,
            parsed,
            size,
            _strings(value.get("annotations"), "annotations"),
            _text(value.get("artifactType")),
            _platform(value.get("platform")),
            _urls(value.get("urls")),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, without empty fields."""
        body: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.platform:
            body["platform"] = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.variant:
                body["platform"]["variant"] = self.platform.variant
        if self.artifact_type:
            body["artifactType"] = self.artifact_type
        if self.annotations:
            body["annotations"] = dict(self.annotations)
        if self.urls:
            body["urls"] = list(self.urls)
        return body


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _strings(value: Any, what: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise ManifestInvalid(f"{what} must map strings to strings")
    return dict(value)


def _urls(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ManifestInvalid("urls must be a list of strings")
    return tuple(value)


def _platform(value: Any) -> Platform | None:
    if not isinstance(value, dict):
        return None
    return Platform(_text(value.get("os")), _text(value.get("architecture")), _text(value.get("variant")))
