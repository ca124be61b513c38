"""What is not yours looks as if it were not there: in status, headers, body, and in the work that the answer takes.

Work is counted - calls of the registry, SQL statements, rounds of bcrypt - since clocks of a test machine prove nothing.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest

from identity.passwords import hash_password
from oci_wire.digest import Digest
from oci_wire.manifest import OCI_MANIFEST
from registry_node import build
from registry_node.app import App
from registry_node.registries.local import LocalRegistry
from registry_node.registries.through import Through
from tests.databases import statements
from tests.registry_node.conftest import DEV, GRANTS, PASSWORD, READER, ROBOT, USERS, asking, settings
from tests.registry_node.images import image, push_blob, push_image
from tests.registry_node.test_access import token_for

NOBODY = ("nobody", PASSWORD)
LAYER = str(Digest.of(b"layer"))
TAGGED = [*GRANTS, {"to": "nobody", "allow": ["pull"], "repositories": ["tagged/**"], "tags": ["v*"]}]
LOCATION_PARTS = re.compile(r"[0-9a-f]{32}")


class Watched(Through):
    """Counts what is asked of the registry."""

    def __init__(self, inner: LocalRegistry, calls: Counter[str]) -> None:
        super().__init__(inner)
        self.calls = calls

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in ("inner", "calls"):
            object.__getattribute__(self, "calls")[name] += 1
        return object.__getattribute__(self, name)


class Setting:
    """An app over an index, and the work that it has done."""

    def __init__(self, folder: Path, registry: LocalRegistry) -> None:
        self.work: Counter[str] = Counter()
        given = settings(folder, grants=TAGGED)
        self.app = build.app_of(given, Watched(registry, self.work), reads=registry.reads, log=False)

    async def ask(
        self, who: tuple[str, str] | None, method: str, path: str, bearer: dict[str, str] | None = None, **more: Any
    ) -> tuple[int, dict[str, str], bytes, Counter[str]]:
        async with asking(self.app, who if bearer is None else None) as http:
            with statements() as asked:
                self.work.clear()
                answer = await http.request(method, path, headers={**(bearer or {}), **more.pop("headers", {})}, **more)
                work = Counter(self.work) + Counter(statements=len(asked))
        headers = {name: value for name, value in answer.headers.items() if name not in ("x-request-id", "date")}
        return answer.status_code, headers, answer.content, work


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Setting]:
    with closing(LocalRegistry.open(tmp_path / "data")) as registry:
        setting = Setting(tmp_path, registry)
        async with asking(setting.app, DEV) as dev:
            await push_image(dev, "secret/there", "v1", b"layer")
            await push_image(dev, "tagged/there", "v1", b"layer", b"mine")
            await push_image(dev, "tagged/there", "dev", b"hidden")
        yield setting


MANIFEST = {"content": image(b"layer"), "headers": {"content-type": OCI_MANIFEST}}
OPERATIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/v2/{name}/manifests/v1", {}),
    ("HEAD", "/v2/{name}/manifests/v1", {}),
    ("GET", f"/v2/{{name}}/manifests/{Digest.of(image(b'layer'))}", {}),
    ("GET", f"/v2/{{name}}/blobs/{LAYER}", {}),
    ("HEAD", f"/v2/{{name}}/blobs/{LAYER}", {}),
    ("GET", f"/v2/{{name}}/blobs/{LAYER}", {"headers": {"range": "bytes=0-1"}}),
    ("GET", "/v2/{name}/tags/list", {}),
    ("GET", f"/v2/{{name}}/referrers/{LAYER}", {}),
    ("PUT", "/v2/{name}/manifests/v1", MANIFEST),
    ("PUT", "/v2/{name}/manifests/v2?tag=v3", MANIFEST),
    ("DELETE", "/v2/{name}/manifests/v1", {}),
    ("DELETE", f"/v2/{{name}}/manifests/{Digest.of(image(b'layer'))}", {}),
    ("DELETE", f"/v2/{{name}}/blobs/{LAYER}", {}),
    ("POST", "/v2/{name}/blobs/uploads/", {}),
    ("POST", f"/v2/{{name}}/blobs/uploads/?digest={LAYER}", {"content": b"layer"}),
    ("POST", f"/v2/{{name}}/blobs/uploads/?mount={LAYER}&from=public/x", {}),
    ("PATCH", f"/v2/{{name}}/blobs/uploads/{'0' * 32}", {"content": b"x"}),
    ("POST", f"/v2/ci/mine/blobs/uploads/?mount={LAYER}&from={{name}}", {}),
    ("GET", "/auth/token?service=box&scope=repository:{name}:pull,push,delete", {}),
    ("GET", "/_towpath/v1/r/{name}/_/tags", {}),
    ("GET", f"/_towpath/v1/r/{{name}}/_/closure/{LAYER}", {}),
    ("POST", "/_towpath/v1/r/{name}/_/leases", {"content": b"{}"}),
    ("PUT", "/_towpath/v1/r/{name}/_/holds/x", {"content": b"{}"}),
    ("PUT", "/_towpath/v1/r/{name}/_/transactions/x", {"content": b"{}"}),
]


@pytest.mark.attack("A-private-absent")
@pytest.mark.parametrize("who", [None, NOBODY, READER, ROBOT], ids=lambda who: who[0] if who else "anonymous")
async def test_a_repository_that_is_not_yours_is_as_one_that_is_not(node: Setting, who: tuple[str, str] | None) -> None:
    """CVE-2019-19030."""
    bearer = await token_for(node.app, who, "repository:secret/there:pull,push,delete repository:secret/gone:pull,push")
    for method, path, more in OPERATIONS:
        for token in (None, bearer):
            _, there, gone = [  # the first one may find things to do that are done once (a target that is new)
                await node.ask(who, method, path.replace("{name}", name), token, **dict(more))
                for name in ("secret/gone", "secret/there", "secret/gone")
            ]
            what = f"{method} {path} as {who}"
            assert there[0] == gone[0], what
            assert _plain(there[1]) == _plain(gone[1]), what
            assert _plain(there[2]) == _plain(gone[2]), what
            assert there[3] == gone[3], what
            assert there[0] != 500, what


def _plain(said: Any) -> str:
    """Without the name that was asked for, nor what is random: upload ids, tokens."""
    text = str(said).replace("secret/there", "secret/gone")
    text = re.sub(r"eyJ[\w.-]+", "TOKEN", LOCATION_PARTS.sub("SESSION", text))
    return re.sub(r"issued_at\S+ \S+|content-length': '\d+'", "", text)


@pytest.mark.attack("A-private-absent")
async def test_what_only_other_tags_reach_is_as_what_is_not_there(node: Setting) -> None:
    hidden = Digest.of(image(b"hidden"))
    for kind, there in (("blobs", Digest.of(b"hidden")), ("manifests", hidden), ("referrers", hidden)):
        gone = Digest.of(b"never pushed")
        for method in ("GET", "HEAD"):
            first, second = [
                await node.ask(NOBODY, method, f"/v2/tagged/there/{kind}/{each}") for each in (there, gone)
            ]
            assert first[0] == second[0] == (200 if kind == "referrers" else 404)
            assert first[1] == second[1]
            assert first[2].replace(str(there).encode(), str(gone).encode()) == second[2]
            assert first[3] == second[3]
            assert first[3]["statements"] > 3  # it has asked
    found = await node.ask(NOBODY, "GET", f"/v2/tagged/there/blobs/{Digest.of(b'mine')}")
    assert found[2] == b"mine"


@pytest.mark.attack("A-other-upload")
async def test_another_users_upload_is_as_one_that_never_was(node: Setting) -> None:
    """CVE-2022-31667: also the work is the same."""
    async with asking(node.app, DEV) as dev:
        theirs = (await dev.post("/v2/ci/api/blobs/uploads/")).headers["location"]
        await dev.patch(theirs, content=b"secret")
    never = theirs[:-32] + "0" * 32
    for method, more in (("GET", {}), ("PATCH", {"content": b"x"}), ("DELETE", {})):
        first, second = [await node.ask(ROBOT, method, path, **dict(more)) for path in (theirs, never)]
        assert first == second
        assert first[0] == 404
    finish = f"?digest={Digest.of(b'secret')}"
    assert await node.ask(ROBOT, "PUT", theirs + finish) == await node.ask(ROBOT, "PUT", never + finish)


@pytest.mark.attack("A-private-absent")
async def test_a_page_does_not_tell_of_names_behind_it(node: Setting) -> None:
    """A link to a next page that shows nothing would."""
    async with asking(node.app, DEV) as dev, asking(node.app, READER) as reader:
        await push_blob(dev, "apps/a", b"x")
        await push_blob(dev, "apps/b", b"x")
        await push_blob(dev, "zzz/hidden", b"x")
        page = await reader.get("/v2/_catalog?n=2")
        assert page.json()["repositories"] == ["apps/a", "apps/b"]
        assert "link" not in page.headers
        first = await reader.get("/v2/_catalog?n=1")
        assert first.json()["repositories"] == ["apps/a"]
        assert "link" in first.headers
    async with asking(node.app, NOBODY) as tagged:
        page = await tagged.get("/v2/tagged/there/tags/list?n=1")
        assert page.json()["tags"] == ["v1"]
        assert "link" not in page.headers


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """The rounds of bcrypt since the last time."""
    done: list[int] = []
    real = bcrypt.checkpw

    def counted(secret: bytes, stored: bytes) -> bool:
        done.append(2 ** int(stored[4:6]))
        return real(secret, stored)

    def since() -> int:
        total = sum(done)
        done.clear()
        return total

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    return since


WRONG = {
    "wrong password": ("dev", "wrong"),
    "wrong password, cheaper hash": ("reader", "wrong"),
    "unknown user": ("stranger", "wrong"),
    "robot's wrong token": ("ci", "wrong"),
    "too long": ("dev", "x" * 100),
    "no name": ("", "wrong"),
    "empty": ("dev", ""),
}


@pytest.mark.attack("A-constant-time")
async def test_an_unknown_user_is_as_a_wrong_password(app: App, tmp_path: Path, rounds: Callable[[], int]) -> None:
    users = {**USERS, "dev": {"password_bcrypt": hash_password(PASSWORD, cost=6)}}
    app.access.replace(settings(tmp_path, users=users))
    said: dict[str, set[Any]] = {}
    async with asking(app, None) as http:
        for what, (name, secret) in WRONG.items():
            form = {"grant_type": "password", "username": name, "password": secret, "service": "box"}
            for where, asked in (
                ("ping", http.get("/v2/", auth=(name, secret))),
                ("token", http.get("/auth/token?service=box", auth=(name, secret))),
                ("pull", http.get("/v2/apps/api/manifests/1", auth=(name, secret))),
                ("form", http.post("/auth/token", data=form)),
            ):
                answer = await asked
                headers = tuple(sorted((k, v) for k, v in answer.headers.items() if k != "x-request-id"))
                said.setdefault(where, set()).add((answer.status_code, headers, answer.content))
            assert rounds() == 2**6, what  # once, however often it is asked; as much for each
    assert {where: len(answers) for where, answers in said.items()} == dict.fromkeys(said, 1)


async def test_a_right_token_takes_no_bcrypt_and_a_right_password_its_own(app: App, rounds: Callable[[], int]) -> None:
    for who, cost in ((ROBOT, 0), (DEV, 2**4)):
        async with asking(app, who) as http:
            assert (await http.get("/v2/")).status_code == 200
        assert rounds() == cost


@pytest.mark.parametrize("flow", ["basic", "token"])
async def test_a_pull_waits_for_bcrypt_once(app: App, rounds: Callable[[], int], flow: str) -> None:
    """docker: ping, token, manifest by tag, by digest, config, twenty layers, and a new token after five minutes."""
    layers = [b"layer %d" % n for n in range(20)]
    async with asking(app, ROBOT) as http:
        manifest = await push_image(http, "ci/api", "1.0", *layers)
    rounds()
    async with asking(app, DEV if flow == "basic" else None) as http:
        for _ in range(3):
            if flow == "token":
                http.headers.update(await token_for(app, DEV, "repository:ci/api:pull"))
            else:
                await http.get("/v2/")
            digests = [str(Digest.of(each)) for each in (b"{}", *layers)]
            names = [f"manifests/{name}" for name in ("1.0", Digest.of(manifest))]
            for name in (*names, *(f"blobs/{digest}" for digest in digests)):
                assert (await http.get(f"/v2/ci/api/{name}")).status_code == 200
    assert rounds() == 2**4


async def test_a_pull_of_an_hour_waits_for_bcrypt_once(
    app: App, rounds: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"now": 1_000_000.0}
    monkeypatch.setattr("registry_node.credentials.time.time", lambda: clock["now"])
    monkeypatch.setattr("registry_node.credentials.time.monotonic", lambda: clock["now"])
    async with asking(app, DEV) as http:
        for _ in range(60):
            assert (await http.get("/v2/")).status_code == 200
            clock["now"] += 60
        assert rounds() == 2**4
        clock["now"] += 3600  # and it is forgotten when nobody asks
        assert (await http.get("/v2/")).status_code == 200
        assert rounds() == 2**4


async def test_the_event_loop_never_runs_bcrypt(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    real = bcrypt.checkpw
    monkeypatch.setattr(bcrypt, "checkpw", lambda *given: seen.add(threading.current_thread()) or real(*given))
    async with asking(app, None) as http:
        for who in (DEV, ("dev", "wrong"), ("stranger", "x"), ("ci", "wrong")):
            await http.get("/v2/", auth=httpx.BasicAuth(*who))
    assert seen
    assert all(each.name.startswith("bcrypt") for each in seen)
