"""New settings while the node runs: taken at the next request, whole or not at all, and no connection is dropped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from identity.passwords import hash_password, hash_token
from registry_node import build
from registry_node import credentials as credentials_module
from registry_node.registries.local import LocalRegistry
from registry_node.reload import SettingsFile
from registry_node.settings import NodeSettings, mark_of, unchangeable
from tests.nodes import GRANTS as NODE_GRANTS
from tests.nodes import RunningNode, log_lines, running, users
from tests.registry_node.conftest import DEV, GRANTS, PASSWORD, ROBOT, USERS, asking, settings
from tests.registry_node.images import push_image
from tests.registry_node.test_access import token_for

TEAM = [*GRANTS, {"to": "team", "allow": ["pull"], "repositories": ["team/**"]}]
MEMBER = {**USERS, "reader": {**USERS["reader"], "groups": ["team"]}}
READER = ("reader", PASSWORD)


class Reloading:
    """One app, with the short way, and its settings file."""

    def __init__(self, folder: Path, registry: LocalRegistry) -> None:
        self.folder, self.path = folder, folder / "settings.json"
        given = self.write(users=MEMBER, grants=TEAM)
        self.app = build.app_of(given, registry, reads=registry.reads, log=False)
        self.file = SettingsFile(self.path, given, self.app.access.replace)
        self.file.look()

    def write(self, **changes: Any) -> NodeSettings:
        made = NodeSettings.model_validate({**settings(self.folder).model_dump(mode="json"), **changes})
        self.path.write_text(made.model_dump_json())
        os.utime(self.path, ns=(time.time_ns(), time.time_ns()))
        return made

    def change(self, **changes: Any) -> None:
        self.write(**{"users": MEMBER, "grants": TEAM, **changes})
        self.file.look()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Reloading]:
    with closing(LocalRegistry.open(tmp_path / "data")) as registry:
        yield Reloading(tmp_path, registry)


def without(name: str) -> dict[str, Any]:
    return {each: user for each, user in MEMBER.items() if each != name}


CHANGES: list[tuple[str, tuple[str, str], dict[str, Any]]] = [
    ("a user is removed", READER, {"users": without("reader")}),
    ("a user leaves a group", READER, {"users": USERS}),
    ("a password changes", READER, {"users": {**MEMBER, "reader": {"password_bcrypt": hash_password("x", cost=4)}}}),
    ("a grant is withdrawn", READER, {"grants": GRANTS}),
    ("a robot is removed", ROBOT, {"users": without("ci")}),
    (
        "a robot's token is rotated",
        ROBOT,
        {"users": {**MEMBER, "ci": {"robot": True, "token_sha256": hash_token("y")}}},
    ),
]


@pytest.mark.attack("A-revoked-at-once")
@pytest.mark.parametrize(("who", "changes"), [each[1:] for each in CHANGES], ids=[each[0] for each in CHANGES])
async def test_access_ends_with_the_next_request(
    node: Reloading, who: tuple[str, str], changes: dict[str, Any]
) -> None:
    """Also for tokens that were issued before, and for what the short way knows (CVE-2025-23208)."""
    name = "ci/api" if who is ROBOT else "team/api"
    async with asking(node.app, DEV) as dev:
        await push_image(dev, name, "1.0", b"layer")
    bearer = await token_for(node.app, who, f"repository:{name}:pull")
    path = f"/v2/{name}/manifests/1.0"
    async with asking(node.app, who) as basic, asking(node.app, None) as anonymous:
        for _ in range(2):  # the second one on the short way
            assert (await basic.get(path)).status_code == 200
            assert (await anonymous.get(path, headers=bearer)).status_code == 200
        node.change(**changes)
        assert (await basic.get(path)).status_code in (401, 404)
        assert (await anonymous.get(path, headers=bearer)).status_code in (401, 404)
        node.change()
        assert (await basic.get(path)).status_code == 200
        assert (await anonymous.get(path, headers=bearer)).status_code == 200


async def test_what_is_granted_anew_is_there_at_once(node: Reloading) -> None:
    async with asking(node.app, ("new", PASSWORD)) as http:
        assert (await http.get("/v2/")).status_code == 401
        node.change(users={**MEMBER, "new": {"password_bcrypt": hash_password(PASSWORD, cost=4)}})
        assert (await http.get("/v2/")).status_code == 200
        assert (await http.get("/v2/new/tags/list")).json()["errors"][0]["message"].endswith("that you may pull")
        node.change(grants=[{"to": "authenticated", "allow": ["pull"]}])
        assert (await http.get("/v2/new/tags/list")).status_code == 401  # and what is not in the file has gone


async def test_a_password_that_changes_while_it_is_checked_is_the_old_one(
    node: Reloading, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(*_: Any, cost: int) -> bool:
        began.set()
        return go_on.wait(30)

    monkeypatch.setattr(credentials_module, "check_password", slow)
    async with asking(node.app, READER) as http:
        asked = asyncio.create_task(http.get("/v2/"))
        await asyncio.to_thread(began.wait, 30)
        node.change(users={**MEMBER, "reader": {"password_bcrypt": hash_password("new", cost=4)}})
        go_on.set()
        assert (await asked).status_code == 401


async def test_limits_change_too(node: Reloading) -> None:
    async with asking(node.app, DEV) as http:
        assert {(await http.get("/v2/")).status_code for _ in range(5)} == {200}
        node.change(rate_limits={"identity": {"per_second": 0.001, "burst": 1}})
        assert [(await http.get("/v2/")).status_code for _ in range(2)] == [200, 429]
        node.change()
        assert (await http.get("/v2/")).status_code == 200


BAD: list[tuple[str, str]] = [
    ('{"node": ', "Invalid JSON"),
    ("[]", "object"),
    (json.dumps({"users": {"x": {"password_bcrypt": "canary-plain-text"}}}), "users.x"),
]


@pytest.mark.parametrize(("content", "says"), BAD)
async def test_a_bad_file_changes_nothing_and_is_said(
    node: Reloading, capsys: pytest.CaptureFixture[str], content: str, says: str
) -> None:
    mark = node.file.mark
    node.path.write_text(content)
    for _ in range(3):
        node.file.look()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1  # not again each second
    line = json.loads(lines[0])
    assert (line["level"], line["event"]) == ("error", "settings-refused")
    assert says in line["problem"]
    assert "canary" not in lines[0]
    assert node.file.refused
    assert node.file.mark == mark
    async with asking(node.app, DEV) as http:
        assert (await http.get("/v2/")).status_code == 200
    node.path.unlink()
    node.file.look()
    assert "cannot be read" in capsys.readouterr().err
    node.change(users=USERS)
    assert not node.file.refused
    assert node.file.mark == mark_of(node.path.read_bytes())


@pytest.mark.parametrize(
    "changes",
    [
        {"node": "other"},
        {"scope": "other"},
        {"listen": {"port": 1}},
        {"data": "/elsewhere"},
        {"rules": {"write": "read-only"}},
        {"tokens": {"ttl": 60}},
    ],
)
async def test_what_cannot_change_is_refused_with_its_name(
    node: Reloading, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing of that file is taken, also what could be."""
    node.change(users=without("dev"), **changes)
    line = json.loads(capsys.readouterr().err)
    assert f": {next(iter(changes))} cannot change" in line["problem"]
    async with asking(node.app, DEV) as http:
        assert (await http.get("/v2/")).status_code == 200


