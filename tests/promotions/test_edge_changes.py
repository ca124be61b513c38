"""Which edges, gates, freezes and keys are others than those that were applied last."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promotions.edge_changes import EdgeChange, changed, said
from topology.load import load, loads
from topology.model import Topology

TEXT = """
apiVersion: towpath/v1
kind: Topology
metadata: {name: edges}
sites: {eu: {hosts: {eu-1: {}}}}
users: {ana: {password: {env: ANA}}, ben: {password: {env: BEN}}}
scopes: {pool: {class: ci}, prod: {class: prod, write: promotion-only}}
nodes:
  pool-eu: {kind: local, scope: pool, site: eu, host: eu-1, port: 5001}
  prod-eu: {kind: local, scope: prod, site: eu, host: eu-1, port: 5002}
  copy-eu: {kind: local, scope: prod, role: replica, site: eu, host: eu-1, port: 5003}
trust: {key: {type: key, file: release.pub}}
gates:
  signed: {type: signature, by: [key]}
  soaked: {type: soak, in: pool, for: 24h}
freezes: [{name: weekend, edges: [to-prod], cron: '0 0 * * 6', for: 48h, reason: nobody is there}]
promotions: [{id: to-prod, from: pool, to: prod, by: [ana], gates: [signed, soaked]}]
replications: [{id: copies, from: prod-eu, to: [copy-eu], on: event}]
"""


def topology(*change: str) -> Topology:
    assert not change or change[0] in TEXT
    loaded = loads(TEXT.replace(*change) if change else TEXT)
    assert loaded.topology is not None, loaded.findings
    return loaded.topology


def test_the_first_time_every_one_is_added_with_its_ends_first() -> None:
    found = changed({}, topology())
    assert [(each.kind, each.name, each.sign) for each in found] == [
        ("promotion", "to-prod", "+"),
        ("replication", "copies", "+"),
        ("freeze", "weekend", "+"),
    ], "gates and keys are named by the edges"
    assert found[0].change == "pool -> prod; by: ana; gates: signed, soaked"
    assert found[0].path == ("promotions", 0)


def test_what_is_written_otherwise_and_means_the_same_is_no_change() -> None:
    kept = json.loads(json.dumps(said(topology())))
    assert changed(kept, topology()) == ()
    assert changed(kept, topology("for: 24h", "for: 1d")) == ()
    assert changed(kept, topology("on: event", "on: event, deletes: never")) == (), "the default, written"
    assert changed(kept, topology("id: to-prod,", "id: to-prod, owner: ana,")) == (), "who looks after it"


@pytest.mark.parametrize(
    ("was", "becomes", "wanted"),
    [
        ("gates: [signed, soaked]", "gates: [signed]", ("promotion", "gates: signed, soaked -> signed")),
        ("by: [ana]", "by: [ana, ben]", ("promotion", "by: ana -> ana, ben")),
        ("for: 24h", "for: 1h", ("gate", "for: 1d -> 1h")),
        ("by: [key]}", "by: [key], threshold: 2}", ("gate", "threshold: - -> 2")),
        ("for: 48h", "for: 24h", ("freeze", "for: 2d -> 1d")),
        ("release.pub", "other.pub", ("trust", "file: release.pub -> other.pub")),
        ("on: event", "reconcile: 10m", ("replication", "reconcile: - -> 10m; on: event -> -")),
    ],
)
def test_a_change_says_both_sides(was: str, becomes: str, wanted: tuple[str, str]) -> None:
    (found,) = changed(said(topology()), topology(was, becomes))
    assert (found.kind, found.sign, found.change) == (wanted[0], "~", wanted[1])


def test_a_gate_that_no_edge_names_any_more_is_told_by_the_edge_alone() -> None:
    without = TEXT.replace("  soaked: {type: soak, in: pool, for: 24h}\n", "").replace("signed, soaked", "signed")
    later = loads(without).topology
    assert later is not None
    assert [(each.kind, each.change) for each in changed(said(topology()), later)] == [
        ("promotion", "gates: signed, soaked -> signed")
    ]


def test_what_is_gone_is_said_whole() -> None:
    line = "freezes: [{name: weekend, edges: [to-prod], cron: '0 0 * * 6', for: 48h, reason: nobody is there}]\n"
    (found,) = changed(said(topology()), topology(line, ""))
    assert (found.kind, found.name, found.sign, found.path) == ("freeze", "weekend", "-", ("freezes",))
    assert "edges: to-prod" in found.change and "for: 2d" in found.change


def test_every_edge_of_the_example_is_told() -> None:
    loaded = load(Path(__file__).parents[2] / "examples" / "acme" / "topology.yaml").topology
    assert loaded is not None
    told = {(each.kind, each.name): each for each in changed({}, loaded)}
    assert {name for kind, name in told if kind == "promotion"} == {each.id for each in loaded.promotions}
    assert told["replication", "prod-everywhere"].change.endswith("bandwidth: 400Mbit")
    assert isinstance(told["promotion", "to-prod"], EdgeChange)
    assert "four-eyes" in told["promotion", "to-prod"].change
