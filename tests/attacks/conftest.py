"""One node of ours for the attacks that need a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes import GRANTS, RunningNode, running
from tests.protocol.target import Target

OUR_GRANTS = (
    *(each for each in GRANTS if each["to"] != "reader"),
    {"to": "reader", "allow": ["pull"], "repositories": ["apps/**"]},
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """``reader`` pulls apps/**, and nothing else."""
    folder: Path = tmp_path_factory.mktemp("attacked")
    with running(folder / "box", grants=list(OUR_GRANTS), rules={"immutable_tags": ["v*"]}) as node:
        yield node


@pytest.fixture
def target(node: RunningNode) -> Iterator[Target]:
    """Signed in as ``dev``, who may pull, push and delete everywhere."""
    with node.client("dev", timeout=60) as http:
        yield Target(node.url, http, ours=True)
