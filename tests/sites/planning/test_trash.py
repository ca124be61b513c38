"""The trash of a host: what goes, what stays, and until when; whatever an inventory or a note on a host says."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sites.desired.hosts import DesiredHost
from sites.desired.protection import TRASH_TERM
from sites.planning.facts import HostFacts, RecordedNode
from sites.planning.removal import described, vacated, with_removal
from sites.planning.removal_actions import Discard
from sites.planning.trash import in_trash, kept, kept_rows, node_of, over, remaining, term
from sites.remembered import RememberedHost, RememberedNode
from tests.sites import deployed

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
DAY = 86_400.0
OLD, YOUNG = "ci-1-20261001T000000Z", "ci-2-20261101T000000Z"
notes = st.one_of(
    st.none(),
    st.text(),
    st.fixed_dictionaries({"until": st.one_of(st.floats(), st.integers(), st.booleans(), st.none(), st.text())}),
)


@pytest.fixture
def host(tmp_path: Path) -> DesiredHost:
    """eu-2, which has no node in the topology any more."""
    hosts = deployed.hosts(deployed.topology(deployed.folder(tmp_path)), tmp_path)
    return replace(hosts["eu-2"], nodes=(), directories=())


def facts(**trash: Any) -> HostFacts:
    told = {name: {"until": until} for name, until in trash.items()}
    return deployed.facts(earlier={"trash": told}, time=NOW.timestamp())


def holding(ends: dict[str, float]) -> HostFacts:
    return facts(**ends)


def test_a_host_that_left_says_what_it_keeps_and_until_when(host: DesiredHost) -> None:
    there = holding({OLD: NOW.timestamp() - 1, YOUNG: NOW.timestamp() + DAY})
    plan = with_removal(vacated(host, there), NOW)
    assert [(row.sign, row.operation, row.change) for row in plan.all_rows] == [
        ("-", "trash", f"{OLD}: its term ended on 2026-11-23"),
        ("=", "trash", f"{YOUNG}: kept until 2026-11-24, an apply after that removes it"),
    ]
    assert plan.changes
    assert remaining(plan, done=False) == {OLD: NOW.timestamp() - 1, YOUNG: NOW.timestamp() + DAY}
    assert remaining(plan, done=True) == {YOUNG: NOW.timestamp() + DAY}


def test_what_is_only_kept_changes_nothing(host: DesiredHost) -> None:
    plan = with_removal(vacated(host, holding({YOUNG: NOW.timestamp() + DAY})), NOW)
    assert not plan.changes and [row.sign for row in plan.all_rows] == ["="]


def test_what_nodes_leave_behind_is_what_remains(tmp_path: Path) -> None:
    full = deployed.hosts(deployed.topology(deployed.folder(tmp_path)), tmp_path)["eu-2"]
    plan = with_removal(vacated(replace(full, nodes=(), directories=()), deployed.facts(full)), NOW)
    assert remaining(plan, done=False) == {}
    left = remaining(plan, done=True)
    assert {node_of(name) for name in left} == {"sandbox-2", "ci-2", "hub-2", "all-2"}
    assert all(until >= (NOW + TRASH_TERM).timestamp() for until in left.values())


@given(st.dictionaries(st.one_of(st.sampled_from([OLD, YOUNG, "..", "mine"]), st.text()), notes), st.floats(0, 1e300))
def test_whatever_notes_say_each_thing_goes_stays_or_is_left_to_people(told: dict[str, Any], clock: float) -> None:
    there = deployed.facts(earlier={"trash": told}, time=clock)
    goes, stays = over(there, NOW), kept(there, NOW)
    assert not goes.keys() & stays.keys()
    assert goes | stays == in_trash(there)
    assert all(node_of(name) for name in in_trash(there))
    assert all(until <= min(NOW.timestamp(), clock) for until in goes.values())
    target = deployed_target()
    assert [row.sign for row in kept_rows(target, stays)] == ["="] * len(stays)


def deployed_target() -> Any:
    return RememberedHost(site="eu", address="10.1.0.12", port=22).target("eu-2")


@given(st.one_of(st.none(), st.floats()), st.floats(0, 1e300))
def test_any_term_of_an_inventory_makes_a_plan(seconds: float | None, clock: float) -> None:
    told = RecordedNode(kind="local", scope="ci", trash_seconds=seconds)
    assert timedelta(0) <= term(told) <= timedelta(days=36_525)
    if seconds is not None and 0 <= seconds <= 36_525 * DAY:
        assert term(told).total_seconds() == pytest.approx(seconds, abs=1e-5)
    assert "data to trash for " in described(told)
    inventory = {"nodes": {"ci-2": told.model_dump()}}
    bare = RememberedHost(site="eu", address="10.1.0.12", port=22).target("eu-2")
    there = deployed.facts(inventory=inventory, time=clock)
    host = DesiredHost(bare, None, (), ())  # type: ignore[arg-type]  # no node, so no release is looked at
    plan = with_removal(vacated(host, there), NOW)
    assert plan.removal is not None
    (discard,) = (each for each in plan.removal.leaving[0].actions if isinstance(each, Discard))
    assert math.isfinite(discard.until) and discard.until >= NOW.timestamp()
    assert f'"until": {discard.until}' in discard.told()["note"]
    assert list(kept_rows(bare, remaining(plan, done=True)))


def test_a_host_rests_while_all_that_it_has_is_trash_whose_term_runs() -> None:
    def rests(*ends: float, nodes: dict[str, RememberedNode] | None = None) -> bool:
        trash = {f"{OLD}{at}": NOW.timestamp() + end for at, end in enumerate(ends)}
        host = RememberedHost(site="eu", address="10.1.0.12", port=22, nodes=nodes or {}, trash=trash)
        return host.rests(NOW)

    assert rests(DAY) and rests(DAY, 2 * DAY)
    assert not rests(), "nothing is known of it, so it is asked"
    assert not rests(-1, DAY), "some of it is due"
    assert not rests(DAY, nodes={"ci-2": RememberedNode(url="https://10.1.0.12:5002")})
