"""What a node loads: its start is waited for, and what is loaded stays in its memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# For migrations alone (decision 0010).
HISTORY = ("sqlalchemy", "alembic", "mako")
# For other kinds of nodes, for tests, or later (decision 0014).
NOT_YET = ("uvicorn", "click", "httpx", "prometheus_client", "ctypes")


def loaded(code: str, *arguments: str) -> set[str]:
    """The packages that a new process has loaded after ``code``."""
    code += "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules})"
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.split())


PUSH = """
import asyncio, pathlib, sys
from registry_node import server
from registry_node.registries.local import LocalRegistry
from tests.registry_node.pushes import CI, put_image

async def main(folder):
    registry = LocalRegistry.open(folder)
    await put_image(registry, "a", b"layer", tags=["v1"])
    await registry.tags(CI, "a")
    await registry.delete_tag(CI, "a", "v1")
    registry.close()

asyncio.run(main(pathlib.Path(sys.argv[1])))
asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


def test_a_node_that_takes_pushes_loads_no_schema_history(tmp_path: Path) -> None:
    assert loaded(PUSH, str(tmp_path)).isdisjoint(HISTORY)


def test_a_node_starts_without_what_it_may_never_do(tmp_path: Path) -> None:
    code = """
import pathlib, sys
from registry_node import server
from registry_node.registries.local import LocalRegistry
LocalRegistry.open(pathlib.Path(sys.argv[1])).close()
"""
    assert loaded(code, str(tmp_path)).isdisjoint(NOT_YET)
    others = "import registry_node.exposition, registry_node.registries.mirror.opened"
    assert loaded(others) >= {"httpx", "prometheus_client"}


def test_an_older_index_loads_it(tmp_path: Path) -> None:
    """What the test above looks for is there when it is needed."""
    code = """
import pathlib, sys
from registry_node.storage.metadata import Metadata
Metadata.join(pathlib.Path(sys.argv[1]) / "index.db").migrate("here", None)
"""
    assert loaded(code, str(tmp_path)) >= set(HISTORY)
