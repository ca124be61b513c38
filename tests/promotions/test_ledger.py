"""The ledger: what was appended is there, and any edit, reordering or cut shows."""

import json
import multiprocessing
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promotions.ledger import GENESIS, Ledger, LedgerBroken

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.lists(st.dictionaries(st.text(), JSON, max_size=3), min_size=1, max_size=6)


def filled(folder: Path, count: int = 5) -> Ledger:
    ledger = Ledger(folder / "prod.ndjson", clock=lambda: 1000.5)
    for number in range(count):
        ledger.append("promotion", f"pr_{number}", {"number": number})
    return ledger


def test_records_chain(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    records = list(ledger.records())
    assert [each.seq for each in records] == [1, 2, 3, 4, 5]
    assert records[0].prev == GENESIS
    assert all(later.prev == earlier.hash for earlier, later in pairwise(records))
    proof = ledger.verify()
    assert (proof.whole, proof.records, proof.proven, proof.head) == (True, 5, 5, records[-1].hash)


def test_an_empty_ledger_is_whole(tmp_path: Path) -> None:
    proof = Ledger(tmp_path / "none.ndjson").verify()
    assert (proof.whole, proof.proven, proof.head) == (True, 0, GENESIS)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(bodies=BODIES)
def test_any_body_comes_back(tmp_path_factory: pytest.TempPathFactory, bodies: list[dict[str, Any]]) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("l") / "x.ndjson")
    for number, body in enumerate(bodies):
        ledger.append("kind", str(number), body)
    assert [each.body for each in ledger.records()] == json.loads(json.dumps(bodies))
    assert ledger.verify().proven == len(bodies)


def test_the_same_key_is_written_once(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    again = ledger.append("promotion", "pr_2", {"number": "something else"})
    assert (again.seq, again.body) == (3, {"number": 2})
    assert ledger.verify().records == 5


def _lines(edit: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        path.write_bytes(b"".join(edit(path.read_bytes().splitlines(keepends=True))))

    return apply


DAMAGE = {
    "edited": (_lines(lambda old: [*old[:2], old[2].replace(b'"number":2', b'"number":9'), *old[3:]]), 2),
    "hash edited": (_lines(lambda old: [*old[:2], old[2].replace(b'"hash":"', b'"hash":"0'), *old[3:]]), 2),
    "reordered": (_lines(lambda old: [old[0], old[2], old[1], *old[3:]]), 1),
    "removed": (_lines(lambda old: [*old[:2], *old[3:]]), 2),
    "first removed": (_lines(lambda old: old[1:]), 0),
    "repeated": (_lines(lambda old: [*old[:3], old[2], *old[3:]]), 3),
    "spaced": (_lines(lambda old: [old[0].replace(b":", b": "), *old[1:]]), 0),
    "cut off": (_lines(lambda old: old[:3]), 3),
    "emptied": (_lines(lambda old: []), 0),
    "junk": (_lines(lambda old: [*old, b"junk\n"]), 5),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_shows_and_says_how_far_it_is_proven(tmp_path: Path, name: str) -> None:
    ledger = filled(tmp_path)
    damage, proven = DAMAGE[name]
    damage(ledger.path)
    proof = ledger.verify()
    assert not proof.whole and proof.proven == proven, proof


def test_a_whole_rewrite_shows_against_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = (5, list(filled(tmp_path).records())[-1].hash)
    for file in tmp_path.iterdir():
        file.unlink()
    forged = Ledger(tmp_path / "prod.ndjson")
    for number in range(5):
        forged.append("promotion", f"pr_{number}", {"number": "forged"})
    assert forged.verify().whole  # by itself nothing is seen
    assert "rewritten" in forged.verify(checkpoint).problems[0]


def test_a_torn_last_line_is_mended_and_said(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 2)
    with ledger.path.open("ab") as file:
        file.write(b'{"at":1000.5,"body":{"numb')
    assert ledger.verify().whole and ledger.verify().torn_bytes == 26
    ledger.append("promotion", "pr_2", {})
    assert [each.kind for each in ledger.records()] == ["promotion", "promotion", "mended", "promotion"]
    assert ledger.verify().whole


def test_nothing_is_appended_to_a_cut_ledger(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    DAMAGE["cut off"][0](ledger.path)
    with pytest.raises(LedgerBroken, match="knows record 5"):
        ledger.append("promotion", "pr_9", {})


def _append(path: Path, who: int) -> None:
    for number in range(10):
        Ledger(path).append("promotion", f"{who}-{number}", {})


def test_processes_append_one_after_the_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append, args=(tmp_path / "prod.ndjson", who)) for who in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    proof = Ledger(tmp_path / "prod.ndjson").verify()
    assert proof.whole and proof.proven == 30
