"""Signing an image the way cosign does, so that cosign accepts it: ``towpath sign REF --key FILE``.

| layout | what is written |
|---|---|
| TAG | a layer more in the image under ``sha256-<hex>.sig`` (every cosign, every registry) |
| REFERRER | the same payload as an OCI 1.1 referrer |
| BUNDLE | a sigstore bundle v0.3 as a referrer (what cosign 3 writes by itself) |

Source: sigstore/cosign specs/SIGNATURE_SPEC.md, specs/BUNDLE_SPEC.md.
"""

from __future__ import annotations

import base64
import json
from enum import StrEnum
from typing import Any

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import ManifestUnknown, NameUnknown
from oci_wire.manifest import OCI_MANIFEST, Manifest
from oci_wire.registry import Call
from promotions import attest
from promotions.dsse import COSIGN_SIGN
from promotions.gates.evidence import COSIGN_SIGNATURE, SIGNATURE, SIMPLE_SIGNING
from promotions.keys import PrivateKey
from promotions.place import Place

CONFIG = "application/vnd.oci.image.config.v1+json"


class Layout(StrEnum):
    TAG = "tag"
    REFERRER = "referrer"
    BUNDLE = "bundle"


async def sign(place: Place, call: Call, digest: Digest, key: PrivateKey, *, layout: Layout = Layout.TAG) -> Digest:
    """Signs the manifest that ``digest`` names at a place; the digest of the manifest that holds the signature.

    A signature of this key under the tag stays as it is. Raises ManifestUnknown (no such image), RegistryError."""
    subject = await place.registry.resolve(call, place.repository, str(digest))
    if layout is Layout.BUNDLE:
        made = attest.make(key, subject, {}, COSIGN_SIGN)
        await attest.push(place, call, made)
        return made.manifest.digest
    payload = simple_signing(place, digest)
    await attest.put_content(place, call, payload)
    layer = _layer(payload, key.sign(payload))
    if layout is Layout.REFERRER:
        return await _push(place, call, [layer], subject=subject)
    tag = f"{digest.algorithm}-{digest.hex}.sig"
    return await _push(place, call, [*await _signed_so_far(place, call, tag, key), layer], tag=tag)


def simple_signing(place: Place, digest: Digest) -> bytes:
    """The document that is signed (containers/image "simple signing", with cosign's type)."""
    host = place.origin.partition("://")[2]
    body = {
        "critical": {
            "identity": {"docker-reference": f"{host}/{place.repository}"},
            "image": {"docker-manifest-digest": str(digest)},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    return json.dumps(body, separators=(",", ":")).encode()


def _layer(payload: bytes, signature: bytes) -> Descriptor:
    annotations = {SIGNATURE: base64.b64encode(signature).decode()}
    return Descriptor(SIMPLE_SIGNING, Digest.of(payload), len(payload), annotations)


async def _signed_so_far(place: Place, call: Call, tag: str, key: PrivateKey) -> list[Descriptor]:
    """The layers under the tag, without an earlier signature of this key over the same payload."""
    try:
        there = await place.registry.get_manifest(call, place.repository, tag)
    except (ManifestUnknown, NameUnknown):
        return []
    return [each for each in there.blobs if each.media_type == SIMPLE_SIGNING and not await _by(place, call, each, key)]


async def _by(place: Place, call: Call, layer: Descriptor, key: PrivateKey) -> bool:
    try:
        signature = base64.b64decode(layer.annotations.get(SIGNATURE, ""))
    except ValueError:
        return False
    content = await (await place.registry.open_blob(call, place.repository, layer.digest)).read()
    return key.public.verifies(signature, content)


async def _push(
    place: Place, call: Call, layers: list[Descriptor], *, tag: str = "", subject: Descriptor | None = None
) -> Digest:
    config = _config(layers)
    await attest.put_content(place, call, config)
    kind = COSIGN_SIGNATURE if subject else CONFIG
    body: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor(kind, Digest.of(config), len(config)).to_json(),
        "layers": [each.to_json() for each in layers],
    }
    if subject is not None:
        body["subject"] = Descriptor(subject.media_type, subject.digest, subject.size).to_json()
    manifest = Manifest.parse(json.dumps(body, separators=(",", ":")).encode(), OCI_MANIFEST)
    await place.registry.put_manifest(call, place.repository, manifest, tags=(tag,) if tag else ())
    return manifest.digest


def _config(layers: list[Descriptor]) -> bytes:
    """As cosign writes it: an image config that lists the payloads."""
    body = {
        "architecture": "",
        "created": "0001-01-01T00:00:00Z",
        "history": [{"created": "0001-01-01T00:00:00Z"} for _ in layers],
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": [str(each.digest) for each in layers]},
        "config": {},
    }
    return json.dumps(body, separators=(",", ":")).encode()
