"""The official OCI conformance program against a real node, every optional API and all data switched on: once as
nobody, where everyone may do everything, and once with tokens. A mirror and a virtual get its read-only part: content
that lies at an upstream, pulled and listed through them."""

from __future__ import annotations

import json
import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oci_wire.manifest import OCI_INDEX, OCI_MANIFEST
from tests.nodes import SECRETS, RunningNode, running
from tests.registry_node.images import descriptor, image
from tests.tools import require
from tests.upstreams.holdings import digest_of

_OPTIONAL = (
    "API_BLOBS_ATOMIC API_BLOBS_DELETE API_BLOBS_DIGEST_HEADER API_BLOBS_MOUNT_ANONYMOUS API_BLOBS_UPLOAD_CANCEL "
    "API_MANIFESTS_ATOMIC API_MANIFESTS_DELETE API_MANIFESTS_DIGEST_HEADER API_MANIFESTS_TAG_PARAM API_TAGS_ATOMIC "
    "API_TAGS_DELETE API_TAGS_LIST API_REFERRER API_PULL API_PUSH "
    "DATA_IMAGE DATA_INDEX DATA_INDEX_LIST DATA_SPARSE DATA_ARTIFACT DATA_SUBJECT DATA_SUBJECT_MISSING "
    "DATA_ARTIFACT_LIST DATA_SUBJECT_LIST DATA_DATA_FIELD DATA_NONDISTRIBUTABLE DATA_CUSTOM_FIELDS DATA_NO_LAYERS "
    "DATA_EMPTY_BLOB DATA_SHA512"
)
# The program's sparse data is an image without one of its layers; every other node refuses that.
_RULES = {"sparse_images": True}
_EVERYTHING = [{"to": "everyone", "allow": ["pull", "push", "delete"]}]
# What the node is told, and what the program signs in with.
_MODES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "anonymous": ({"users": {}, "grants": _EVERYTHING}, {}),
    "token": ({}, {"OCI_USERNAME": "dev", "OCI_PASSWORD": SECRETS["dev"]}),
}


