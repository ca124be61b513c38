"""Signatures on an image, as cosign and sigstore leave them in a registry. Reads; judges nothing.

| layout | found at | signed bytes |
|---|---|---|
| simple signing, tag | ``sha256-<hex>.sig`` | a layer; the signature is an annotation |
| simple signing, referrer | artifactType ``application/vnd.dev.cosign.artifact.sig.v1+json`` | the same |
| sigstore bundle v0.3 | artifactType ``application/vnd.dev.sigstore.bundle.v0.3+json`` | the DSSE envelope |

Source: sigstore/cosign specs/SIGNATURE_SPEC.md and specs/BUNDLE_SPEC.md; containers/image simple signing.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest, looks_like_digest
from oci_wire.errors import BlobUnknown, DigestInvalid, ManifestInvalid, ManifestUnknown, NameUnknown, SizeInvalid
from oci_wire.manifest import Manifest
from oci_wire.registry import Call, every
from oci_wire.verify import verified
from promotions.dsse import BUNDLE, COSIGN_SIGN, EvidenceMalformed, read_bundle
from promotions.place import Place

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
COSIGN_SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
MAX_EVIDENCE = 1024 * 1024  # bytes of one payload; real ones have a few hundred to a few thousand
MAX_REFERRERS = 1000
MAX_SIGNATURES = 1000  # of one image, all layouts together; each costs a request
_UNREADABLE = (BlobUnknown, ManifestUnknown, ManifestInvalid, NameUnknown, DigestInvalid, SizeInvalid)
_CLAIM_NAMES = ("docker-manifest-digest", "Docker-manifest-digest")  # both are in use


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody signed ``message``, which says that it is about ``subject``. Not verified yet."""

    subject: str
    message: bytes
    signature: bytes
    found_in: Digest  # the manifest that holds it


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something in the place of a signature that counts for nothing, and why."""

    found_in: str
    why: str


async def signatures(place: Place, call: Call, digest: Digest) -> AsyncIterator[Claim | Unreadable]:
    """Everything that claims to be a signature on this digest. Bundles of other predicates are left out."""
    read = 0
    async for manifest in _manifests(place, call, digest):
        if isinstance(manifest, Unreadable):
            yield manifest
            continue
        for layer in manifest.blobs:
            if layer.media_type not in (SIMPLE_SIGNING, BUNDLE):  # configs and what is no signature
                continue
            read += 1
            if read > MAX_SIGNATURES:
                yield Unreadable(str(digest), f"more than {MAX_SIGNATURES} signatures; the rest was not looked at")
                return
            try:
                for claim in await _claims(place, call, manifest, layer):
                    yield claim
            except (EvidenceMalformed, *_UNREADABLE) as error:
                yield Unreadable(str(manifest.digest), str(error))


async def _manifests(place: Place, call: Call, digest: Digest) -> AsyncIterator[Manifest | Unreadable]:
    tag = f"{digest.algorithm}-{digest.hex}.sig"
    if len(tag) <= 128:
        try:
            yield await place.registry.get_manifest(call, place.repository, tag)
        except (ManifestUnknown, NameUnknown):
            pass
        except _UNREADABLE as error:
            yield Unreadable(tag, str(error))
    count = 0
    async for descriptor in _referrers(place, call, digest):
        count += 1
        if count > MAX_REFERRERS:
            yield Unreadable(str(digest), f"more than {MAX_REFERRERS} referrers; the rest was not looked at")
            return
        if descriptor.artifact_type in (BUNDLE, COSIGN_SIGNATURE):
            yield await _referrer(place, call, digest, descriptor)


async def _referrers(place: Place, call: Call, digest: Digest) -> AsyncIterator[Descriptor]:
    async for each in every(lambda after: place.registry.referrers(call, place.repository, digest, after=after)):
        yield each


async def _referrer(place: Place, call: Call, digest: Digest, found: Descriptor) -> Manifest | Unreadable:
    try:
        manifest = await place.registry.get_manifest(call, place.repository, str(found.digest))
    except _UNREADABLE as error:
        return Unreadable(str(found.digest), str(error))
    if manifest.subject is None or manifest.subject.digest != digest:
        return Unreadable(str(found.digest), "it is listed as a referrer, but its subject is another")
    return manifest


async def _claims(place: Place, call: Call, manifest: Manifest, layer: Descriptor) -> list[Claim]:
    if layer.media_type == SIMPLE_SIGNING:
        return [_simple(manifest, layer, await _content(place, call, layer))]
    return _from_bundle(manifest, await _content(place, call, layer))


def _simple(manifest: Manifest, layer: Descriptor, payload: bytes) -> Claim:
    try:
        signature = base64.b64decode(layer.annotations.get(SIGNATURE, ""), validate=True)
        image = json.loads(payload)["critical"]["image"]
        subject = next(image[name] for name in _CLAIM_NAMES if name in image)
    except (ValueError, binascii.Error, KeyError, TypeError, StopIteration, RecursionError):
        raise EvidenceMalformed("the payload is no simple signing document") from None
    if not signature or not isinstance(subject, str):
        raise EvidenceMalformed("the layer carries no signature")
    return Claim(_digest(subject), payload, signature, manifest.digest)


def _from_bundle(manifest: Manifest, content: bytes) -> list[Claim]:
    envelope = read_bundle(content)
    statement = envelope.statement()
    if statement.predicate_type != COSIGN_SIGN:
        return []  # an attestation: another gate's business
    if len(statement.subjects) != 1:
        raise EvidenceMalformed("a signature is about one image, this statement names several")
    return [
        Claim(_digest(statement.subjects[0]), envelope.signed, each, manifest.digest) for each in envelope.signatures
    ]


def _digest(text: str) -> str:
    """The text itself: somebody else wrote it, and it is shown to people."""
    if not looks_like_digest(text):
        raise EvidenceMalformed("what is signed names no image by its digest")
    return text


async def _content(place: Place, call: Call, layer: Descriptor) -> bytes:
    if layer.size > MAX_EVIDENCE:
        raise EvidenceMalformed(f"it has {layer.size} bytes; evidence may have {MAX_EVIDENCE}")
    stream = await place.registry.open_blob(call, place.repository, layer.digest)
    return b"".join([chunk async for chunk in verified(stream.chunks, layer.digest, layer.size)])
