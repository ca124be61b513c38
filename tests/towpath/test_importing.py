"""The verbs about hosts that are not what the last apply knew: import, unlock, and plans for machines that moved."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from sites.desired import layout
from sites.desired.bundle import Release, here
from sites.desired.hosts import DesiredHost
from sites.desired.inventory import Target, targets_of
from sites.hosts import HostError, HostErrors
from sites.planning.deployment import Deployment
from sites.planning.facts import HostFacts
from sites.remembered import RememberedHost, RememberedNode, read_hosts, write_hosts
from sites.rollout.ssh import Lock
from sites.state import Runs, StateFolder
from tests.sites import deployed
from tests.sites.planning.test_records import facts
from towpath.deploy import unlock
from towpath.exits import Exit
from towpath.importing import take_over
from towpath.leaving import planned, remember
from towpath.problem import Problem
from towpath.workspace import Where

X, Y = "a" * 32, "b" * 32


@dataclass
class Hosts:
    """Hosts that answer what they are given to answer; in place of Ssh and SshHosts."""

    targets: Mapping[str, Target]
    said: Mapping[str, HostFacts]
    files: Mapping[str, str] = field(default_factory=dict)
    written: dict[str, dict[str, Any]] = field(default_factory=dict)
    locks: dict[str, str] = field(default_factory=dict)

    def hosts(self, _: Any) -> Hosts:
        return self

    async def __aenter__(self) -> Hosts:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def _insist(self, name: str) -> None:
        if name not in self.said:
            raise HostError("host-unreachable", f"host {name} cannot be reached", next="see that it runs")

    async def facts_where_possible(
        self, hosts: Mapping[str, DesiredHost]
    ) -> tuple[dict[str, HostFacts], dict[str, HostError]]:
        silent = {each: HostError("host-unreachable", f"host {each} cannot be reached") for each in hosts}
        found = {name: self.said[name] for name in hosts if name in self.said}
        return found, {name: each for name, each in silent.items() if name not in found}

    async def contents(self, host: str, paths: Sequence[str]) -> dict[str, str]:
        self._insist(host)
        return {path: self.files[path] for path in paths if path in self.files}

    async def take_lock(self, host: str, told: Mapping[str, Any]) -> Lock:
        self._insist(host)
        self.locks[host] = told["id"]
        return Lock(told["id"], 1)

    async def give_lock_back(self, host: str, id: str) -> dict[str, Any] | None:
        self._insist(host)
        if self.locks.get(host, id) != id:
            return {"id": self.locks[host], "owner": "ben"}
        self.locks.pop(host, None)
        return None

    async def apply(self, host: str, actions: Sequence[Any], lock: Lock) -> None:
        assert self.locks[host] == lock.id
        for each in actions:
            told = each.told()
            assert (told["path"], told["mode"]) == (str(layout.INVENTORY), 0o600), "nothing else is written"
            self.written[host] = json.loads(base64.b64decode(told["content"]))


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = Release(deployed.RELEASE, "0.1.0", here(), tmp_path / "r.tar.gz")
    monkeypatch.setattr("sites.planning.deployment.release", lambda _: made)
    deployed.topology(deployed.folder(tmp_path))
    (tmp_path / "topology.yaml").write_text(deployed.TOPOLOGY)
    return tmp_path


def where(base: Path) -> Where:
    return Where(base / "topology.yaml", base / "state")


def standing(base: Path) -> dict[str, DesiredHost]:
    """As another state folder, which is lost, had brought it."""
    return deployed.hosts(deployed.topology(base), base)


def answering(base: Path, **said: HostFacts) -> Hosts:
    named = {name.replace("_", "-"): each for name, each in said.items()}
    return Hosts(targets_of(deployed.topology(base)), named)


async def test_import_writes_what_is_lost_and_nothing_twice(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts = standing(base)
    one = facts(hosts["eu-1"], machine_id=X)
    reached = answering(base, eu_1=one, eu_2=facts(hosts["eu-2"], inventory=None, machine_id=Y))
    laid = {each.path: each.content.decode() for host in hosts.values() for node in host.nodes for each in node.files}
    reached.files = laid
    given: dict[str, Any] = {"ssh": reached, "where": where(base)}
    assert await take_over(dry_run=True, **given) is Exit.DONE
    state = StateFolder(base / "state")
    assert (reached.written, read_hosts(state)) == ({}, {})
    assert await take_over(**given) is Exit.DONE
    assert list(reached.written) == ["eu-2"], "the other one's does"
    assert set(reached.written["eu-2"]["nodes"]) == {"sandbox-2", "ci-2", "all-2", "hub-2"}
    assert {name: each.machine for name, each in read_hosts(state).items()} == {"eu-1": X, "eu-2": Y}
    assert state.runs is Runs.HOSTS and set(state.read_addresses()) >= {"sandbox-1", "ci-2"}
    assert (state.issued / "ci-2.key").read_text() == laid[str(layout.credentials("ci-2") / "tls.key")]
    assert (state.issued / "ci-2.key").stat().st_mode & 0o777 == 0o600
    assert (reached.locks, "canary" in capsys.readouterr().out) == ({}, False)
    recorded = facts(hosts["eu-2"], inventory=reached.written["eu-2"], machine_id=Y)
    again = answering(base, eu_1=one, eu_2=recorded)
    assert await take_over(ssh=again, where=where(base)) is Exit.DONE  # type: ignore[arg-type]
    assert again.written == {}


async def test_import_takes_over_those_that_answer(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reached: Any = answering(base, eu_2=facts(standing(base)["eu-2"], inventory=None))
    assert await take_over(ssh=reached, where=where(base)) is Exit.SOME_SITES_FAILED
    assert list(reached.written) == ["eu-2"] and "eu-1: not looked at" in capsys.readouterr().err
    assert list(read_hosts(StateFolder(base / "state"))) == ["eu-2"]
    with pytest.raises(HostErrors):
        await take_over("eu-1", ssh=reached, where=where(base))
    with pytest.raises(Problem) as unknown:
        await take_over("eu-9", ssh=reached, where=where(base))
    assert (unknown.value.code, unknown.value.exit) == ("unknown-name", Exit.USAGE)


async def test_import_of_another_topology_s_host_writes_nothing_anywhere(base: Path) -> None:
    hosts = standing(base)
    theirs = facts(replace(hosts["eu-1"], topology="other"))
    reached: Any = answering(base, eu_1=theirs, eu_2=facts(hosts["eu-2"], inventory=None))
    key = str(layout.credentials("sandbox-1") / "tls.key")
    reached.files = {str(layout.INVENTORY): json.dumps({"topology": "other"}), key: "canary-key-of-others"}
    with pytest.raises(HostErrors) as refused:
        await take_over(adopt=True, ssh=reached, where=where(base))
    assert [each.code for each in refused.value.errors] == ["host-of-another-topology"]
    assert (reached.written, read_hosts(StateFolder(base / "state"))) == ({}, {})
    assert b"canary-key" not in (StateFolder(base / "state").issued / "sandbox-1.key").read_bytes()


async def test_unlock_frees_what_it_reaches_and_names_the_rest(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reached: Any = answering(base, eu_2=deployed.facts())
    reached.locks = {"eu-2": "dead"}
    assert await unlock("dead", ssh=reached, where=where(base)) is Exit.SOME_SITES_FAILED
    told = capsys.readouterr()
    assert reached.locks == {} and "eu-1: not asked, and may still be locked" in told.err and "free: eu-2" in told.err
    reached.locks = {"eu-2": "alive"}
    assert await unlock("dead", ssh=reached, where=where(base)) is Exit.CONFLICT
    reached.said = {}
    with pytest.raises(HostErrors):
        await unlock("dead", ssh=reached, where=where(base))


@pytest.fixture
def moved(base: Path) -> Iterator[Deployment]:
    """eu-2 was another machine, X, at another address, and had a node that it still has."""
    topology = deployed.topology(base)
    hosts = deployed.hosts(topology, base)
    nodes = {"ci-2": RememberedNode(url="https://10.1.0.99:5002", protected=("node",))}
    before = {"eu-2": RememberedHost(site="eu", address="10.1.0.99", port=22, machine=X, nodes=nodes)}
    urls = {each: f"https://{each}" for each in ("sandbox-1", "sandbox-2", "ci-2", "all-2", "hub-2")}
    yield Deployment(topology, targets_of(topology), hosts, hosts["eu-1"].release, "engine", urls, None, before)


async def test_another_machine_under_an_old_name_and_the_former_one_answers(moved: Deployment, base: Path) -> None:
    former = facts(replace(moved.hosts["eu-2"], nodes=moved.hosts["eu-2"].nodes[:1]), machine_id=X, units={})
    said = {"eu-1": deployed.facts(moved.hosts["eu-1"]), "eu-2": deployed.facts(machine_id=Y)}
    reached: Any = Hosts(moved.targets, {**said, "eu-2@10.1.0.99": former})
    found = await planned(moved, reached)
    (leaving,) = [(host, each.node) for host, each in found.leaving]
    assert leaving == ("eu-2@10.1.0.99", moved.hosts["eu-2"].nodes[0].name)
    assert any("eu-2 is another machine than at the last apply" in each for each in found.notes)
    state = StateFolder(base / "state")
    state.root.mkdir()
    remember(state, found.deployment, found)
    known = read_hosts(state)
    assert (known["eu-2"].machine, known["eu-2"].address) == (Y, "10.1.0.12")
    assert (known["eu-2@10.1.0.99"].machine, known["eu-2@10.1.0.99"].address) == (X, "10.1.0.99")


async def test_the_former_machine_that_does_not_answer_is_remembered_until_it_is_forgotten(
    moved: Deployment, base: Path
) -> None:
    said = {"eu-1": deployed.facts(moved.hosts["eu-1"]), "eu-2": deployed.facts(machine_id=Y)}
    reached: Any = Hosts(moved.targets, said)
    for everything in (False, True):
        found = await planned(moved, reached, everything=everything)
        assert list(found.unreachable) == ["eu-2@10.1.0.99"], "destroy refuses while it is"
    state = StateFolder(base / "state")
    state.root.mkdir()
    remember(state, found.deployment, found)
    assert read_hosts(state)["eu-2@10.1.0.99"] == moved.before["eu-2"]


async def test_the_same_machine_elsewhere_keeps_its_protection_and_nothing_leaves(moved: Deployment) -> None:
    said = {"eu-1": deployed.facts(moved.hosts["eu-1"]), "eu-2": facts(moved.hosts["eu-2"], machine_id=X)}
    found = await planned(moved, Hosts(moved.targets, said))  # type: ignore[arg-type]
    assert not list(found.leaving) and not found.unreachable
    protected = {each.node.name: each.node.protected for each in found.plans["eu-2"].nodes}
    assert protected["ci-2"] == ("node",)


async def test_a_former_machine_is_forgotten_by_the_name_that_the_plan_said(base: Path, moved: Deployment) -> None:
    from towpath.leave_options import Leave

    state = StateFolder(base / "state")
    state.root.mkdir()
    write_hosts(state, moved.before)
    assert Leave(forget=("eu-2@10.1.0.99",)).without_forgotten(moved, state).before == {}
    with pytest.raises(Problem, match="has not left"):
        Leave(forget=("eu-2",)).without_forgotten(moved, state)


async def test_what_destroy_could_not_finish_is_remembered_as_the_machine_that_it_is(
    moved: Deployment, base: Path
) -> None:
    said = {"eu-1": deployed.facts(), "eu-2": facts(moved.hosts["eu-2"], machine_id=X)}
    found = await planned(moved, Hosts(moved.targets, said), everything=True)  # type: ignore[arg-type]
    state = StateFolder(base / "state")
    state.root.mkdir()
    remember(state, found.deployment, found)
    assert read_hosts(state)["eu-2"].machine == X


def test_who_rests_when_a_run_begins_is_not_asked_in_its_midst(
    moved: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has connected to it."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return tomorrow

    ends = (tomorrow - timedelta(hours=1)).timestamp()
    resting = RememberedHost(site="eu", address="10.1.0.98", port=22, trash={"ci-1-20261001T000000Z": ends})
    moved = replace(moved, before={"eu-3": resting})
    monkeypatch.setattr("sites.planning.deployment.datetime", Later)
    assert (list(moved.left), list(moved.resting)) == ([], ["eu-3"])
    assert list(replace(moved, now=tomorrow).left) == ["eu-3"], "the next run asks"


async def test_a_record_that_came_meanwhile_is_not_overwritten(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = standing(base)["eu-2"]
    reached: Any = answering(base, eu_1=deployed.facts(), eu_2=facts(host, inventory=None))
    take_lock = Hosts.take_lock

    async def after_another(self: Hosts, name: str, told: Mapping[str, Any]) -> Lock:
        self.said = {**self.said, name: deployed.facts(host)}
        return await take_lock(self, name, told)

    monkeypatch.setattr(Hosts, "take_lock", after_another)
    assert await take_over(ssh=reached, where=where(base)) is Exit.DONE
    assert (reached.written, reached.locks) == ({}, {})


async def test_import_of_a_host_by_a_name_that_it_had_says_which_one_it_is(base: Path) -> None:
    reached: Any = answering(base, eu_1=deployed.facts(), eu_2=deployed.facts(machine_id=X))
    assert await take_over(ssh=reached, where=where(base)) is Exit.DONE
    write_hosts(
        StateFolder(base / "state"), {"old": RememberedHost(site="eu", address="10.1.0.99", port=22, machine=X)}
    )
    reached.targets = {**reached.targets, "old": Target("old", "eu", "10.1.0.99", 22)}
    with pytest.raises(Problem, match="no host 'old' any more") as gone:
        await take_over("old", ssh=reached, where=where(base))
    assert "eu-2 is the machine that was old" in gone.value.why
