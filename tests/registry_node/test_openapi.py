"""Our own API is what its OpenAPI document says: schemathesis sends data that fits it and data that does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from oci_wire.registry import MOST_VIA, VIA
from registry_node import operations
from registry_node.app import App
from registry_node.extension_routes import template
from tests.nodes import log_lines, running
from tests.registry_node.conftest import DEV, ENGINE, asking
from tests.registry_node.images import push_image
from tests.upstreams import faults
from tests.upstreams.lying import LyingUpstream, Plan

TOP = Path(__file__).resolve().parent.parent.parent
DOCUMENT = "/_towpath/v1/openapi.json"
EXAMPLES = "8"  # of data for an operation in the fuzzing phase, besides the hundreds of the coverage phase


def test_the_documentation_has_the_document() -> None:
    """``python -m registry_node.operations > docs/reference-api.json`` renews it."""
    command = [sys.executable, "-m", "registry_node.operations"]
    printed = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True).stdout
    assert json.loads(printed)["openapi"] == "3.1.0"
    assert (TOP / "docs" / "reference-api.json").read_text() == printed


async def test_the_node_serves_it_to_those_who_sign_in(app: App) -> None:
    for who, status in ((ENGINE, 200), (DEV, 200), (None, 401)):
        async with asking(app, who) as http:
            answer = await http.get(DOCUMENT)
            assert answer.status_code == status
            assert (answer.text == (TOP / "docs" / "reference-api.json").read_text()) == (status == 200)


async def test_every_operation_of_the_document_is_served_and_no_other_method(app: App) -> None:
    document = json.loads((TOP / "docs" / "reference-api.json").read_text())
    fill = {"repository": "api", "id": "x", "owner": "x", "txid": "x", "reference": "x", "digest": f"sha256:{'0' * 64}"}
    async with asking(app, ENGINE) as http:
        for path, described in document["paths"].items():
            for method in ("get", "put", "post", "delete", "patch"):
                answer = await http.request(method, path.format(**fill))
                assert (answer.status_code == 405) == (method not in described), (method, path)
                assert str(answer.status_code) in described.get(method, {}).get("responses", {"405": ""})


@pytest.mark.slow
def test_what_a_mirror_says_of_its_upstream_is_in_the_document(tmp_path: Path) -> None:
    """502, 503 and 504 by one upstream each, and 508 for a request that goes round."""
    paths = json.loads((TOP / "docs" / "reference-api.json").read_text())["paths"]
    closure, features = (
        paths[template(*each)]["get"]["responses"] for each in (("closure", True), ("features", False))
    )
    kinds = {502: faults.web_page, 503: faults.too_many, 504: faults.silence}
    with LyingUpstream() as liar:
        images = {status: liar.holdings.image(f"s{status}/app", b"layer") for status in kinds}
        upstreams = [{"name": f"u{each}", "url": liar.url, "repositories": [f"s{each}/**"]} for each in kinds]
        settings = {"upstreams": upstreams, "answer_seconds": 1}
        with (
            running(tmp_path, kind="mirror", mirror=settings) as node,
            node.client("towpath-engine", timeout=30) as http,
        ):
            for status, kind in kinds.items():
                liar.plan = Plan(among=[kind], slow=0)
                where = {"repository": f"s{status}/app", "digest": images[status].digest}
                answer = http.get(template("closure", True).format(**where))
                assert answer.status_code == status, answer.text
                assert answer.json()["errors"][0]["detail"]["upstream"] == f"u{status}"
                assert str(status) in closure
            round_about = http.get(template("features", False), headers={VIA: ",".join("x" * MOST_VIA)})
            assert round_about.status_code == 508
            assert "508" in features


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("who", ["towpath-engine", None])
async def test_schemathesis_finds_nothing(tmp_path: Path, who: str | None) -> None:
    with running(tmp_path) as node:
        async with httpx.AsyncClient(base_url=node.url, auth=node.auth("dev"), trust_env=False) as http:
            await push_image(http, "api", "1.0", b"layer")  # so that there are events to answer with at once
        credentials = ["--auth", ":".join(node.auth(who))] if who else []
        command = [Path(sys.executable).parent / "schemathesis", "run", TOP / "docs" / "reference-api.json"]
        options = ["--url", node.url, "--max-examples", EXAMPLES, "--seed", "1", "--continue-on-failure", "--no-color"]
        # Data that fits may still be refused: a lease that ended, a tag that moved.
        limits = ["--exclude-checks", "positive_data_acceptance", "--suppress-health-check", "all", "--warnings", "off"]
        ran = subprocess.run(
            [*command, *options, *limits, "--phases", "coverage,fuzzing" if who else "coverage", *credentials],
            check=False,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.registry_node.openapi_hooks", "PYTHONPATH": str(TOP)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        lines: list[dict[str, Any]] = list(log_lines(node))
        node.stop()
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert "19 passed" in ran.stdout.partition("Coverage (in")[2].partition("\n\n")[2].partition("\n")[0]
    assert [line["trace"] for line in lines if line.get("level") == "error"] == []


def test_every_operation_has_a_handler() -> None:
    assert all(operation.handler is not None for operation in operations.OPERATIONS.values())
