"""The registry under test: a node of ours, or another one.

TOWPATH_PROTOCOL_TARGET=http://host:port     tests that registry; what needs a node that we start is skipped
TOWPATH_PROTOCOL_USER, _PASSWORD             an account there that may pull, push and delete everywhere
TOWPATH_PROTOCOL_SETTINGS={"processes": 3}   settings (JSON) of our own node, for another kind of it
TOWPATH_PROTOCOL_RESULTS=file                writes a JSON object: id -> passed, failed or skipped
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.nodes import GRANTS, RunningNode, many
from tests.protocol.target import ACCEPT, SignIn, Target, challenge_of

_RESULTS = pytest.StashKey[dict[str, str]]()
# reader pulls protocol/**, pushes to protocol/pushed/** and nothing else; everyone pulls public/**.
OUR_GRANTS = (
    *(each for each in GRANTS if each["to"] != "reader"),
    {"to": "reader", "allow": ["pull"], "repositories": ["protocol/**"]},
    {"to": "reader", "allow": ["push"], "repositories": ["protocol/pushed/**"]},
    {"to": "everyone", "allow": ["pull"], "repositories": ["public/**"]},
)
MakeNode = Callable[..., RunningNode]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    marker = item.get_closest_marker("protocol")
    if marker is not None and (report.when == "call" or not report.passed):
        found = item.config.stash.setdefault(_RESULTS, {})
        if found.get(marker.args[0], "passed") in ("passed", "skipped"):
            found[marker.args[0]] = report.outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = os.environ.get("TOWPATH_PROTOCOL_RESULTS")
    if path:
        Path(path).write_text(json.dumps(session.config.stash.get(_RESULTS, {}), indent=1, sort_keys=True))


def _client(url: str, auth: httpx.Auth | tuple[str, str] | None) -> httpx.Client:
    return httpx.Client(base_url=url, auth=auth, trust_env=False, timeout=60, headers={"accept": ACCEPT})


@pytest.fixture(scope="session")
def session_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode | None]:
    """One node of ours for all tests that leave it as they found it; None when another registry is tested."""
    if os.environ.get("TOWPATH_PROTOCOL_TARGET"):
        yield None
        return
    with many(tmp_path_factory.mktemp("protocol")) as make:
        more = json.loads(os.environ.get("TOWPATH_PROTOCOL_SETTINGS", "{}"))
        yield make("box", **{"grants": list(OUR_GRANTS), **more})


@pytest.fixture(scope="session")
def target(session_node: RunningNode | None) -> Iterator[Target]:
    if session_node is not None:
        with _client(session_node.url, session_node.auth("dev")) as http:
            yield Target(session_node.url, http, ours=True)
        return
    url = os.environ["TOWPATH_PROTOCOL_TARGET"].rstrip("/")
    name, secret = os.environ.get("TOWPATH_PROTOCOL_USER"), os.environ.get("TOWPATH_PROTOCOL_PASSWORD", "")
    with _client(url, SignIn(name, secret) if name else None) as http:
        yield Target(url, http)


@pytest.fixture
def nobody(target: Target) -> Iterator[httpx.Client]:
    """Asks without credentials."""
    with _client(target.url, None) as http:
        yield http


@pytest.fixture
def realm(nobody: httpx.Client) -> dict[str, str]:
    """Where tokens are, and the service to name."""
    answer = nobody.get("/v2/")
    if not answer.headers.get("www-authenticate", "").startswith("Bearer"):
        pytest.skip("this registry has no tokens")
    return challenge_of(answer)


@pytest.fixture
def node(session_node: RunningNode | None) -> RunningNode:
    """Our node, for what needs accounts whose rights we know."""
    if session_node is None:
        pytest.skip("needs accounts whose rights are known")
    return session_node


@pytest.fixture
def reader(node: RunningNode) -> Iterator[httpx.Client]:
    """May pull protocol/**, push to protocol/pushed/**, and nothing else."""
    with _client(node.url, node.auth("reader")) as http:
        yield http


@pytest.fixture
def pusher(node: RunningNode) -> Iterator[httpx.Client]:
    """Another account that may pull and push everywhere."""
    with _client(node.url, node.auth("ci")) as http:
        yield http


@pytest.fixture
def make_node(session_node: RunningNode | None, tmp_path: Path) -> Iterator[MakeNode]:
    """``make_node(name, **settings)`` starts a node for one test."""
    if session_node is None:
        pytest.skip("needs a node with settings, or a life, of its own")
    with many(tmp_path) as make:
        yield make