def test_every_field_is_either_changeable_or_not(tmp_path: Path) -> None:
    old, new = (
        settings(tmp_path),
        settings(tmp_path, users={}, grants=[], rate_limits={"address": {"per_second": 1, "burst": 1}}),
    )
    assert unchangeable(old, new) == ()
    assert unchangeable(old, settings(tmp_path, node="b", scope="c")) == ("node", "scope")


def _until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def _change(node: RunningNode, **changes: Any) -> None:
    """Whole or not at all, as every writer should."""
    fresh = node.settings_file.with_name("fresh.json")
    fresh.write_text(json.dumps({**node.settings, **changes}))
    fresh.replace(node.settings_file)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_running_node_takes_them_without_dropping_a_connection(tmp_path: Path, processes: int) -> None:
    others = {name: user for name, user in users().items() if name != "reader"}
    with (
        running(tmp_path / "box", processes=processes) as node,
        node.client("dev") as dev,
        node.client("reader") as reader,
    ):
        assert dev.get("/v2/").status_code == reader.get("/v2/").status_code == 200
        location = dev.post("/v2/apps/api/blobs/uploads/").headers["location"]
        _change(node, users=others)  # the watch sees it
        _until(lambda: reader.get("/v2/").status_code == 401)
        assert dev.patch(location, content=b"x" * 1000).status_code == 202
        _change(node, grants=[*NODE_GRANTS, {"to": "everyone", "allow": ["pull"], "repositories": ["open"]}])
        assert node.process is not None
        node.process.send_signal(signal.SIGHUP)
        _until(lambda: reader.get("/v2/").status_code == 200)
        _change(node, scope="other")
        node.process.send_signal(signal.SIGHUP)
        _until(lambda: any(line.get("event") == "settings-refused" for line in log_lines(node)))
        assert dev.get("/v2/").status_code == 200
        assert node.process.poll() is None
        with httpx.Client(base_url=node.url, trust_env=False) as plain:
            assert plain.get("/readyz").headers["towpath-settings"]
            assert "registry_settings_refused 1.0" in plain.get("/metrics").text
        assert node.stop() == 0


@pytest.mark.slow
@pytest.mark.attack("A-revoked-at-once")
def test_a_worker_that_replaces_a_dead_one_has_todays_settings(tmp_path: Path) -> None:
    others = {name: user for name, user in users().items() if name != "reader"}
    with running(tmp_path / "box", processes=2) as node:
        _change(node, users=others)
        assert node.process is not None
        children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
        assert len(children) == 2
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        _until(lambda: sum(line.get("event") == "process-died" for line in log_lines(node)) == 2)
        node.wait_ready()
        for _ in range(10):
            with node.client("reader") as reader:
                assert reader.get("/v2/").status_code == 401
