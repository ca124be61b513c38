"""DSSE envelopes around in-toto statements, and the sigstore bundle that carries them.

Source: secure-systems-lab/dsse protocol.md (PAE); in-toto attestation v1 (Statement); sigstore bundle v0.3.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from oci_wire.digest import Digest
from promotions.keys import PrivateKey

IN_TOTO = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
COSIGN_SIGN = "https://sigstore.dev/cosign/sign/v1"


class EvidenceMalformed(Exception):
    """Evidence that cannot be read. It counts for nothing."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that a DSSE signature signs."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Statement:
    """An in-toto statement: what it is about (digests as ``algorithm:hex``) and what it says."""

    subjects: tuple[str, ...]
    predicate_type: str
    predicate: Any


@dataclass(frozen=True, slots=True)
class Envelope:
    payload_type: str
    payload: bytes
    signatures: tuple[bytes, ...]

    @property
    def signed(self) -> bytes:
        return pae(self.payload_type, self.payload)

    def statement(self) -> Statement:
        """Raises EvidenceMalformed."""
        if self.payload_type != IN_TOTO:
            raise EvidenceMalformed(f"the payload type {self.payload_type[:80]!r} is not {IN_TOTO}")
        body = _object(self.payload)
        subjects = body.get("subject")
        if body.get("_type") != STATEMENT or not isinstance(subjects, list) or not subjects:
            raise EvidenceMalformed("the payload is no in-toto statement (v1) with a subject")
        digests = tuple(_digest_of(each) for each in subjects)
        return Statement(digests, str(body.get("predicateType", "")), body.get("predicate"))


def statement_bytes(subject: Digest, predicate_type: str, predicate: Any, name: str = "") -> bytes:
    about = {**({"name": name} if name else {}), "digest": {subject.algorithm: subject.hex}}
    body = {"_type": STATEMENT, "subject": [about], "predicateType": predicate_type, "predicate": predicate}
    return json.dumps(body, separators=(",", ":")).encode()


def sign_bundle(key: PrivateKey, payload: bytes) -> bytes:
    """A sigstore bundle v0.3 (JSON) whose DSSE envelope holds this in-toto payload, signed with the key."""
    signature = key.sign(pae(IN_TOTO, payload))
    body = {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": key.public.hint}},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": IN_TOTO,
            "signatures": [{"sig": base64.b64encode(signature).decode()}],
        },
    }
    return json.dumps(body, separators=(",", ":")).encode()


def read_bundle(content: bytes) -> Envelope:
    """The envelope of a key-signed bundle. Raises EvidenceMalformed, also for one that brings a certificate: that
    needs a trusted root, and reading the key out of it would trust whoever made it."""
    body = _object(content)
    kind = body.get("mediaType")
    if kind != BUNDLE:
        raise EvidenceMalformed(f"the bundle's media type {str(kind)[:80]!r} is not {BUNDLE}")
    material = body.get("verificationMaterial")
    if not isinstance(material, dict) or not isinstance(material.get("publicKey"), dict):
        raise EvidenceMalformed("the bundle was not signed with a key (keyless bundles need a keyless trust entry)")
    return _envelope(body.get("dsseEnvelope"))


def _envelope(value: Any) -> Envelope:
    try:
        signatures = tuple(base64.b64decode(each["sig"], validate=True) for each in value["signatures"])
        payload = base64.b64decode(value["payload"], validate=True)
        kind = value["payloadType"]
    except (TypeError, KeyError, ValueError, binascii.Error):
        raise EvidenceMalformed("the bundle has no whole DSSE envelope") from None
    if not isinstance(kind, str) or not signatures:
        raise EvidenceMalformed("the DSSE envelope has no signature")
    return Envelope(kind, payload, signatures)


def _object(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise EvidenceMalformed("it is not JSON") from None
    if not isinstance(body, dict):
        raise EvidenceMalformed("it is not a JSON object")
    return body


def _digest_of(subject: Any) -> str:
    found = subject.get("digest") if isinstance(subject, dict) else None
    if not isinstance(found, dict) or len(found) == 0:
        raise EvidenceMalformed("a subject of the statement has no digest")
    algorithm = "sha256" if "sha256" in found else next(iter(found))
    return f"{algorithm}:{found[algorithm]}"
