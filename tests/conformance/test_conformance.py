"""The official OCI conformance program against a real node, every optional API and all data switched on."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

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


def _environment(host: str, version: str, results: Path) -> dict[str, str]:
    return {
        **os.environ,
        "OCI_REGISTRY": host,
        "OCI_TLS": "disabled",
        "OCI_VERSION": version,
        "OCI_RESULTS_DIR": str(results),
        "OCI_USERNAME": "dev",
        "OCI_PASSWORD": SECRETS["dev"],
        **{f"OCI_{name}": "true" for name in _OPTIONAL.split()},
    }


@pytest.mark.conformance
@pytest.mark.slow
@pytest.mark.parametrize("version", ["stable", "dev"])
def test_the_official_program_finds_no_failure(
    version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = require("conformance")
    results = tmp_path / "results"
    # The program's sparse data is an image without one of its layers; every other node refuses that.
    with running(tmp_path / "node", rules={"sparse_images": True}) as node:
        subprocess.run(
            [program], env=_environment(node.host, version, results), cwd=tmp_path, capture_output=True, check=False
        )
    cases = list(ET.parse(results / "junit.xml").getroot().iter("testcase"))
    failed = [str(case.get("name")) for case in cases if case.get("status") in ("failure", "error")]
    with capsys.disabled():
        print(f"\nconformance: {version} {len(cases)} tests, {len(failed)} failures")
    assert len(cases) > 800
    assert failed == []
