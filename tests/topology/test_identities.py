"""From declared users, groups and grants to what the evaluator decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from identity.grants import ANONYMOUS, Action, Principal, allowed
from topology.identities import grants_for, groups_of, may_ask, principal, users_behind
from topology.load import load
from topology.model import Topology

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart" / "topology.yaml"


@pytest.fixture(scope="module")
def topology() -> Topology:
    return load(QUICKSTART).valid


def test_a_grant_holds_at_its_sites_only(topology: Topology) -> None:
    us_cluster = principal(topology, "k8s-us", "token")
    for site, expected in (("us", True), ("eu", False), (None, True)):
        assert allowed(grants_for(topology, "prod", site), us_cluster, Action.PULL, "apps/api") is expected


def test_nobody_pushes_to_prod(topology: Topology) -> None:
    people = [principal(topology, name, "token") for name in topology.users] + [ANONYMOUS]
    grants = grants_for(topology, "prod")
    assert not any(allowed(grants, who, action, "x") for who in people for action in (Action.PUSH, Action.PROMOTE))


def test_a_principal_has_its_groups_and_says_how_it_proved_itself(topology: Topology) -> None:
    assert principal(topology, "ci-runner", "token") == Principal("ci-runner", frozenset({"ci"}), True, "token")
    assert groups_of(topology, "k8s-eu") == {"prod-eu-pullers"}
    assert users_behind(topology, "devs") == {"dev"}
    assert users_behind(topology, "dev") == {"dev"}
    assert users_behind(topology, "everyone") == frozenset()


def test_only_those_under_by_may_ask(topology: Topology) -> None:
    edge = topology.edge("to-prod")
    assert edge is not None
    assert may_ask(edge, principal(topology, "ci-runner", "token"))
    assert not may_ask(edge, principal(topology, "dev", "password"))
    assert not may_ask(edge, ANONYMOUS)
    assert not may_ask(edge.model_copy(update={"by": ()}), principal(topology, "ci-runner", "token"))


def test_unknown_names_are_said(topology: Topology) -> None:
    with pytest.raises(LookupError, match="no user nobody"):
        principal(topology, "nobody", "token")
    with pytest.raises(LookupError, match="no scope nowhere"):
        grants_for(topology, "nowhere")


def test_the_model_answers_what_others_ask(topology: Topology) -> None:
    assert topology.primary_name("prod") == "prod-eu"
    assert topology.replicas_of("prod") == ("prod-us",)
    assert topology.primary_of("archive") is topology.nodes["archive-eu"]
    assert [edge.id for edge in topology.edges_between("ci-pool", "prod")] == ["to-prod"]
    assert topology.edges_between("sandbox", "prod") == ()
    assert topology.edge("none") is None
    assert topology.base == QUICKSTART.parent
    with pytest.raises(LookupError, match="no primary"):
        topology.primary_of("nowhere")
