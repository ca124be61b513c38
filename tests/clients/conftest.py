"""A real node and the means to drive real clients, each with configuration folders of its own."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.images import Layout
from tests.clients.journal import Journal
from tests.clients.programs import Clients
from tests.nodes import GRANTS, RunningNode, running
from tests.tools import require

GREETING = "hello from the image"
# Without fmt or os: what the compiler has to make for it on a fresh machine is little.
PROGRAM = f"""package main

import "syscall"

func main() {{ syscall.Write(1, []byte("{GREETING}\\n")) }}
"""
MODULE = "module example.com/hello\n\ngo 1.21\n"


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """Its people sign in with tokens; everybody may pull what is public."""
    public = {"to": "everyone", "allow": ["pull"], "repositories": ["public/**"]}
    with running(tmp_path_factory.mktemp("clients") / "box", grants=[*GRANTS, public]) as started:
        yield started


@pytest.fixture(autouse=True)
def seen(node: RunningNode) -> Iterator[Journal]:
    """What the test's clients have asked for. None of it may be refused as malformed."""
    journal = Journal(node)
    yield journal
    assert journal.spurned() == []


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return Layout(tmp_path_factory.mktemp("layout") / "image")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program that says GREETING: what the tests' containers run."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "main.go").write_text(PROGRAM)
    (folder / "go.mod").write_text(MODULE)
    built = folder / "hello"
    command = [require("go"), "build", "-trimpath", "-ldflags=-s -w", "-o", str(built), "."]
    subprocess.run(["env", "CGO_ENABLED=0", *command], cwd=folder, check=True, capture_output=True, timeout=110)
    return built


@pytest.fixture(scope="session")
def hello(tmp_path_factory: pytest.TempPathFactory, program: Path) -> Layout:
    """An image that runs here: its entry point is the program."""
    return Layout(tmp_path_factory.mktemp("hello") / "image", program=program.read_bytes())


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[Clients]:
    home = tmp_path / "home"
    home.mkdir()
    with tempfile.TemporaryDirectory(prefix="tp-", ignore_cleanup_errors=True) as short:
        yield Clients(home, Path(short))
