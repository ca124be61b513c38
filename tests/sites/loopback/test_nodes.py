"""Real nodes as processes: started, found again, stopped; and what is left when one cannot start."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import httpx
import pytest

from registry_node.settings import GrantSettings, Listen, NodeSettings
from sites.hosts import HostErrors, NodeState, WriteSettings
from sites.loopback.nodes import LoopbackHosts
from sites.loopback.plan import bring_down, bring_up
from sites.state import StateFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings(state: StateFolder, node: str) -> NodeSettings:
    return NodeSettings(node=node, scope="sandbox", listen=Listen(port=free_port()), data=state.data(node))


async def test_up_again_and_down(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    hosts, desired = LoopbackHosts(state), {name: settings(state, name) for name in ("a", "b")}
    try:
        await hosts.apply(bring_up(desired, await hosts.facts()))
        facts = await hosts.facts()
        assert {name: each.state for name, each in facts.items()} == dict.fromkeys("ab", NodeState.READY)
        assert facts["a"].settings == desired["a"]
        assert bring_up(desired, facts) == ()
        for each in desired.values():
            assert httpx.get(f"http://127.0.0.1:{each.listen.port}/healthz").status_code == 200
        os.kill(facts["a"].pid or 0, signal.SIGKILL)
        while (await hosts.facts())["a"].state is not NodeState.DIED:
            pass
        await hosts.apply(bring_up(desired, await hosts.facts()))
        assert (await hosts.facts())["a"].state is NodeState.READY
    finally:
        await hosts.apply(bring_down(desired, await hosts.facts()))
    assert {each.state for each in (await hosts.facts()).values()} == {NodeState.STOPPED}


async def test_new_users_and_grants_reach_a_running_node(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    hosts, desired = LoopbackHosts(state), {"a": settings(state, "a")}
    url = f"http://127.0.0.1:{desired['a'].listen.port}/v2/apps/api/tags/list"
    try:
        await hosts.apply(bring_up(desired, await hosts.facts()))
        before = (await hosts.facts())["a"].pid
        with httpx.Client(trust_env=False) as kept:
            assert kept.get(url).status_code == 401
            grants = (GrantSettings(to="everyone", allow=("pull",)),)
            desired = {"a": desired["a"].model_copy(update={"grants": grants})}
            await hosts.apply(bring_up(desired, await hosts.facts()))
            assert kept.get(url).status_code == 404  # at once: apply has waited for it
        facts = await hosts.facts()
        assert (facts["a"].pid, bring_up(desired, facts)) == (before, ())
    finally:
        await hosts.apply(bring_down(desired, await hosts.facts()))


async def test_a_node_that_does_not_take_its_settings_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = StateFolder(tmp_path)
    hosts, desired = LoopbackHosts(state), {"a": settings(state, "a")}
    monkeypatch.setattr("sites.loopback.nodes.TAKE_PATIENCE", 1.5)
    try:
        await hosts.apply(bring_up(desired, await hosts.facts()))
        other = desired["a"].model_copy(update={"site": "elsewhere"})
        with pytest.raises(HostErrors) as raised:  # as if the plan had taken that for changeable
            await hosts.apply([WriteSettings("a", other)])
        assert [each.code for each in raised.value.errors] == ["settings-not-taken"]
        assert "site cannot change" in raised.value.errors[0].why
    finally:
        await hosts.apply(bring_down(desired, await hosts.facts()))


async def test_a_taken_port_changes_nothing(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    hosts, desired = LoopbackHosts(state), {name: settings(state, name) for name in ("a", "b")}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", desired["b"].listen.port))
        taken.listen()
        with pytest.raises(HostErrors) as raised:
            await hosts.apply(bring_up(desired, await hosts.facts()))
    assert [each.code for each in raised.value.errors] == ["port-in-use"]
    assert state.nodes() == ()


async def test_when_one_cannot_start_the_others_are_stopped_again(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    hosts, desired = LoopbackHosts(state), {name: settings(state, name) for name in ("a", "b")}
    desired["b"].data.mkdir(parents=True)
    (desired["b"].data / "index.db").write_bytes(b"no database at all" * 500)
    with pytest.raises(HostErrors) as raised:
        await hosts.apply(bring_up(desired, await hosts.facts()))
    (error,) = raised.value.errors
    assert (error.code, error.where) == ("node-died", str(state.log("b")))
    assert "index.db" in error.why
    assert {each.runs for each in (await hosts.facts()).values()} == {False}
