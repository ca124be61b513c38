"""Bodies made to cost more than they should: refused with the spec's codes while others are served, memory bounded."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from oci_wire.digest import Digest
from oci_wire.manifest import MAX_BYTES, OCI_MANIFEST
from tests.nodes import running
from tests.registry_node.hostile.crowd import MIB, REPOSITORY, Victim
from tests.registry_node.images import LAYER, descriptor, image

_HEAD = b'{"schemaVersion":2,"mediaType":"' + OCI_MANIFEST.encode() + b'","annotations":'
_MANY = [descriptor(b"%d" % number, LAYER) for number in range(20_000)]
# Body and the code that refuses it.
MANIFESTS = {
    "nested lists": (b"[" * MAX_BYTES, "MANIFEST_INVALID"),
    "nested objects": (b'{"a":' * (MAX_BYTES // 5), "MANIFEST_INVALID"),
    "nested and closed": (_HEAD + b"[" * 900_000 + b"]" * 900_000 + b"}", "MANIFEST_INVALID"),
    "a huge number": (b'{"schemaVersion":' + b"9" * (4 * MIB - 50) + b"}", "MANIFEST_INVALID"),
    "a number beyond floats": (b'{"schemaVersion":1e999}', "MANIFEST_INVALID"),
    "a key many times": (b"{" + b",".join([b'"a":1'] * 600_000) + b"}", "MANIFEST_INVALID"),
    "not a number": (_HEAD + b"NaN}", "MANIFEST_INVALID"),
    "half a character": (_HEAD + b'{"a":"\\ud800"}}', "MANIFEST_INVALID"),
    "half a character in bytes": (_HEAD + b'{"a":"\xed\xa0\x80"}}', "MANIFEST_INVALID"),
    "another encoding": (image().decode().encode("utf-16"), "MANIFEST_INVALID"),
    "compressed": (gzip.compress(image()), "MANIFEST_INVALID"),
    "twenty thousand layers": (image()[:-2] + b',"layers":' + json.dumps(_MANY).encode() + b"}", "MANIFEST_INVALID"),
    "layers that are not here": (
        json.dumps({**json.loads(image()), "layers": _MANY}).encode(),
        "MANIFEST_BLOB_UNKNOWN",
    ),
    "one byte too many": (b" " * (MAX_BYTES + 1), "MANIFEST_INVALID"),
}
PARAMETERS = {"content-type": OCI_MANIFEST}


@pytest.mark.slow
async def test_bombs(tmp_path: Path) -> None:
    with running(tmp_path) as node:
        victim = await Victim.of(node)
        async with victim.client() as http, victim.serving_others():
            for name, (body, code) in MANIFESTS.items():
                answer = await http.put(
                    f"/v2/{REPOSITORY}/manifests/bomb", content=body, headers=PARAMETERS, timeout=60
                )
                assert answer.status_code in (400, 404, 413), (name, answer.text[:300])
                assert answer.json()["errors"][0]["code"] == code, name
                assert len(answer.content) < 2 * MIB, name
            for body in (b"[" * MIB, b'{"holder":' * 100_000, b'{"holder":"x","ttl":' + b"9" * MIB + b"}"):
                path = f"/_towpath/v1/r/{REPOSITORY}/_/leases"
                answer = await http.post(path, content=body, auth=node.auth("towpath-engine"), timeout=60)
                assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "REQUEST_INVALID")
            form = "&".join(["scope=repository:a:pull"] * 2500)
            assert (await http.post("/auth/token", content=form)).status_code == 400
        await victim.is_as_before(more_memory=160 * MIB)  # a JSON text of 4 MiB is larger once it is read


@pytest.mark.slow
async def test_a_content_coding_is_never_undone(tmp_path: Path) -> None:
    """A request's body is what it is (RFC 9110 section 8.4): the digest is that of the bytes sent, nothing inflates."""
    bomb = gzip.compress(bytes(100 * MIB))
    with running(tmp_path) as node:
        victim = await Victim.of(node)
        async with victim.client() as http, victim.serving_others():
            target = f"/v2/{REPOSITORY}/blobs/uploads/?digest={Digest.of(bomb)}"
            kept = await http.post(target, content=bomb, headers={"content-encoding": "gzip"})
            assert kept.status_code == 201
            answers = await asyncio.gather(
                *(
                    http.get(f"/v2/{REPOSITORY}/blobs/{Digest.of(bomb)}", headers={"accept-encoding": each})
                    for each in ("gzip", "")
                )
            )
            assert [each.content for each in answers] == [bomb, bomb]
            assert all("content-encoding" not in each.headers for each in answers)
            headers = {**PARAMETERS, "content-encoding": "gzip"}
            refused = await http.put(f"/v2/{REPOSITORY}/manifests/1.0", content=gzip.compress(image()), headers=headers)
            assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "MANIFEST_INVALID")
        await victim.is_as_before()
