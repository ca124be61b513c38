"""The house style that a test can hold: names, sizes, lock files, decisions, no trace of one machine."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
ROOMS = ["oci_wire", "identity", "topology", "registry_node", "promotions", "sites", "control_plane", "towpath"]
SOURCES = [path for room in ROOMS for path in sorted((TOP / room).rglob("*.py"))]
FORBIDDEN_NAMES = re.compile(r"(?i)(?:^|_)(?:managers?|helpers?|utils?|utilities|services?|common|misc)(?:_|$)")
CAMEL_FORBIDDEN = re.compile(r"(?:Manager|Helper|Util|Utils|Service)(?:$|[A-Z])")
LONGEST_FUNCTION = 50
LONGEST_MODULE = 350
# The protocol's own parameter (distribution's token authentication) is called so.
ALLOWED_NAMES = {"service"}


def relative(path: Path) -> str:
    return str(path.relative_to(TOP))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_module_is_one_thing(path: Path) -> None:
    assert path.read_text().count("\n") <= LONGEST_MODULE, "a module of this length wants to be two"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_functions_are_short(path: Path) -> None:
    long = [
        f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_names_are_the_fields_own(path: Path) -> None:
    defined = {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    } | {path.stem}
    bad = {name for name in defined if FORBIDDEN_NAMES.search(name) or CAMEL_FORBIDDEN.search(name)} - ALLOWED_NAMES
    assert bad == set()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_module_says_what_it_is(path: Path) -> None:
    if path.read_text().strip():
        assert ast.get_docstring(ast.parse(path.read_text())), "a module starts with a docstring"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_lock_files_hold_hashes_and_no_address(name: str) -> None:
    text = (TOP / name).read_text()
    pinned = re.findall(r"^[a-z0-9][a-z0-9._-]*==", text, flags=re.MULTILINE)
    assert len(pinned) > 20
    assert text.count("--hash=sha256:") >= len(pinned)
    assert "://" not in text


def test_the_decisions_are_listed() -> None:
    folder = TOP / "docs" / "decisions"
    listed = set(re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text()))
    assert listed == {path.name for path in folder.glob("[0-9]*.md")}


def test_nothing_here_knows_this_machine() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [TOP / name for name in tracked.stdout.split("\0") if name and name != "tests/test_house.py"]
    marks = re.compile(rb"/work/(?:main|shared|steering)|/root/|pypi\.org/simple|proxy\.golang\.org|deb\.debian\.org")
    assert [relative(path) for path in paths if path.is_file() and marks.search(path.read_bytes())] == []


def test_links_in_the_docs_lead_somewhere() -> None:
    pages = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]
    broken = [
        f"{relative(page)} -> {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert broken == []
