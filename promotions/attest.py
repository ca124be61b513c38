"""Our own evidence: a SLSA Verification Summary (VSA) in an in-toto statement, signed with DSSE, as a referrer.

It says that this digest passed the gates of this edge, judged by what evidence. ECDSA signs differently each time,
so the bytes are made once, kept in the promotion's row, and only then sent.
Source: slsa.dev/verification_summary/v1; sigstore bundle v0.3 (so that ``cosign verify-attestation`` reads it).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, NameUnknown
from oci_wire.manifest import EMPTY_CONFIG, OCI_MANIFEST, Manifest
from oci_wire.registry import Call, once
from promotions.dsse import BUNDLE, sign_bundle, statement_bytes
from promotions.gates.verdict import Verdict
from promotions.keys import PrivateKey
from promotions.place import Place
from promotions.transfer import has_manifest

VSA = "https://slsa.dev/verification_summary/v1"
VERIFIER = "https://towpath.dev/promotions/v1"
PROMOTION = "dev.towpath.promotion"
_EMPTY = b"{}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The blob (a sigstore bundle) and the manifest that refers to the image with it."""

    blob: bytes
    manifest: Manifest

    @property
    def digests(self) -> tuple[str, ...]:
        """Of all that it is made of."""
        return (str(self.manifest.digest), *(str(each.digest) for each in self.manifest.blobs))

    @classmethod
    def from_row(cls, blob: bytes, manifest: bytes) -> Evidence:
        return cls(blob, Manifest.parse(manifest, OCI_MANIFEST))


def summary(
    *, resource: str, policy: str, binding: str, verdicts: Sequence[Verdict], at: float, promotion: str
) -> dict[str, Any]:
    """The VSA predicate. ``binding`` (hex SHA-256) is the digest of the policy that was applied."""
    judged = sorted({each for verdict in verdicts for each in verdict.evidence})
    return {
        "verifier": {"id": VERIFIER},
        "timeVerified": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "resourceUri": resource,
        "policy": {"uri": policy, "digest": {"sha256": binding}},
        "inputAttestations": [{"digest": dict([each.split(":", 1)])} for each in judged],
        "verificationResult": "PASSED",
        "verifiedLevels": [f"TOWPATH_GATE_{verdict.gate}" for verdict in verdicts],
        "slsaVersion": "1.0",
        "towpathPromotion": promotion,
    }


def make(key: PrivateKey, subject: Descriptor, predicate: dict[str, Any], predicate_type: str = VSA) -> Evidence:
    """Signed evidence about a manifest, ready to be kept and then sent."""
    payload = statement_bytes(subject.digest, predicate_type, predicate)
    blob = sign_bundle(key, payload)
    annotations = {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": predicate_type,
        "org.opencontainers.image.created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if promotion := predicate.get("towpathPromotion"):
        annotations[PROMOTION] = promotion
    return Evidence(blob, referrer(subject, BUNDLE, Descriptor(BUNDLE, Digest.of(blob), len(blob)), annotations))


def referrer(
    subject: Descriptor, artifact_type: str, layer: Descriptor, annotations: dict[str, str] | None = None
) -> Manifest:
    """A manifest with an empty config and one layer that refers to ``subject`` (image-spec 1.1, "Guidelines for
    Artifact Usage")."""
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": Descriptor(EMPTY_CONFIG, Digest.of(_EMPTY), len(_EMPTY)).to_json(),
        "layers": [layer.to_json()],
        "subject": Descriptor(subject.media_type, subject.digest, subject.size).to_json(),
        **({"annotations": annotations} if annotations else {}),
    }
    return Manifest.parse(json.dumps(body, separators=(",", ":")).encode(), OCI_MANIFEST)


async def push(place: Place, call: Call, evidence: Evidence) -> None:
    """Sends evidence; what is there already is not sent again."""
    if await has_manifest(place, call, evidence.manifest.digest):
        return
    for content in (_EMPTY, evidence.blob):
        await put_content(place, call, content)
    await place.registry.put_manifest(call, place.repository, evidence.manifest)


async def put_content(place: Place, call: Call, content: bytes, media_type: str = "application/octet-stream") -> None:
    """A small blob, unless it is there."""
    blob = Descriptor(media_type, Digest.of(content), len(content))
    try:
        await place.registry.stat_blob(call, place.repository, blob.digest)
    except (BlobUnknown, NameUnknown):
        await place.registry.put_blob(call, place.repository, blob, once(content))
