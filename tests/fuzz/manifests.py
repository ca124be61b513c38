"""Manifests: valid images and indexes with one thing wrong, as JSON values and as bytes, pushed by tag and by digest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

from oci_wire.digest import Digest
from oci_wire.manifest import ACCEPTED, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.fuzz.mutation import changed_json, mutated, written_json
from tests.fuzz.targets import REPOSITORY, Target, basic, request, require
from tests.fuzz.wire import Answer
from tests.registry_node.images import CONFIG, LAYER, descriptor

BLOBS = (b"{}", b"layer")  # these are there
_IMAGE: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": OCI_MANIFEST,
    "config": descriptor(b"{}", CONFIG),
    "layers": [{**descriptor(b"layer", LAYER), "urls": ["https://a.test/"], "annotations": {"a": "b"}}],
    "annotations": {"org.opencontainers.image.title": "x"},
}
_SUBJECT = {"mediaType": OCI_MANIFEST, "digest": f"sha256:{'1' * 64}", "size": 3}
_SEEDS: tuple[dict[str, Any], ...] = (
    _IMAGE,
    {**_IMAGE, "mediaType": DOCKER_MANIFEST},
    {**_IMAGE, "subject": _SUBJECT, "artifactType": "application/x"},
    {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{**_SUBJECT, "platform": {"architecture": "arm64", "os": "linux"}}],
        "subject": _SUBJECT,
    },
)
_WORDS = (
    *(b'"', b"\\", b"\\u0000", b"\\ud800", b"{", b"}", b"[", b"]", b","),
    *(b":", b"null", b"1e999", b"-0", b"NaN", b"Infinity"),
    *(b'"digest":', b'"size":', b'"mediaType":', b'"manifests":[],'),
    *(b'"layers":[],', b"[" * 3000, b"9" * 6000, b"\xef\xbb\xbf"),
    *(b"sha256:", b"sha512:", b"\xff", b"\xed\xa0\x80", b"//", b"/*", b"#"),
)  # fmt: skip


def _make(random: Random, token: str) -> bytes:
    value: Any = random.choice(_SEEDS)
    if random.random() < 0.9:
        value = changed_json(random, value)
    body = written_json(random, value)
    if random.random() < 0.3:
        body = mutated(random, body, _WORDS)
    own = value.get("mediaType") if isinstance(value, dict) else None
    kind = random.choice((own if isinstance(own, str) else OCI_MANIFEST, *ACCEPTED, "application/json", "text/plain"))
    headers = ((b"Content-Type", kind.encode("ascii", "replace").translate(None, b"\r\n\0")),)
    reference = random.choice(("latest", "v1", str(Digest.of(body)), str(Digest.of(body, "sha512"))))
    target = f"/v2/{REPOSITORY}/manifests/{reference}"
    return request(b"PUT", target.encode(), *headers, body=body, auth=basic())


def _check(wire: bytes, answers: Sequence[Answer]) -> None:
    """What is taken is JSON, an object, of schema 2; a digest in the answer is that of the bytes."""
    body = wire.partition(b"\r\n\r\n")[2]
    for answer in answers:
        if answer.status == 201:
            value = json.loads(body)
            require(isinstance(value, dict) and value.get("schemaVersion") == 2, "what is no manifest was taken")
            algorithm = "sha512" if b"/sha512:" in wire.partition(b" HTTP/")[0] else "sha256"
            digest = str(Digest.of(body, algorithm))
            require(answer.headers.get("docker-content-digest") == digest, "the digest of the answer is another")


TARGET = Target("manifest", _make, answered=True, check=_check)
