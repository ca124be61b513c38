"""A release: the same inputs make the same archive, and a node starts from it alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from sites.desired.bundle import release
from sites.on_host import look
from tests.nodes import RunningNode
from tests.test_house import ROOMS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TOP = Path(__file__).resolve().parent.parent.parent.parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release(tmp_path_factory.mktemp("releases")).archive


def test_the_same_inputs_make_the_same_bytes(made: Path, tmp_path: Path) -> None:
    again = release(tmp_path).archive
    assert again.name == made.name
    assert again.read_bytes() == made.read_bytes()


def test_it_says_nothing_of_this_machine(made: Path) -> None:
    with tarfile.open(made) as tar:
        members = tar.getmembers()
        assert {(each.mtime, each.uid, each.gid, each.uname, each.gname) for each in members} == {(0, 0, 0, "", "")}
        assert [each.name for each in members] == sorted((each.name for each in members), key=Path)
        names = {each.name.partition("/")[0] for each in members}
        here = str(TOP).encode()
        compiled = tar.extractfile(
            next(each for each in members if each.name.startswith("registry_node/__pycache__/server."))
        )
        assert compiled is not None and here not in compiled.read()
    assert {"registry_node", "uvloop", "pydantic_core"} <= names
    assert not names & {"pyinfra", "networkx", "cyclopts", "topology", "sites", "promotions", "towpath"}


def identity_of_our_rooms(folder: Path) -> str:
    """As a towpath says it whose rooms lie in this folder."""
    program = "from sites.desired import bundle; print(bundle._identity(dict(sorted(bundle._rooms()))))"
    words = [sys.executable, "-P", "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    said = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return said.stdout.strip()


def test_an_edit_of_the_command_line_makes_no_new_release_and_one_of_the_node_does(tmp_path: Path) -> None:
    for room in ROOMS:
        shutil.copytree(TOP / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    before = identity_of_our_rooms(tmp_path)
    for room in ("towpath/deploy.py", "towpath/main.py", "sites/planning/plan.py", "topology/load.py"):
        with (tmp_path / room).open("a") as module:
            module.write("# edited\n")
    assert identity_of_our_rooms(tmp_path) == before
    with (tmp_path / "registry_node" / "app.py").open("a") as module:
        module.write("# edited\n")
    assert identity_of_our_rooms(tmp_path) != before


def test_a_node_starts_from_it_alone(made: Path, tmp_path: Path) -> None:
    with tarfile.open(made) as tar:
        tar.extractall(tmp_path / "release", filter="data")
    alone = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "release")}
    blind = "import sys; sys.path[:] = [each for each in sys.path if 'site-packages' not in each]; "
    starts = blind + "from registry_node.__main__ import main; sys.exit(main(sys.argv[1:]))"
    node = RunningNode(tmp_path / "box")
    node._program = ["-P", "-c", starts, "--settings"]
    try:
        node.start(environment=alone)
        with node.client() as client:
            assert client.get("/v2/").status_code == 200
    finally:
        node.kill()
    assert look.tree(tmp_path / "release")["differing"] == [], "nothing is written into it by running it"
    loaded = [sys.executable, "-P", "-c", f"{blind}import registry_node.server as s; print(s.__file__)"]
    shown = subprocess.run(loaded, env=alone, capture_output=True, text=True, check=True).stdout
    assert shown.startswith(str(tmp_path / "release"))
