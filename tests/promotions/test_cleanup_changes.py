"""Which scopes' cleanup rules are others than those that were applied last."""

from __future__ import annotations

from promotions.cleanup_changes import changed, rules
from topology.load import loads
from topology.model import Topology

TEXT = """
apiVersion: towpath/v1
kind: Topology
metadata: {name: cleanup}
sites: {eu: {hosts: {eu-1: {}}}}
scopes:
  box: {class: dev, cleanup: {every: 6h, keep: [{pushedWithin: 14d}, {tags: [edge]}], trash: 2d}}
  pool: {class: ci}
nodes:
  box-eu: {kind: local, scope: box, site: eu, host: eu-1, port: 5001}
  pool-eu: {kind: local, scope: pool, site: eu, host: eu-1, port: 5002}
"""


def topology(*change: str) -> Topology:
    loaded = loads(TEXT.replace(*change) if change else TEXT)
    assert loaded.topology is not None, loaded.findings
    return loaded.topology


def test_the_same_rules_are_no_change() -> None:
    former = rules(topology())
    assert former == {"box": "keep pushedWithin 14d or tags edge, every 6h, trash 2d", "pool": "none"}
    assert changed(former, topology()) == ()
    assert changed(former, topology("every: 6h", "every: 360m")) == (), "the same length, written otherwise"


def test_each_change_is_told_with_both_sides() -> None:
    (found,) = changed(rules(topology()), topology("14d", "7d"))
    assert found.scope == "box"
    assert "pushedWithin 14d" in found.was and "pushedWithin 7d" in found.is_
    for change in (("every: 6h", "cron: '0 3 * * *'"), ("trash: 2d", "trash: 3d"), (", trash: 2d", ", maxPercent: 10")):
        assert len(changed(rules(topology()), topology(*change))) == 1, change


def test_cleanup_that_begins_and_one_that_ends() -> None:
    begun = "pool: {class: ci, cleanup: {every: 1h, keep: [{newest: 3}]}}"
    (found,) = changed(rules(topology()), topology("pool: {class: ci}", begun))
    assert str(found) == "none -> keep newest 3, every 1h"
    (found,) = changed(rules(topology("pool: {class: ci}", begun)), topology())
    assert found.is_ == "none"


def test_a_scope_that_is_new_changes_nothing() -> None:
    assert changed({"pool": "none"}, topology()) == ()
