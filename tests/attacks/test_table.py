"""The attack table and the tests that carry its ids are one."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

from tests.attacks.table import ATTACKS

TESTS = Path(__file__).parent.parent


def marked(path: Path) -> list[str]:
    """The ids that the tests of a module carry."""
    tests = (
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )
    marks = (ast.unparse(each) for test in tests for each in test.decorator_list)
    return [found[1] for mark in marks if (found := re.fullmatch(r"pytest\.mark\.attack\('([^']+)'\)", mark))]


def test_every_row_has_a_test_and_every_id_a_row() -> None:
    found = Counter(each for path in TESTS.rglob("test_*.py") for each in marked(path))
    now = {row.id for row in ATTACKS if row.now}
    later = [row for row in ATTACKS if not row.now]
    print(f"{len(now)} attacks, {sum(found.values())} tests; {len(later)} wait: {', '.join(row.id for row in later)}")
    assert sorted(now - set(found)) == []
    assert sorted(set(found) - {row.id for row in ATTACKS}) == []


def test_the_rows_are_whole() -> None:
    assert len(ATTACKS) == len({row.id for row in ATTACKS}) > 40
    for row in ATTACKS:
        assert row.what and row.elsewhere
        assert row.defence if row.now else re.fullmatch(r"later: .+", row.when), row.id
