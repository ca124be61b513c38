"""Recorded histories of real nodes: a tag is never served stale, by one process or three, also when one is killed; nor
by a neighbour that reads the node's files."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from registry_node.storage.neighbour import Neighbour
from tests.nodes import running
from tests.postgresql import Cluster
from tests.registry_node.linearizability.recorder import kill_one, record

pytestmark = pytest.mark.slow
SECONDS = 3.0


@pytest.mark.parametrize("kill", [False, True], ids=["quiet", "killed"])
@pytest.mark.parametrize("processes", [1, 3])
def test_no_tag_is_served_stale(tmp_path: Path, processes: int, kill: bool) -> None:
    with running(tmp_path / "box", processes=processes) as node:
        history = record(node, SECONDS, meanwhile=lambda: kill_one(node) if kill else None)
    assert history.violations() == []


@pytest.mark.clients
@pytest.mark.parametrize("fault", ["a process is killed", "PostgreSQL restarts"])
def test_no_tag_is_served_stale_from_postgresql(tmp_path: Path, cluster: Cluster, fault: str) -> None:
    secret = tmp_path / "dsn"
    secret.write_text(cluster.database())
    with running(tmp_path / "box", processes=3, index={"postgresql": {"dsn_file": str(secret)}}) as node:
        history = record(node, SECONDS, meanwhile=lambda: kill_one(node) if "killed" in fault else cluster.restart())
    assert history.violations() == []


@pytest.mark.parametrize("kill", [False, True], ids=["quiet", "killed"])
def test_a_neighbour_serves_no_stale_tag(tmp_path: Path, kill: bool) -> None:
    """Half of the reads come from this process, by the node's files."""
    with running(tmp_path / "box") as node, closing(Neighbour(node.data)) as neighbour:
        history = record(node, SECONDS, meanwhile=lambda: kill_one(node) if kill else None, neighbour=neighbour)
    assert history.violations() == []
    assert history.by_files > 100


@pytest.mark.parametrize("fault", ["stale", "forgetful"])
@pytest.mark.parametrize("processes", [1, 3])
def test_a_cache_of_tags_is_found_out(tmp_path: Path, processes: int, fault: str) -> None:
    """50 ms of it are enough; and so are writers that do not say that a commit is coming. The check can fail."""
    with running(tmp_path / "box", program=f"{__package__}.{fault}", processes=processes) as node:
        history = record(node, SECONDS / 2)
    assert "no order of the operations" in history.violations()[0]
