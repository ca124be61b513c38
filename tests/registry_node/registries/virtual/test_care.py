"""A member that answers nobody is left alone; one that is slow, refuses or was restarted is not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import Internal, Unreachable
from oci_wire.manifest import OCI_MANIFEST
from oci_wire.registry import Call
from registry_node.metrics import Metrics
from registry_node.registries.upstreams import circuit
from registry_node.registries.virtual import care as of_members
from registry_node.registries.virtual.care import Care
from registry_node.registries.virtual.failed import MemberFailed
from registry_node.registries.virtual.opened import opened, watch
from registry_node.registries.virtual.virtual import VirtualRegistry
from registry_node.settings import NodeSettings
from tests.contract.content import image
from tests.registry_node.registries.virtual.conftest import ALL
from tests.upstreams.serving import Reply, Request, Server

WARM = image(b"warm")


class Member:
    """``takes``: seconds of an attempt; ``error``: what it ends with; ``alive``: whether there is a sign of life."""

    def __init__(self) -> None:
        self.now, self.takes, self.alive = 0.0, 0.0, True
        self.error: Exception | None = None
        self.attempts = self.signs = 0
        self.care = Care("one", self.sign, lambda: self.now)

    async def sign(self) -> bool:
        self.signs += 1
        return self.alive

    async def ask(self) -> str:
        async def attempt() -> str:
            self.attempts += 1
            self.now += self.takes
            if self.error is not None:
                raise self.error
            return "answer"

        return await self.care(attempt)


async def test_what_fails_at_once_is_asked_again_each_time() -> None:
    member = Member()
    member.error, member.alive = Unreachable("refused"), False
    for _ in range(20):
        with pytest.raises(Unreachable):
            await member.ask()
    assert (member.attempts, member.signs, member.care.state) == (20, 0, "closed")
    member.error = None
    assert await member.ask() == "answer"


async def test_what_it_says_is_an_answer_however_late() -> None:
    member = Member()
    member.error, member.takes = Internal("broken"), 30.0
    for _ in range(20):
        with pytest.raises(Internal):
            await member.ask()
    assert (member.signs, member.care.outcomes["answered"]) == (0, 20)


async def test_without_a_sign_of_life_it_is_left_alone_and_comes_back() -> None:
    member = Member()
    member.error, member.takes, member.alive = Unreachable("nobody"), 10.0, False
    with pytest.raises(Unreachable):
        await member.ask()
    assert member.care.state == "open"
    for _ in range(5):
        with pytest.raises(MemberFailed) as caught:
            await member.ask()
        assert (caught.value.member, caught.value.retry_after) == ("one", circuit.FIRST_PAUSE)
    assert (member.attempts, member.signs) == (1, 1)
    member.now += circuit.FIRST_PAUSE
    with pytest.raises(MemberFailed):
        await member.ask()
    assert (member.attempts, member.signs) == (1, 2), "a sign of life, not somebody's question"
    member.error, member.alive, member.takes = None, True, 0.0
    member.now += circuit.FIRST_PAUSE
    assert await member.ask() == "answer"
    assert (member.care.state, member.care.outcomes["not-asked"]) == ("closed", 6)


async def test_a_slow_answer_to_one_question_closes_no_door_to_others() -> None:
    member = Member()
    member.error, member.takes = Unreachable("timed out"), 10.0
    for _ in range(10):
        with pytest.raises(Unreachable):
            await member.ask()
        await member.care.kept_waiting()
    assert member.care.state == "closed"


async def test_while_one_asks_for_a_sign_the_others_are_refused() -> None:
    member = Member()
    asked, answer = asyncio.Event(), asyncio.Event()

    async def sign() -> bool:
        asked.set()
        await answer.wait()
        return True

    member.alive = False
    await member.care.kept_waiting()
    member.now += circuit.FIRST_PAUSE
    member.care._sign = sign
    first = asyncio.create_task(member.ask())
    await asked.wait()
    with pytest.raises(MemberFailed):
        await member.ask()
    answer.set()
    assert await first == "answer"


async def test_who_leaves_while_asking_for_a_sign_leaves_the_question_to_the_next() -> None:
    member = Member()
    member.alive = False
    await member.care.kept_waiting()
    member.now += circuit.FIRST_PAUSE

    async def never() -> bool:
        await asyncio.Event().wait()
        return True

    member.care._sign = never
    first = asyncio.create_task(member.ask())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    member.care._sign, member.alive = member.sign, True
    assert await member.ask() == "answer"


class Hanging:
    """A registry of one warm image that says nothing of others, or (``deaf``) to anybody."""

    def __init__(self) -> None:
        self.deaf = False
        self.let_go = threading.Event()

    def __call__(self, request: Request) -> Reply:
        async def nothing(*_: object) -> bool:
            while not self.let_go.is_set():
                await asyncio.sleep(0.02)
            return False

        if self.deaf or "cold" in request.path:
            return Reply(deliver=nothing)
        if "/manifests/" not in request.path:
            return Reply(body=b"{}")
        return Reply(
            headers={"content-type": OCI_MANIFEST, "docker-content-digest": str(WARM.digest)}, body=WARM.content
        )


@pytest.fixture
def hanging() -> Iterator[tuple[Hanging, Server]]:
    answer = Hanging()
    with Server(answer) as server:
        yield answer, server
        answer.let_go.set()


def _virtual(folder: Path, url: str) -> VirtualRegistry:
    member = {"name": "one", "kind": "mirror", "url": url}
    virtual = {"members": [member], "unmatched": "members", "answer_seconds": 0.3}
    settings = {"node": "v", "scope": "v", "kind": "virtual", "listen": {"port": 0}, "data": folder, "virtual": virtual}
    return opened(NodeSettings.model_validate(settings), lambda: ALL)


async def test_a_member_that_hangs_for_one_image_gives_the_others(
    hanging: tuple[Hanging, Server], tmp_path: Path
) -> None:
    virtual = _virtual(tmp_path, hanging[1].url)
    for _ in range(3):
        with pytest.raises(MemberFailed, match="no answer within"):
            await virtual.resolve(Call(), "apps/cold", "1.0")
        assert (await virtual.get_manifest(Call(), "apps/warm", "1.0")).digest == WARM.digest
    await virtual.aclose()


async def test_a_member_that_is_deaf_costs_one_request_its_time(
    hanging: tuple[Hanging, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_members, "SIGN_SECONDS", 0.2)
    answer, server = hanging
    answer.deaf = True
    virtual = _virtual(tmp_path, server.url)
    with pytest.raises(MemberFailed, match="no answer within"):
        await virtual.resolve(Call(), "apps/warm", "1.0")
    asked = len(server.seen)
    questions = (virtual.resolve(Call(), "apps/warm", "1.0"), virtual.tags(Call(), "apps/warm"))
    more = (virtual.stat_blob(Call(), "apps/warm", Digest.of(b"x")), virtual.repositories(Call()))
    for each in (*questions, *more):
        with pytest.raises(MemberFailed, match="one could not answer: it answers nobody"):
            await each
    assert len(server.seen) == asked
    monkeypatch.setattr(virtual.doors["one"].care, "_clock", lambda: time.monotonic() + circuit.FIRST_PAUSE)
    answer.deaf = False
    assert (await virtual.resolve(Call(), "apps/warm", "1.0")).digest == WARM.digest
    metrics = Metrics()
    watch(metrics, virtual)
    shown = {each.name: dict(each.values()) for each in metrics.families}
    assert shown["towpath_member_circuit"] == {("one",): 0.0}
    assert shown["towpath_member_requests"][("one", "not-asked")] == 4
    await virtual.aclose()
