"""The official OCI conformance program against a real node, every optional API and all data switched on: once as
nobody, where everyone may do everything, and once with tokens."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import SECRETS, running
from tests.tools import require

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


def _environment(host: str, version: str, results: Path) -> dict[str, str]:
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
        environment = {**_environment(node.host, version, results), **credentials}
        subprocess.run([program], env=environment, cwd=tmp_path, capture_output=True, check=False)
    cases = list(ET.parse(results / "junit.xml").getroot().iter("testcase"))
    failed, skipped = _named(cases, "failure", "error"), _named(cases, "skipped")
    record_property(f"conformance-{mode}", f"{version} {len(cases)} tests, {len(failed)} failures")
    assert len(cases) > 800
    assert failed == []
    assert skipped == []
