"""Mirrors before registries of others, each as people run them: with a token service, with Basic, below a path, with
names of its own. skopeo and crane pull through them, then with the upstream stopped."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.images import Layout
from tests.clients.programs import Clients
from tests.nodes import PASSWORD, RunningNode, log_lines, running
from tests.tools import require
from tests.upstreams import tokens
from tests.upstreams.counting import CountingProxy
from tests.upstreams.foreign import BASE_PATH, D2, D3, below, htpasswd, registry
from tests.upstreams.tokens import TokenIssuer

pytestmark = [pytest.mark.clients, pytest.mark.slow, pytest.mark.timeout(240)]
EVERYONE = [{"to": "everyone", "allow": ["pull"]}]
SECRET = "secret-of-the-mirror"
USERS = {"cache": SECRET, "dev": PASSWORD}
SIGNERS = {D3: tokens.by_jwks, D2: tokens.by_certificate}
NAMESPACE = "remote-repos/images"


@dataclass(frozen=True)
class Origin:
    """``line``: a proxy before it, which can go away; ``settings``: how a mirror is told of it."""

    line: CountingProxy
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def upstream(self) -> dict[str, Any]:
        return {"name": "origin", "url": self.line.url, **self.settings}


@dataclass(frozen=True)
class World:
    """Where things are started; ``cache``: the file with what the mirror signs in with."""

    folder: Path
    layout: Layout
    stack: ExitStack
    cache: Path

    def filled(self, host: str, name: str = "apps/hello", login: str = f"dev:{PASSWORD}") -> None:
        """The image, put there by skopeo."""
        creds = ["--dest-creds", login] if login else []
        target = ["--dest-tls-verify=false", f"oci:{self.layout.folder}:1.0", f"docker://{host}/{name}:1.0"]
        subprocess.run([require("skopeo"), "copy", "--all", *creds, *target], check=True, capture_output=True)

    def line(self, host: str) -> CountingProxy:
        return self.stack.enter_context(CountingProxy(host))


def with_tokens(world: World, program: str) -> Origin:
    service = world.stack.enter_context(TokenIssuer(SIGNERS[program](world.folder), USERS))
    host = world.stack.enter_context(registry(program, world.folder / program, service.auth))
    world.filled(host)
    return Origin(world.line(host), {"credentials": {"file": str(world.cache)}, "realms": ["127.0.0.2"]})


def with_basic(world: World, program: str) -> Origin:
    host = world.stack.enter_context(registry(program, world.folder / program, htpasswd(world.folder, USERS)))
    world.filled(host)
    return Origin(world.line(host), {"credentials": {"file": str(world.cache)}})


def below_a_path(world: World, program: str) -> Origin:
    host = world.stack.enter_context(registry(program, world.folder / program, htpasswd(world.folder, USERS)))
    world.filled(host)
    outside = world.stack.enter_context(below(host, world.folder / "nginx"))
    return Origin(world.line(outside), {"credentials": {"file": str(world.cache)}, "base_path": BASE_PATH})


def with_a_namespace(world: World, program: str) -> Origin:
    host = world.stack.enter_context(registry(program, world.folder / program))
    world.filled(host, f"{NAMESPACE}/apps/hello", login="")
    return Origin(world.line(host), {"namespace": NAMESPACE})


def node_of_ours(world: World, _: str) -> Origin:
    node = world.stack.enter_context(running(world.folder / "node"))
    world.filled(node.host)
    world.cache.write_text(f"reader:{PASSWORD}")
    return Origin(world.line(node.host), {"credentials": {"file": str(world.cache)}})


def virtual_of_ours(world: World, _: str) -> Origin:
    """Over a node of ours, whose content it reads for whoever it lets in."""
    member = world.stack.enter_context(running(world.folder / "member", node="member"))
    world.filled(member.host)
    world.cache.write_text(f"reader:{PASSWORD}")
    secret = world.folder / "robot"
    secret.touch(mode=0o600)
    secret.write_text(f"reader:{PASSWORD}")
    members = [{"name": "member", "kind": "local", "url": member.url, "credentials": {"file": str(secret)}}]
    virtual = {"members": members, "owns": [{"repositories": "apps/**", "members": ["member"]}]}
    front = world.stack.enter_context(running(world.folder / "all", node="all", kind="virtual", virtual=virtual))
    return Origin(world.line(front.host), {"credentials": {"file": str(world.cache)}})


Kind = Callable[[World, str], Origin]
FOREIGN: tuple[Kind, ...] = (with_tokens, with_basic, below_a_path, with_a_namespace)
CASES = [*((kind, program) for kind in FOREIGN for program in (D3, D2)), (node_of_ours, ""), (virtual_of_ours, "")]


@pytest.fixture
def world(layout: Layout, tmp_path: Path) -> Iterator[World]:
    secret = tmp_path / "login"
    secret.touch(mode=0o600)
    secret.write_text(f"cache:{SECRET}")
    with ExitStack() as stack:
        yield World(tmp_path, layout, stack, secret)


@contextmanager
def mirror_of(world: World, upstream: dict[str, Any]) -> Iterator[RunningNode]:
    """Tags are believed for no time at all, so that an upstream that is away is noticed."""
    settings = {"upstreams": [upstream], "tag_seconds": 0, "negative_seconds": 0, "answer_seconds": 3}
    with running(world.folder / "mirror", node="cache", kind="mirror", mirror=settings, grants=EVERYONE) as node:
        yield node


def pulled(clients: Clients, node: RunningNode, folder: Path) -> list[dict[str, bytes]]:
    """All blobs that skopeo, then crane, laid into folders of their own."""
    image = f"{node.host}/apps/hello:1.0"
    clients.run("skopeo", "copy", "--all", "--src-tls-verify=false", f"docker://{image}", f"oci:{folder}-skopeo:1.0")
    clients.run("crane", "pull", "--format=oci", image, f"{folder}-crane")
    return [blobs_of(folder.with_name(f"{folder.name}-{each}")) for each in ("skopeo", "crane")]


def blobs_of(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in (folder / "blobs" / "sha256").iterdir()}


@pytest.mark.parametrize(("kind", "program"), CASES, ids=[f"{kind.__name__} {name}".strip() for kind, name in CASES])
def test_pulled_then_without_it(
    world: World, clients: Clients, layout: Layout, tmp_path: Path, kind: Kind, program: str
) -> None:
    origin = kind(world, program)
    with mirror_of(world, origin.upstream) as node:
        for name in ("first", "again"):
            assert pulled(clients, node, tmp_path / name) == [blobs_of(layout.folder)] * 2
            origin.line.stop()
        asked = origin.line.objects()
        assert len(asked) >= len(blobs_of(layout.folder))
        assert asked.total() <= len(asked) + 1, f"each was sent once; the very first request learns the realm: {asked}"
        answer = httpx.get(f"{node.url}/v2/apps/never/manifests/1.0", trust_env=False, timeout=30)
        assert answer.status_code in (502, 503, 504)
        assert answer.json()["errors"][0]["detail"]["upstream"] == "origin"


def said(node: RunningNode) -> tuple[int, str]:
    """Status and the reason that the mirror gives."""
    answer = httpx.get(f"{node.url}/v2/apps/hello/manifests/1.0", trust_env=False, timeout=30)
    return answer.status_code, "" if answer.status_code == 200 else answer.json()["errors"][0]["detail"]["reason"]


@pytest.mark.parametrize("program", [D3, D2])
def test_a_token_for_another_registry_is_refused(world: World, program: str) -> None:
    service = world.stack.enter_context(TokenIssuer(SIGNERS[program](world.folder), USERS))
    host = world.stack.enter_context(registry(program, world.folder / program, service.auth))
    world.filled(host)
    upstream = {"name": "origin", "url": f"http://{host}", "realms": ["127.0.0.2"]}
    service.audience = "another.registry"
    with mirror_of(world, {**upstream, "credentials": {"file": str(world.cache)}}) as node:
        assert said(node) == (502, "refused")
        service.audience = tokens.SERVICE
        assert said(node) == (200, "")


@pytest.mark.parametrize("program", [D3, D2])
def test_a_realm_that_nobody_declared_sees_no_credentials(world: World, program: str) -> None:
    service = world.stack.enter_context(TokenIssuer(SIGNERS[program](world.folder), USERS))
    host = world.stack.enter_context(registry(program, world.folder / program, service.auth))
    world.filled(host)
    filled = len(service.seen)
    upstream = {"name": "origin", "url": f"http://{host}", "credentials": {"file": str(world.cache)}}
    with mirror_of(world, upstream) as node:
        assert said(node) == (502, "realm")
        assert "127.0.0.2" in str([each["message"] for each in log_lines(node) if each["level"] == "warning"])
    assert [each.headers for each in service.seen[filled:] if "authorization" in each.headers] == []


@pytest.mark.parametrize("program", [D3, D2])
def test_a_password_that_is_wrong_and_then_right(world: World, program: str) -> None:
    origin = with_basic(world, program)
    world.cache.write_text("cache:of-yesterday")
    with mirror_of(world, origin.upstream) as node:
        assert said(node) == (502, "refused")
        world.cache.write_text(f"cache:{SECRET}")
        assert said(node) == (200, "")
