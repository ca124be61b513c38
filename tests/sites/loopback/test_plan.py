"""Desired state minus facts gives operations."""

from __future__ import annotations

from pathlib import Path

from registry_node.settings import GrantSettings, Listen, NodeSettings
from sites.hosts import NodeFacts, NodeState, Start, Stop, WriteSettings
from sites.loopback.plan import bring_down, bring_up


def settings(node: str, port: int = 5000) -> NodeSettings:
    return NodeSettings(node=node, scope="prod", listen=Listen(port=port), data=Path("/data") / node)


def facts(node: str, state: NodeState, known: NodeSettings | None = None) -> dict[str, NodeFacts]:
    return {node: NodeFacts(node, state, known)}


def test_a_new_node_is_written_and_started() -> None:
    assert bring_up({"a": settings("a")}, {}) == (WriteSettings("a", settings("a")), Start("a"))


def test_a_node_that_runs_as_desired_is_left_alone() -> None:
    for state in (NodeState.READY, NodeState.STARTING):
        assert bring_up({"a": settings("a")}, facts("a", state, settings("a"))) == ()


def test_a_stopped_node_is_started_again() -> None:
    for state in (NodeState.STOPPED, NodeState.DIED):
        assert bring_up({"a": settings("a")}, facts("a", state, settings("a"))) == (Start("a"),)


def test_other_settings_are_a_restart() -> None:
    found = bring_up({"a": settings("a", 5001)}, facts("a", NodeState.READY, settings("a")))
    assert found == (Stop("a"), WriteSettings("a", settings("a", 5001)), Start("a"))


def test_who_may_do_what_changes_without_a_restart() -> None:
    old, new = (
        settings("a"),
        settings("a").model_copy(update={"grants": (GrantSettings(to="everyone", allow=("pull",)),)}),
    )
    for state in (NodeState.READY, NodeState.STARTING):
        assert bring_up({"a": new}, facts("a", state, old)) == (WriteSettings("a", new),)
    assert bring_up({"a": new}, facts("a", NodeState.STOPPED, old)) == (WriteSettings("a", new), Start("a"))
    moved = new.model_copy(update={"listen": Listen(port=5001)})
    assert bring_up({"a": moved}, facts("a", NodeState.READY, old))[0] == Stop("a")
    assert bring_up({"a": new}, facts("a", NodeState.READY, None))[0] == Stop("a")


def test_unreadable_settings_are_written_anew() -> None:
    found = bring_up({"a": settings("a")}, facts("a", NodeState.STOPPED, None))
    assert found == (WriteSettings("a", settings("a")), Start("a"))


def test_what_is_no_longer_declared_stops() -> None:
    assert bring_up({}, facts("old", NodeState.READY, settings("old"))) == (Stop("old"),)
    assert bring_up({}, facts("old", NodeState.STOPPED, settings("old"))) == ()


def test_down_stops_what_runs() -> None:
    known = {**facts("a", NodeState.READY), **facts("b", NodeState.STOPPED), **facts("c", NodeState.READY)}
    assert bring_down(["a", "b", "unknown"], known) == (Stop("a"),)
