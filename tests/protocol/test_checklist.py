"""The table of the protocol and its tests are one: no line without a test, no test without a line."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.protocol.checklist import LINES, SECTIONS

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "protocol.md"
SECTION_OF_FILE = {
    "test_base.py": "base",
    "test_pull.py": "pull",
    "test_ranges.py": "pull",
    "test_upload.py": "upload",
    "test_sessions.py": "upload",
    "test_mount.py": "mount",
    "test_manifests.py": "manifests",
    "test_manifest_contents.py": "manifests",
    "test_referrers.py": "referrers",
    "test_tags.py": "tags",
    "test_deletes.py": "delete",
    "test_tokens.py": "token",
    "test_token_claims.py": "token",
    "test_proxy.py": "proxy",
}


def named_lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Name and ids of every test function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            marks = (ast.unparse(each) for each in node.decorator_list)
            yield (
                node.name,
                [found[1] for mark in marks if (found := re.fullmatch(r"pytest.mark.protocol\('(.+)'\)", mark))],
            )


FILES = [path for path in sorted(HERE.glob("test_*.py")) if path.name != Path(__file__).name]


def test_every_line_has_one_test_and_every_test_one_line() -> None:
    tested: Counter[str] = Counter()
    for path in FILES:
        for name, ids in named_lines(path):
            assert len(ids) == 1, f"{path.name}: {name} must name one line of the checklist"
            assert ids[0].partition(".")[0] == SECTION_OF_FILE[path.name], f"{path.name}: {name} tests another section"
            tested[ids[0]] += 1
    known = {line.id for line in LINES}
    unknown, untested = sorted(set(tested) - known), sorted(known - set(tested))
    print(f"{len(known)} lines, {len(untested)} without a test, {len(unknown)} unknown ids")
    assert untested == []
    assert unknown == []
    assert [each for each, times in tested.items() if times > 1] == []


def test_the_table_is_in_order() -> None:
    ids = [line.id for line in LINES]
    assert len(ids) == len(set(ids))
    assert set(SECTION_OF_FILE.values()) == set(SECTIONS)
    for line in LINES:
        assert re.fullmatch(r"[a-z]+\.[a-z0-9-]+", line.id)
        assert line.text and line.source


def test_the_page_shows_the_table() -> None:
    """docs/protocol.md is written by scripts/protocol-table; its lines are these, and the node holds all of them."""
    rows = [row.strip("| ").split(" | ") for row in PAGE.read_text().splitlines() if re.match(r"\| [a-z]+\.", row)]
    shown = [tuple(row[:4]) for row in rows]
    assert shown == [(line.id, line.level, line.text, line.source) for line in LINES], "run scripts/protocol-table"
    assert {row[4] for row in rows} == {"yes"}


def test_the_suite_knows_nothing_of_the_node() -> None:
    """So that it can be pointed at another registry: it speaks HTTP; the client's rows use the client."""
    for path in HERE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            rooms = {name.partition(".")[0] for name in names}
            allowed = {"oci_wire"} if path.name == "test_proxy.py" else set()
            assert not rooms & {"registry_node", "identity", "oci_wire", "topology"} - allowed, path.name
