"""Whatever is applied, cut off or refused, and in which order: after a gate that was not passed a node is back at the last
state that passed one; if there was none, it is stopped, and that is said.

The planner, the rollout and the program that changes a host, on a folder of this machine; systemd alone is played.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oci_wire.memory import MemoryRegistry
from registry_node.settings import NodeSettings
from sites.desired import layout
from sites.desired.files import File
from sites.desired.hosts import DesiredHost, DesiredNode
from sites.desired.inventory import targets_of
from sites.hosts import HostError
from sites.on_host import change, look
from sites.planning.actions import Action
from sites.planning.facts import HostFacts
from sites.planning.plan import host_plan
from sites.rollout.canary import Gate
from sites.rollout.rolling import HostResult, Outcome, Rollout
from sites.rollout.ssh import Lock, SshHosts
from tests.sites import deployed
from topology.model import Topology

ME, MINE = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
NODE, HOST = "sandbox-1", "eu-1"
UNIT, MARK = layout.unit(NODE), str(layout.pending(NODE))
EXTRA = str(layout.credentials(NODE) / "login-hub")
LINK = str(layout.release_of(NODE))
STEPS = (
    "write",
    "own",
    "copy",
    "sync",
    "sync_all",
    "remove",
    "unit",
)  # of change.py: each may be the last that is done
State = dict[str, Any]


class Cut(Exception):
    """Whoever was changing the host is gone."""


@dataclass(frozen=True)
class Run:
    """One apply. ``settings``, ``others``, ``extra``, ``release``: what is wanted; ``fault``: after how many steps which."""

    settings: int
    others: tuple[int, ...]  # the version of each other file
    extra: bool
    release: str
    passes: bool
    fault: tuple[int, str] | None


RUNS = st.builds(
    Run,
    settings=st.integers(0, 2),
    others=st.tuples(*[st.integers(0, 1)] * 3),
    extra=st.booleans(),
    release=st.sampled_from(("a" * 16, "b" * 16)),
    passes=st.booleans(),
    fault=st.none() | st.tuples(st.integers(0, 40), st.sampled_from(("cut", "error"))),
)


class Machine:
    """A host in a folder: as ``SshHosts`` it is changed, and it says what is there. ``good``: what passed its gate last."""

    def __init__(self, root: Path) -> None:
        self.root, self.active, self.enabled = root, False, False
        self.running: State | None = None
        self.good: State | None = None
        self.passed, self.gone, self.fault = False, False, None  # type: bool, bool, tuple[int, str] | None
        self.trying: State = {}
        for folder in ("/etc/systemd/system", "/var/lib/towpath"):
            self.at(folder).mkdir(parents=True)

    def at(self, path: str) -> Path:
        return self.root / path.removeprefix("/")

    def state(self) -> State:
        """Of everything of the node that any run may lay down."""
        found: State = {}
        for path in (*self.trying, EXTRA):
            at = self.at(path)
            found[path] = str(at.readlink()) if at.is_symlink() else at.read_bytes() if at.is_file() else None
        return found

    # -- as the operator's side sees it

    async def apply(self, host: str, actions: Sequence[Action], lock: Lock) -> None:
        if self.gone:
            raise HostError("host-lost", "the operator is gone")
        said: list[dict[str, Any]] = []
        with mock.patch.object(change, "say", lambda **told: said.append(told)):
            try:
                change.change({"id": lock.id, "token": lock.token}, [self.told(each) for each in actions])
            except Cut:
                self.gone = True
                raise HostError("host-lost", "the line was cut") from None
        for each in said:
            if "failed" in each:
                raise HostError("host-change-failed", "could not be changed", why=each["error"])

    def told(self, action: Action) -> dict[str, Any]:
        told = action.told()
        for key in ("path", "folder", "pending"):
            if key in told and told["do"] != "unit":
                told[key] = str(self.at(told[key]))
        if "paths" in told:
            told["paths"] = [str(self.at(each)) for each in told["paths"]]
        return {**told, **{key: {"owner": ME, "group": MINE}[key] for key in ("owner", "group") if key in told}}

    def facts(self, host: DesiredHost) -> HostFacts:
        owners = {each.path: (each.owner, each.group) for each in host.directories}
        owners |= {
            each.path: (each.owner, each.group) for node in host.nodes for each in (*node.files, *node.directories)
        }
        paths: dict[str, Any] = {}
        for path in (*host.paths, str(layout.INVENTORY)):
            said = look.path_facts(self.at(path))
            owner, group = owners.get(path, ("root", "root"))
            paths[path] = said and {**said, "owner": owner, "group": group}
        shown = {
            "ActiveState": "active" if self.active else "failed",
            "UnitFileState": "enabled" if self.enabled else "",
        }
        there = self.at(str(layout.RELEASES))
        return deployed.facts(
            user=True,
            paths=paths,
            texts={each: look.text(str(self.at(each))) for each in (str(layout.settings(NODE)),)},
            units={UNIT: shown} if self.at(str(layout.unit_file(NODE))).is_file() else {},
            releases=sorted(each.name for each in there.iterdir()) if there.is_dir() else [],
            inventory=look.parsed(str(self.at(str(layout.INVENTORY)))),
        )

    # -- what is played on the host

    def unit(self, verb: str, name: str) -> None:
        if verb == "enable":
            self.enabled = True
        elif verb == "stop":
            self.active, self.running = False, None
        elif not self.at(str(layout.unit_file(NODE))).is_file():
            raise change.Refused(f"{name} is not there")
        else:
            self.active, self.running, self.passed = True, self.state(), False

    def release(self, path: str, archive: str) -> None:
        Path(path).mkdir(parents=True, exist_ok=True)

    def remove(self, path: str) -> None:
        REMOVE(path)
        if path == str(self.at(MARK)):
            self.judge()

    def judge(self) -> None:
        """The mark goes when the gate was passed on what is there, or when all is as it was when it passed last."""
        now = self.state()
        if self.passed:
            assert self.as_wanted(now)
            self.good, self.passed = now, False
        else:
            assert self.good is not None and now == self.good

    def as_wanted(self, now: State) -> bool:
        """A file that is no longer wanted may lie there still: the node does not read it."""
        return all(now[path] == said for path, said in self.trying.items() if said is not None)

    @contextmanager
    def played(self) -> Iterator[None]:
        """Its own programs in place of those that need root; the step of the fault is the last."""
        with ExitStack() as stack:
            for name, path in (("LOCK", "/var/lib/towpath/.lock"), ("FENCE", "/var/lib/towpath/.fence")):
                stack.enter_context(mock.patch.object(change, name, self.at(path)))
            does = {"unit": self.unit, "release": self.release, "remove": self.remove, "units": lambda: None}
            does |= {"sync": lambda folder: None, "sync_all": lambda folder: None}  # no power is cut here
            stack.enter_context(mock.patch.object(os, "fsync", lambda descriptor: None))
            for name in STEPS:
                real = does.get(name, getattr(change, name))
                stepping = self.step(real)
                stack.enter_context(mock.patch.object(change, name, stepping))
                if name in change.DOES:
                    does[name] = stepping
            own_does = {name: does[name] for name in change.DOES if name in does}
            stack.enter_context(mock.patch.dict(change.DOES, own_does))
            yield

    def step(self, real: Any) -> Any:
        def stepping(*given: Any, **named: Any) -> Any:
            if self.fault is not None:
                left, kind = self.fault
                self.fault = (left - 1, kind) if left else None
                if not left:
                    raise Cut if kind == "cut" else OSError(28, "No space left on device")
            return real(*given, **named)

        return stepping


REMOVE = change.remove


class Judging:
    """A gate that passes or not as the run says."""

    def __init__(self, machine: Machine, passes: bool) -> None:
        self.machine, self.passes = machine, passes

    async def check(self, node: str, url: str, settings: NodeSettings) -> None:
        if not self.passes:
            raise HostError("node-unhealthy", "it does not do its work")
        self.machine.passed = True

    async def serves(self, url: str) -> bool:
        return True

    @asynccontextmanager
    async def registry(self, url: str) -> AsyncIterator[MemoryRegistry]:
        yield MemoryRegistry()


@dataclass(frozen=True)
class Wanted:
    """Nodes whose settings differ: by a quota (a restart), and by a user (none)."""

    topology: Topology
    host: DesiredHost
    nodes: tuple[DesiredNode, ...]

    def of(self, run: Run) -> DesiredHost:
        node = self.nodes[run.settings]
        others = iter(run.others)
        kept = str(layout.settings(NODE))
        files = [
            each if each.path == kept else replace(each, content=each.content + b"#" * next(others))
            for each in node.files
        ]
        if run.extra:
            files.insert(0, File(EXTRA, b"login", 0o600, secret=True))
        own = replace(node, files=tuple(files), release=run.release)
        return replace(self.host, nodes=(own,), release=replace(self.host.release, identity=run.release))


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> Wanted:
    base = deployed.folder(tmp_path_factory.mktemp("trials"))
    topology = deployed.topology(base)
    first = deployed.hosts(topology, base)[HOST]
    larger = deployed.hosts(deployed.topology(base, ("2TiB", "3TiB")), base)[HOST]
    (base / "secrets" / "dev.bcrypt").write_text(f"{deployed.BCRYPT[:-1]}b\n")
    other_user = deployed.hosts(deployed.topology(base), base)[HOST]
    return Wanted(topology, first, (first.nodes[0], larger.nodes[0], other_user.nodes[0]))


X = Run(0, (0, 0, 0), extra=False, release="a" * 16, passes=True, fault=None)
Y = Run(1, (1, 0, 0), extra=True, release="a" * 16, passes=True, fault=None)
Z = Run(1, (1, 1, 1), extra=True, release="b" * 16, passes=False, fault=None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cut", "error"])
@pytest.mark.parametrize("first", [(), (X,)], ids=["new", "there"])
def test_an_apply_that_ends_anywhere_is_followed_by_a_bad_one(
    wanted: Wanted, kind: str, first: tuple[Run, ...]
) -> None:
    """With files that the first did not touch, and with others that it did."""
    for step in range(40):
        performed(wanted, [*first, replace(Y, fault=(step, kind)), Z])


@given(runs=st.lists(RUNS, min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_a_node_is_at_the_last_state_that_passed_its_gate(wanted: Wanted, runs: list[Run]) -> None:
    performed(wanted, runs)


def performed(wanted: Wanted, runs: Sequence[Run]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        for number, run in enumerate(runs):
            with machine.played():
                applied(machine, wanted, run, number)


def applied(machine: Machine, wanted: Wanted, run: Run, number: int) -> None:
    host = wanted.of(run)
    (node,) = host.nodes
    machine.trying = {EXTRA: None, **{each.path: each.content for each in node.files}, LINK: node.link[1]}
    machine.at("/var/lib/towpath/.lock").unlink(missing_ok=True)
    lock = Lock(str(number), change.take({"id": str(number)})["token"])
    machine.fault, machine.gone, machine.passed = run.fault, False, False
    plan = host_plan(host, machine.facts(host))
    urls = dict.fromkeys(wanted.topology.nodes, "")
    gate, locks = cast(Gate, Judging(machine, run.passes)), {HOST: lock}
    rollout = Rollout(wanted.topology, cast(SshHosts, machine), {HOST: plan}, urls, gate, locks, lambda *_: None)
    (result,) = asyncio.run(rollout.run([[targets_of(wanted.topology)[HOST]]]))
    met_fault = run.fault is not None and machine.fault is None
    machine.fault = None
    judged(machine, run, result, met_fault=met_fault, tried=bool(plan.nodes[0].settle))


def judged(machine: Machine, run: Run, result: HostResult, *, met_fault: bool, tried: bool) -> None:
    now, marked = machine.state(), machine.at(MARK).exists()
    if result.outcome in (Outcome.DONE, Outcome.UNCHANGED):
        assert not marked and machine.active
        assert machine.as_wanted(now)
        return
    if result.outcome is Outcome.ROLLED_BACK:
        assert machine.good is not None and now == machine.good and machine.active and not marked
        ran = {path: said for path, said in (machine.running or {}).items() if path != str(layout.settings(NODE))}
        assert ran == {path: said for path, said in now.items() if path != str(layout.settings(NODE))}
    elif not met_fault:
        assert machine.good is None and not machine.active and marked and result.error is not None
        assert result.error.what.endswith("it was stopped, as it has never passed its health gate here")
    if not met_fault and tried and not run.passes:
        assert result.outcome is (Outcome.FAILED if machine.good is None else Outcome.ROLLED_BACK)
