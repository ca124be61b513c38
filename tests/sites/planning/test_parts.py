"""What belongs to a host and to no node of it: laid down, put right, taken away; and refused before anything is changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sites.desired import layout
from sites.desired.hosts import DesiredHost, recorded
from sites.planning.deployment import unfit
from sites.planning.drift import drift
from sites.planning.facts import HostFacts
from sites.planning.host_plan import HostPlan
from sites.planning.parts import with_parts
from sites.planning.plan import host_plan
from tests.sites import deployed
from tests.sites.deployed import FIREWALL

RULES, UNIT, AGAIN = (
    str(each) for each in (layout.FIREWALL, layout.UNITS / layout.FIREWALL_UNIT, layout.FIREWALL_AGAIN)
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return deployed.folder(tmp_path)


@pytest.fixture
def host(base: Path) -> DesiredHost:
    return deployed.hosts(deployed.topology(base, FIREWALL), base)["eu-1"]


@pytest.fixture
def open_host(base: Path) -> DesiredHost:
    """The same without a firewall."""
    return deployed.hosts(deployed.topology(base), base)["eu-1"]


def planned(host: DesiredHost, facts: HostFacts) -> HostPlan:
    return with_parts(host_plan(host, facts))


def commands(plan: HostPlan) -> list[str]:
    return [each.command for each in plan.finish]


def changed(host: DesiredHost, path: str) -> HostFacts:
    """Facts of a host on which a file was edited."""
    facts = deployed.facts(host)
    said = facts.paths[path]
    assert said is not None
    return facts.model_copy(update={"paths": {**facts.paths, path: said.model_copy(update={"sha256": "0" * 64})}})


def test_nothing_to_do_where_all_is_there(host: DesiredHost) -> None:
    plan = planned(host, deployed.facts(host))
    assert (plan.changes, plan.all_rows) == (False, ())


def test_an_empty_host_is_closed_before_its_first_node_runs(host: DesiredHost) -> None:
    plan = planned(host, deployed.facts(table=""))
    assert [each.command for each in plan.prepare][-9:] == [
        "install -m 0644 -o root -g root journald@towpath.conf /etc/systemd/journald@towpath.conf",
        "systemctl try-restart systemd-journald@towpath.service",
        f"install -m 0644 -o root -g root firewall.nft {RULES}",
        f"install -m 0644 -o root -g root towpath-firewall.service {UNIT}",
        "install -d -m 0755 -o root -g root /etc/systemd/system/nftables.service.d",
        f"install -m 0644 -o root -g root towpath.conf {AGAIN}",
        "systemctl daemon-reload",
        "systemctl enable towpath-firewall.service",
        "systemctl reload-or-restart towpath-firewall.service",
    ]
    assert [(row.sign, row.operation) for row in plan.all_rows if row.operation in ("logs", "firewall")] == [
        ("+", "logs"),
        ("+", "firewall"),
    ]


def test_on_a_host_that_serves_it_comes_with_the_host_s_turn(open_host: DesiredHost, host: DesiredHost) -> None:
    plan = planned(host, deployed.facts(open_host, table=""))
    assert plan.prepare == ()
    assert commands(plan)[-2:] == [
        "systemctl reload-or-restart towpath-firewall.service",
        f"install -m 0600 -o root -g root inventory.json {layout.INVENTORY}",
    ]
    assert [row.operation for row in plan.all_rows] == ["firewall"]


def test_rules_that_changed_are_loaded_at_once(host: DesiredHost) -> None:
    plan = planned(host, changed(host, RULES))
    assert commands(plan) == [
        f"install -m 0644 -o root -g root firewall.nft {RULES}",
        "systemctl reload-or-restart towpath-firewall.service",
    ]
    (row,) = plan.all_rows
    assert (row.sign, row.operation, row.change) == ("~", "firewall", "firewall.nft differs")


@pytest.mark.parametrize("table", ["", "table inet towpath {\n\tchain nodes_0123 {\n\t}\n}\n"])
def test_rules_that_are_not_in_force_are_loaded_again(host: DesiredHost, table: str) -> None:
    """Flushed by somebody, or a run was interrupted between the file and its loading."""
    plan = planned(host, deployed.facts(host, table=table))
    assert commands(plan) == ["systemctl reload-or-restart towpath-firewall.service"]
    assert [row.change for row in plan.all_rows] == ["its rules are not loaded"]


def test_a_firewall_that_is_declared_no_more_goes(host: DesiredHost, open_host: DesiredHost) -> None:
    facts = deployed.facts(host)
    plan = planned(open_host, facts)
    assert commands(plan)[:-1] == [
        "systemctl disable towpath-firewall.service",
        f"rm -rf {AGAIN}",
        f"rm -rf {UNIT}",
        f"rm -rf {RULES}",
        "systemctl daemon-reload",
        "nft delete table inet towpath",
    ]
    assert [(row.sign, row.operation) for row in plan.all_rows] == [("-", "firewall")]
    gone = facts.units[layout.FIREWALL_UNIT].model_copy(update={"loaded": "not-found"})
    again = planned(open_host, facts.model_copy(update={"units": {**facts.units, layout.FIREWALL_UNIT: gone}}))
    assert "disable" not in commands(again)[0], "an interrupted run goes on where it stopped"


def test_a_table_whose_unit_file_somebody_removed_goes_too(host: DesiredHost, open_host: DesiredHost) -> None:
    facts = deployed.facts(host)
    plan = planned(open_host, facts.model_copy(update={"paths": {**facts.paths, UNIT: None}}))
    assert commands(plan)[:-1] == [
        "systemctl stop towpath-firewall.service",
        "rm -rf /etc/systemd/system/sysinit.target.wants/towpath-firewall.service",
        "rm -rf /etc/systemd/system/nftables.service.wants/towpath-firewall.service",
        f"rm -rf {AGAIN}",
        f"rm -rf {RULES}",
        "systemctl daemon-reload",
        "nft delete table inet towpath",
    ]


def test_a_firewall_that_no_inventory_tells_of_goes_by_its_chain_s_name(
    host: DesiredHost, open_host: DesiredHost
) -> None:
    """The inventory was lost; the table and the files say whose they are."""
    told = deployed.facts(host)
    lost = deployed.facts(open_host, table=told.table, paths=dict(told.paths), units=dict(told.units))
    assert commands(planned(open_host, lost))[-2] == "nft delete table inet towpath"
    theirs = deployed.facts(open_host, table="table inet towpath {\n\tchain input {\n\t}\n}\n")
    assert planned(open_host, theirs).all_rows == (), "a table of an operator's own"


PRINTED = "table inet towpath {{\n\tchain {chain} {{\n\t\tip saddr @admitted4 accept\n{more}\t}}\n}}\n"


def loaded(host: DesiredHost, more: str = "") -> HostFacts:
    """A host whose nft prints the same of what is loaded and of the file, but for ``more``."""
    (chain,) = (part.loaded.split()[1] for part in host.parts if part.loaded)
    as_written = PRINTED.format(chain=chain, more="")
    return deployed.facts(host, table=PRINTED.format(chain=chain, more=more), table_of_file=as_written)


def test_a_rule_that_somebody_added_is_drift_with_its_line_and_apply_loads_the_file_again(host: DesiredHost) -> None:
    assert drift(host, loaded(host)) == ()
    assert not planned(host, loaded(host)).changes
    facts = loaded(host, "\t\tip saddr 203.0.113.7 accept\n")
    (row,) = drift(host, facts)
    assert (row.operation, row.change) == ("firewall", "table inet towpath was changed by hand")
    assert "-\t\tip saddr 203.0.113.7 accept" in row.diff.splitlines()
    plan = planned(host, facts)
    assert commands(plan) == ["systemctl reload-or-restart towpath-firewall.service"]
    assert [(row.change, row.diff) for row in plan.all_rows] == [("its rules were changed by hand", row.diff)]


def test_rules_of_a_file_that_was_edited_are_that_file_s_difference(host: DesiredHost) -> None:
    facts = loaded(host, "\t\tip saddr 203.0.113.7 accept\n").model_copy(update={"paths": changed(host, RULES).paths})
    assert [row.change for row in drift(host, facts)] == [f"{RULES} was edited"]


def test_a_host_whose_nft_cannot_print_the_file_is_judged_by_the_chain_alone(host: DesiredHost) -> None:
    facts = loaded(host, "\t\tip saddr 203.0.113.7 accept\n").model_copy(update={"table_of_file": ""})
    assert (drift(host, facts), planned(host, facts).changes) == ((), False)


def test_limits_of_the_journal_are_read_again(host: DesiredHost) -> None:
    plan = planned(host, changed(host, str(layout.JOURNAL)))
    assert [each.command for each in plan.prepare] == [
        "install -m 0644 -o root -g root journald@towpath.conf /etc/systemd/journald@towpath.conf",
        "systemctl try-restart systemd-journald@towpath.service",
    ]


def test_drift_of_what_is_the_host_s_own(host: DesiredHost) -> None:
    assert drift(host, deployed.facts(host)) == ()
    edited = drift(host, changed(host, RULES))
    assert [(row.operation, row.change, row.path) for row in edited] == [
        ("firewall", f"{RULES} was edited", ("sites", "eu", "hosts", "eu-1"))
    ]
    flushed = drift(host, deployed.facts(host, table=""))
    assert [row.change for row in flushed] == ["table inet towpath is not loaded"]


def test_the_inventory_lists_what_is_the_host_s_own(host: DesiredHost) -> None:
    parts = json.loads(recorded(host))["parts"]
    assert {name: (set(each["files"]), each["unit"]) for name, each in parts.items()} == {
        "logs": ({str(layout.JOURNAL)}, ""),
        "firewall": ({RULES, UNIT, AGAIN}, "towpath-firewall.service"),
    }


def test_a_host_without_nft_is_told_what_to_install(host: DesiredHost) -> None:
    (error,) = unfit(host, deployed.facts(host, table=None))
    assert (error.code, "apt-get install nftables" in error.next) == ("firewall-without-nft", True)


def test_nobody_shuts_himself_out(host: DesiredHost) -> None:
    (error,) = unfit(host, deployed.facts(host, asked_from="172.16.0.9"))
    assert (error.code, "172.16.0.9" in error.why) == ("firewall-shuts-us-out", True)
    for within in ("192.168.7.20", "10.1.0.12", "fd12::1", ""):
        assert unfit(host, deployed.facts(host, asked_from=within)) == []


@pytest.mark.parametrize("said", ["UNKNOWN", "::ffff:10.1.0.12", "fd12::1%eth0"])
def test_what_sshd_calls_us_by_may_be_no_plain_address(host: DesiredHost, said: str) -> None:
    assert unfit(host, deployed.facts(host, asked_from=said)) == []


def test_without_a_firewall_neither_matters(open_host: DesiredHost) -> None:
    assert unfit(open_host, deployed.facts(open_host, table=None, asked_from="172.16.0.9")) == []


def test_a_node_of_the_firewall_s_name_is_refused(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    declared = deployed.topology(
        base,
        FIREWALL,
        ("  ci-2: {kind", "  firewall: {kind"),
        ("[ci-2, hub-2]", "[firewall, hub-2]"),
        ("[ci-2], 'lib", "[firewall], 'lib"),
    )
    host = deployed.hosts(declared, base)["eu-2"]
    assert [each.code for each in unfit(host, deployed.facts(host))] == ["unit-name-taken"]
