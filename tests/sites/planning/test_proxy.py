"""What nginx in front of a host's nodes lacks, what changes there, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sites.desired.hosts import DesiredHost
from sites.planning.actions import Keep, PutFile, ReloadProxy, Remove
from sites.planning.drift import drift
from sites.planning.facts import HostFacts, UnitFacts
from sites.planning.host_plan import HostPlan
from sites.planning.plan import host_plan
from sites.planning.proxy import unfit_proxy, with_proxy
from tests.sites import deployed

BEHIND = ("eu-1: {ssh:", "eu-1: {proxy: {method: subdomain, domain: r.example}, ssh:")
CONF, PENDING = "/etc/nginx/conf.d/towpath.conf", "/etc/towpath/.proxy/pending"
CRT, KEY = "/etc/towpath/.proxy/sandbox-1.crt", "/etc/towpath/.proxy/sandbox-1.key"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return deployed.folder(tmp_path)


def wanted(base: Path, *changes: tuple[str, str]) -> DesiredHost:
    return deployed.hosts(deployed.topology(base, *changes), base)["eu-1"]


def facts(host: DesiredHost | None, **changed: Any) -> HostFacts:
    """With nginx, which runs."""
    told = deployed.facts(host, nginx="/usr/sbin/nginx")
    runs = UnitFacts(LoadState="loaded", ActiveState="active", UnitFileState="enabled")
    return told.model_copy(update={"units": {**told.units, "nginx.service": runs}, **changed})


def planned(host: DesiredHost, there: HostFacts) -> HostPlan:
    return with_proxy(host_plan(host, there))


def rows(plan: HostPlan) -> list[tuple[str, str, str]]:
    return [(each.sign, each.operation, each.change) for each in plan.all_rows]


def test_a_new_proxy_is_laid_down_tested_and_on_trial(base: Path) -> None:
    plan = planned(wanted(base, BEHIND), facts(wanted(base)))
    assert ("+", "proxy", "nginx at port 443") in rows(plan)
    kinds = [type(each) for each in plan.proxy.actions]
    assert kinds.index(Keep) < kinds.index(PutFile) < kinds.index(ReloadProxy) == len(kinds) - 1
    put = [each.wanted.path for each in plan.proxy.actions if isinstance(each, PutFile)]
    assert put == [PENDING, CRT, KEY, CONF]
    assert plan.proxy.settle == (Remove(PENDING),) and not plan.proxy.goes
    assert any(isinstance(each, ReloadProxy) for each in plan.proxy.back)
    (row,) = plan.proxy.rows
    assert row.path == ("sites", "eu", "hosts", "eu-1", "proxy")
    assert "PRIVATE KEY" not in str(row)


def test_a_proxy_that_is_right_gets_nothing(base: Path) -> None:
    host = wanted(base, BEHIND)
    plan = planned(host, facts(host))
    assert (rows(plan), plan.changes) == ([], False)
    assert drift(host, facts(host)) == ()


def test_a_new_certificate_reloads_nginx_and_restarts_no_node(base: Path) -> None:
    host = wanted(base, BEHIND)
    for file in (base / "issued").iterdir():
        file.unlink()
    plan = planned(wanted(base, BEHIND), facts(host))
    assert rows(plan) == [("~", "proxy", "sandbox-1.crt differs"), ("~", "proxy", "sandbox-1.key differs")]
    assert not any(each.starts for each in plan.nodes)
    assert isinstance(plan.proxy.actions[-1], ReloadProxy)


def test_a_hand_edit_is_drift_with_its_lines_and_is_mended(base: Path) -> None:
    host = wanted(base, BEHIND)
    there = facts(host)
    file = there.paths[CONF]
    assert file is not None
    edited = there.model_copy(
        update={
            "paths": {**there.paths, CONF: file.model_copy(update={"sha256": "0" * 64})},
            "texts": {
                **there.texts,
                CONF: str(there.texts[CONF]).replace("client_max_body_size 0", "client_max_body_size 1m"),
            },
        }
    )
    (row,) = drift(host, edited)
    assert (row.change, row.node) == (f"{CONF} was edited", "")
    assert "-    client_max_body_size 1m" in row.diff
    assert rows(planned(host, edited)) == [("~", "proxy", "towpath.conf differs")]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"units": {"nginx.service": {"ActiveState": "failed", "UnitFileState": "enabled"}}},
            "nginx is not running -> running",
        ),
        ({"paths": {PENDING: {"kind": "file", "sha256": "0" * 64}}}, "nginx has not taken its files"),
    ],
)
def test_what_was_cut_or_stopped_goes_on(base: Path, changed: dict[str, Any], said: str) -> None:
    host = wanted(base, BEHIND)
    there = facts(host).model_dump(by_alias=True)
    for name, more in changed.items():
        there[name] |= more
    plan = planned(host, HostFacts.model_validate(there))
    assert rows(plan) == [("~", "proxy", said)]
    assert isinstance(plan.proxy.actions[-1], ReloadProxy)


def test_an_nginx_that_is_stopped_or_not_started_at_boot_is_drift(base: Path) -> None:
    host = wanted(base, BEHIND)
    assert drift(host, facts(host)) == ()
    for state, said in (({"active": "inactive"}, "is inactive"), ({"enabled": "masked"}, "is masked at boot")):
        there = facts(host)
        stopped = {"nginx.service": there.units["nginx.service"].model_copy(update=state)}
        found = there.model_copy(update={"units": {**there.units, **stopped}})
        assert [(each.operation, each.change) for each in drift(host, found)] == [("proxy", f"nginx.service {said}")]
    beside = wanted(base)
    assert drift(beside, facts(beside, units={**facts(beside).units, **stopped})) == (), "it is none of ours"


def test_a_proxy_that_is_no_longer_wanted_goes_after_the_nodes_have_left_it(base: Path) -> None:
    plan = planned(wanted(base), facts(wanted(base, BEHIND)))
    assert ("-", "proxy", "nginx passes nobody on any more") in rows(plan)
    assert plan.proxy.goes
    gone = [each.path for each in plan.proxy.actions if isinstance(each, Remove)]
    assert set(gone) == {CONF, CRT, KEY}
    assert plan.proxy.settle == (Remove("/etc/towpath/.proxy"),)
    assert not any(isinstance(each, Remove) and each.path == "/etc/towpath/.proxy" for each in plan.proxy.back)


def test_the_former_files_of_a_node_that_left_go(base: Path) -> None:
    second = (
        "nodes:\n",
        "nodes:\n  ci-9: {kind: local, scope: sandbox, role: replica, site: eu, host: eu-1, port: 5009}\n",
    )
    plan = planned(wanted(base, BEHIND), facts(wanted(base, BEHIND, second)))
    gone = {each.path for each in plan.proxy.actions if isinstance(each, Remove)}
    assert gone == {"/etc/towpath/.proxy/ci-9.crt", "/etc/towpath/.proxy/ci-9.key"}
    assert not plan.proxy.goes


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"nginx": ""}, ["nginx-missing"]),
        ({"ports": {443: "apache2 (process 7)"}}, ["port-in-use"]),
        ({"ports": {443: "nginx (process 7)"}}, []),
        ({}, []),
    ],
)
def test_what_nginx_needs_is_told_before_anything_changes(base: Path, changed: dict[str, Any], code: list[str]) -> None:
    found = unfit_proxy(wanted(base, BEHIND), facts(None, **changed))
    assert [each.code for each in found] == code
    assert not found or found[0].code != "nginx-missing" or "apt-get install nginx-light" in found[0].next
    assert unfit_proxy(wanted(base), facts(None, nginx="")) == []