def environment_of(host: str, version: str, results: Path) -> dict[str, str]:
    """What the program is told; also for tests/clients/test_proxy_by_path.py."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("OCI_")},
        "OCI_REGISTRY": host,
        "OCI_TLS": "disabled",
        "OCI_VERSION": version,
        "OCI_RESULTS_DIR": str(results),
        **{f"OCI_{name}": "true" for name in _OPTIONAL.split()},
    }


def _named(cases: list[ET.Element], *statuses: str) -> list[str]:
    return [f"{case.get('classname')}/{case.get('name')}" for case in cases if case.get("status") in statuses]


@pytest.mark.conformance
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("version", ["stable", "dev"])
def test_the_official_program_finds_no_failure(
    mode: str, version: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    program = require("conformance")
    results = tmp_path / "results"
    settings, credentials = _MODES[mode]
    with running(tmp_path / "node", rules=_RULES, **settings) as node:
        environment = {**environment_of(node.host, version, results), **credentials}
        subprocess.run([program], env=environment, cwd=tmp_path, capture_output=True, check=False)
    cases = list(ET.parse(results / "junit.xml").getroot().iter("testcase"))
    failed, skipped = _named(cases, "failure", "error"), _named(cases, "skipped")
    record_property(f"conformance-{mode}", f"{version} {len(cases)} tests, {len(failed)} failures")
    assert len(cases) > 800
    assert failed == []
    assert skipped == []


_SHOWN = ("conformance/repo1", "1.0")
_OFF = (
    *("API_PUSH", "API_BLOBS_DELETE", "API_MANIFESTS_DELETE", "API_TAGS_DELETE", "API_BLOBS_UPLOAD_CANCEL"),
    # In this mode the program looks for these headers in an answer that it has not kept; our own tests ask for them.
    *("API_BLOBS_DIGEST_HEADER", "API_MANIFESTS_DIGEST_HEADER"),
)
# It ends with a panic when it reports tests of pushes that were left out: so they are filtered out before.
_READS = "OCI Conformance Test/read-only"


def _shown(origin: RunningNode) -> dict[str, str]:
    """Pushes an image, an index and a referrer there; what the program is told of them."""
    with origin.client(None) as http:
        blobs = [b"{}", b"layer one", b"layer two" * 100_000]
        for content in blobs:
            query = {"digest": digest_of(content)}
            answer = http.post(f"/v2/{_SHOWN[0]}/blobs/uploads/", params=query, content=content)
            assert answer.status_code == 201, answer.text
        plain = image(*blobs[1:])
        subject = descriptor(plain, OCI_MANIFEST)
        both = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [subject]}).encode()
        named = {_SHOWN[1]: (both, OCI_INDEX), "2.0": (plain, OCI_MANIFEST)}
        refers = image(blobs[1], subject=subject, artifactType="application/x.sbom")
        for reference, (content, kind) in {**named, digest_of(refers): (refers, OCI_MANIFEST)}.items():
            path = f"/v2/{_SHOWN[0]}/manifests/{reference}"
            answer = http.put(path, content=content, headers={"content-type": kind})
            assert answer.status_code == 201, answer.text
    return {
        "OCI_REPO1": _SHOWN[0],
        "OCI_RO_DATA_TAGS": " ".join(named),
        "OCI_RO_DATA_MANIFESTS": " ".join(map(digest_of, (plain, both, refers))),
        "OCI_RO_DATA_BLOBS": " ".join(map(digest_of, blobs)),
        "OCI_RO_DATA_REFERRERS": subject["digest"],
    }


def _through(kind: str, origin: RunningNode) -> dict[str, Any]:
    if kind == "mirror":
        return {"mirror": {"upstreams": [{"name": "origin", "url": origin.url}]}}
    members = [{"name": "origin", "kind": "local", "url": origin.url}]
    return {"virtual": {"members": members, "unmatched": "members", "push_to": "origin"}}


@pytest.mark.conformance
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["mirror", "virtual"])
@pytest.mark.parametrize("version", ["stable", "dev"])
def test_what_is_read_through_another_kind(
    kind: str, version: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    program, results = require("conformance"), tmp_path / "results"
    open_to_all: dict[str, Any] = {"users": {}, "grants": _EVERYTHING}
    with running(tmp_path / "origin", **open_to_all) as origin:
        told = _shown(origin)
        with running(tmp_path / "node", kind=kind, **_through(kind, origin), **open_to_all) as node:
            environment = {**environment_of(node.host, version, results), **told}
            environment.update({f"OCI_{name}": "false" for name in _OFF}, OCI_FILTER_TEST=_READS)
            ended = subprocess.run(
                [program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
            )
    assert (results / "junit.xml").exists(), ended.stderr
    cases = list(ET.parse(results / "junit.xml").getroot().iter("testcase"))
    ran = [each for each in cases if each.get("status") != "skipped"]
    failed, skipped = _named(cases, "failure", "error"), _named(cases, "skipped")
    record_property(f"conformance-{kind}, read-only", f"{version} {len(ran)} tests, {len(failed)} failures")
    assert failed == []
    assert {each.split("/")[3] for each in skipped} <= {"push", "delete"}
    assert len(ran) >= 18


@pytest.mark.conformance
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", ["stable", "dev"])
def test_all_of_it_through_a_virtual(
    version: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Pushes and deletions too: they go to its member."""
    program, results = require("conformance"), tmp_path / "results"
    open_to_all: dict[str, Any] = {"users": {}, "grants": _EVERYTHING}
    with running(tmp_path / "origin", rules=_RULES, **open_to_all) as origin:
        through = _through("virtual", origin)
        with running(tmp_path / "node", kind="virtual", rules=_RULES, **through, **open_to_all) as node:
            environment = environment_of(node.host, version, results)
            subprocess.run([program], env=environment, cwd=tmp_path, capture_output=True, check=False)
    cases = list(ET.parse(results / "junit.xml").getroot().iter("testcase"))
    failed = _named(cases, "failure", "error")
    record_property("conformance-virtual", f"{version} {len(cases)} tests, {len(failed)} failures")
    assert len(cases) > 800
    assert failed == []
    assert _named(cases, "skipped") == []
