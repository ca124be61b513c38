"""Any duration that a topology may say becomes settings, files and a plan, or is refused where it is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sites.planning.plan import host_plan
from sites.planning.removal import vacated, with_removal
from sites.render import prometheus
from tests.sites import deployed
from tests.sites.planning.test_trash import NOW
from topology.findings import errors
from topology.load import loads

PLACES = (
    "every",
    "pushed",
    "untagged",
    "trash",
    "renew",
    "tag_ttl",
    "negative_ttl",
    "stale",
    "within",
    "per",
    "members",
    "lag",
    "reconcile",
    "p95",
    "rpo",
    "rto",
)
_FACTORS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
durations = st.sampled_from(list(_FACTORS)).flatmap(
    lambda unit: st.integers(1, int(36_525 * 86400 / _FACTORS[unit])).map(lambda number: f"{number}{unit}")
)
beyond = st.one_of(
    st.just("0s"),
    st.integers(36_526, 10**30).map(lambda days: f"{days}d"),
    st.just("9" * 5000 + "w"),
    st.just("1.5e9w"),
)


def text(said: dict[str, str]) -> str:
    changes = {
        "cleanup: {every: 1h, keep: [{pushedWithin: 3d}]}": f"sla: slow\n    cleanup: {{every: {said['every']}, "
        f"keep: [{{pushedWithin: {said['pushed']}}}], trash: {said['trash']}, untaggedAfter: {said['untagged']}}}",
        "secrets/ca.key}}}": f"secrets/ca.key}}}}, renewBefore: {said['renew']}}}\n"
        f"slas: {{slow: {{availability: 99, pullP95: {said['p95']}, rpo: {said['rpo']}, rto: {said['rto']}}}}}",
        "unmatched: deny}": f"unmatched: deny, answerWithin: {said['members']}}}",
        "repositories: ['library/**']}": "repositories: ['library/**'], "
        f"tagTtl: {said['tag_ttl']}, negativeTtl: {said['negative_ttl']}, serveStale: {said['stale']}, "
        f"answerWithin: {said['within']}}}",
        "url: https://registry.example}": "url: https://registry.example, "
        f"budget: {{pulls: 100, per: {said['per']}}}}}",
        "deletes: trash}": f"deletes: trash, lag: {said['lag']}, reconcile: {said['reconcile']}}}",
    }
    whole = deployed.TOPOLOGY
    for before, after in changes.items():
        assert before in whole, before
        whole = whole.replace(before, after, 1)
    return whole


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deployed.folder(tmp_path_factory.mktemp("durations"))


@given(st.fixed_dictionaries(dict.fromkeys(PLACES, durations)))
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_any_duration_makes_a_plan_or_is_a_finding(base: Path, said: dict[str, str]) -> None:
    loaded = loads(text(said), base=base)
    if loaded.topology is None:
        assert errors(loaded.findings)
        return
    for host in deployed.hosts(loaded.topology, base).values():
        facts = deployed.facts(host)
        assert not host_plan(host, facts).changes
        plan = with_removal(vacated(replace(host, nodes=(), directories=()), facts), NOW)
        assert plan.removal is not None and len(plan.removal.leaving) == len(host.nodes)
    assert prometheus.rules(loaded.topology, list(loaded.topology.nodes))


@given(st.sampled_from(PLACES), beyond)
@settings(max_examples=25)
def test_a_duration_beyond_what_clocks_hold_is_named_where_it_stands(base: Path, place: str, far: str) -> None:
    loaded = loads(text({**dict.fromkeys(PLACES, "1h"), place: far}), base=base)
    assert loaded.topology is None
    assert any("duration" in each.message for each in errors(loaded.findings)), loaded.findings


def test_the_topology_of_these_tests_is_one(base: Path) -> None:
    """Without it every example above might be refused."""
    loaded = loads(text({**dict.fromkeys(PLACES, "1h"), "lag": "1m", "rpo": "1d"}), base=base)
    assert loaded.topology is not None, loaded.findings
