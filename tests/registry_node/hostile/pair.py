"""Two registries asked the same over HTTP: a node with its files, and the in-memory twin behind the same app."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from oci_wire.memory import MemoryRegistry
from registry_node import build
from registry_node.registries.local import LocalRegistry
from registry_node.registries.through import Whole
from registry_node.settings import NodeSettings
from tests.nodes import GRANTS, SECRETS, RunningNode, free_port, users

# Memory where there is some: these tests are about answers, and disks are slow to sync.
FAST = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
RULES = {"immutable_tags": ["fixed-*"]}
_COMPARED = (
    *("content-type", "content-length", "content-range", "docker-content-digest", "etag", "range", "link", "location"),
    *("oci-subject", "oci-tag", "oci-filters-applied", "accept-ranges", "allow", "www-authenticate", "connection"),
)
_SESSION = re.compile(r"(?<=/blobs/uploads/)[0-9a-f]{32}")
_MESSAGE = re.compile(rb'"message": "(?:[^"\\]|\\.)*"|"detail": .*')


@dataclass(frozen=True)
class Answer:
    """``seen``: an answer as it is compared: without what names one session or one moment, and without the words of an
    error. ``location``: as it was sent."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    location: str = ""

    @property
    def seen(self) -> Any:
        headers = tuple((name, _SESSION.sub("<session>", value)) for name, value in self.headers)
        if self.status < 400:
            return self.status, headers, self.body
        return self.status, tuple(each for each in headers if each[0] != "content-length"), _MESSAGE.sub(b"", self.body)


class Asked(Protocol):
    def ask(self, who: str, method: str, path: str, headers: dict[str, str], content: bytes) -> Answer: ...
    def restart(self) -> None: ...
    def close(self) -> None: ...


def _answer(answer: httpx.Response) -> Answer:
    headers = tuple((name, answer.headers[name]) for name in _COMPARED if name in answer.headers)
    return Answer(answer.status_code, headers, answer.content, answer.headers.get("location", ""))


class InProcess:
    """An app without a socket. ``folder``: of a local registry; None: the twin."""

    def __init__(self, folder: Path | None) -> None:
        self._loop = asyncio.new_event_loop()
        self._keys = Path(tempfile.mkdtemp(dir=FAST))
        self._folder, self._memory = folder, MemoryRegistry(immutable_tags=["fixed-*"], page_size=10_000)
        given = {"node": "box", "scope": "sandbox", "listen": {"port": 0}, "data": folder or self._keys}
        self._settings = NodeSettings.model_validate(given | {"users": users(), "grants": GRANTS, "rules": RULES})
        self._open()

    def _open(self) -> None:
        registry: Whole = self._memory
        self._local: LocalRegistry | None = None
        if self._folder is not None:
            registry = self._local = LocalRegistry.open(self._folder, self._settings.rules)
        app = build.app_of(self._settings, registry, reads=self._local.reads if self._local else None, log=False)
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://box.test")

    def ask(self, who: str, method: str, path: str, headers: dict[str, str], content: bytes) -> Answer:
        request = self._http.build_request(method, path, headers=headers, content=content or None)
        return _answer(self._loop.run_until_complete(self._http.send(request, auth=(who, SECRETS[who]))))

    def restart(self) -> None:
        if self._local is not None:
            self._local.close()
            self._open()

    def close(self) -> None:
        if self._local is not None:
            self._local.close()
        self._loop.run_until_complete(self._http.aclose())
        self._loop.close()
        shutil.rmtree(self._keys)


class Process:
    """A node of its own behind a socket; a restart is a SIGKILL."""

    def __init__(self, folder: Path) -> None:
        self._node = RunningNode(folder, rules=RULES, listen={"host": "127.0.0.1", "port": free_port()})
        self._node.start()
        self._http = httpx.Client(base_url=self._node.url, headers={"host": "box.test"}, trust_env=False)

    def ask(self, who: str, method: str, path: str, headers: dict[str, str], content: bytes) -> Answer:
        return _answer(
            self._http.request(method, path, headers=headers, content=content or None, auth=(who, SECRETS[who]))
        )

    def restart(self) -> None:
        self._node.kill()
        self._node.start()

    def close(self) -> None:
        with contextlib.suppress(httpx.HTTPError):
            self._http.close()
        self._node.kill()
