"""Histories of a real node: clients that set, read and delete a few tags at once over HTTP, each with its own
connection (a new one every few requests, so that all processes are asked), while something may be killed."""

from __future__ import annotations

import base64
import http.client
import math
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil

from oci_wire.digest import Digest
from oci_wire.errors import Unavailable
from oci_wire.manifest import OCI_MANIFEST
from registry_node.storage.neighbour import Neighbour
from tests.nodes import RunningNode
from tests.registry_node.images import image
from tests.registry_node.linearizability.checker import Kind, Operation, stuck

# Twice as many reads as changes; a change that never shows is as bad as one that shows too late.
_KINDS = (Kind.READ,) * 8 + (Kind.SET,) * 3 + (Kind.DELETE,)
_READS: tuple[tuple[str, dict[str, str]], ...] = (
    ("GET", {}),
    ("HEAD", {}),
    ("GET", {"x-takes": "the long way"}),  # a header that the short way does not know
)
_LEAST = 25  # operations of one client, however slow the machine: fewer would not mean much
_MOST_REQUESTS = 12  # over one connection
_ABSENT, _MAYBE = 404, (500, 503)  # after these nobody knows whether it happened


@dataclass
class History:
    """The operations of each tag. ``by_files``: reads that a neighbour answered, not the node."""

    by_files: int = 0
    tags: dict[str, list[Operation]] = field(default_factory=lambda: defaultdict(list))

    def violations(self) -> list[str]:
        """A line for each tag whose history no register could have made."""
        found = []
        for tag, operations in self.tags.items():
            trouble = stuck(operations)
            if trouble is not None:
                found.append(_told(tag, trouble, operations))
        return found

    @property
    def answered(self) -> int:
        return sum(each.answered for operations in self.tags.values() for each in operations)

    @property
    def unanswered(self) -> int:
        return sum(not each.answered for operations in self.tags.values() for each in operations)


def record(
    node: RunningNode,
    seconds: float,
    *,
    clients: int = 8,
    tags: int = 3,
    meanwhile: Callable[[], None] = lambda: None,
    number: int = 0,
    neighbour: Neighbour | None = None,
) -> History:
    """``meanwhile`` runs once, when half of the time is over: it kills something. ``number`` of the round: it has a
    repository of its own, and other chances. ``neighbour``: half of the reads are its."""
    repository = f"histories/{number}"
    with node.client() as client:
        given = client.post(f"/v2/{repository}/blobs/uploads/", params={"digest": str(Digest.of(b"{}"))}, content=b"{}")
        assert given.status_code == 201, given.text
    until = time.monotonic() + seconds
    urls = [f"/v2/{repository}/manifests/t{at}" for at in range(tags)]
    all_of_them = [
        _Client(node, who, urls, until, random.Random(f"{number} {who}"), neighbour) for who in range(clients)
    ]
    threads = [threading.Thread(target=each.run) for each in all_of_them]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 2)
    meanwhile()
    for thread in threads:
        thread.join()
    history = History()
    for each in all_of_them:
        if each.failure is not None:
            raise each.failure
        history.by_files += each.by_files
        for url, operation in each.seen:
            history.tags[url].append(operation)
    return history


class _Client:
    """One client: it writes down what it asked, what came back, and when."""

    def __init__(
        self,
        node: RunningNode,
        number: int,
        urls: Sequence[str],
        until: float,
        chance: random.Random,
        neighbour: Neighbour | None,
    ) -> None:
        self._neighbour, self.by_files = neighbour, 0
        self._node, self._number, self._urls, self._until, self._random = node, number, urls, until, chance
        self._connection: http.client.HTTPConnection | None = None
        self._left = 0
        self.seen: list[tuple[str, Operation]] = []
        self.failure: BaseException | None = None
        basic = base64.b64encode(":".join(node.auth("dev")).encode()).decode()
        self._headers = {"authorization": f"Basic {basic}"}

    def run(self) -> None:
        try:
            while time.monotonic() < self._until or len(self.seen) < _LEAST:
                self._one(self._random.choice(self._urls), self._random.choice(_KINDS))
        except BaseException as error:
            self.failure = error

    def _one(self, url: str, kind: Kind) -> None:
        if kind is Kind.READ and self._neighbour is not None and self._random.random() < 0.5:
            return self._read_files(self._neighbour, url)
        body = b""
        method, more = {Kind.READ: self._random.choice(_READS), Kind.SET: ("PUT", {}), Kind.DELETE: ("DELETE", {})}[
            kind
        ]
        if kind is Kind.SET:
            body = image(config=b"{}", annotations={"who": f"{self._number} {len(self.seen)}"})
            more = {"content-type": OCI_MANIFEST}
        began = time.monotonic()
        try:
            status, digest = self._ask(method, url, body, more)
        except ConnectionRefusedError:  # nobody listens: this has not happened
            time.sleep(0.01)
            return None
        ended = time.monotonic() if status in (200, 201, 202, _ABSENT) else math.inf
        assert ended != math.inf or status in (0, *_MAYBE), f"{method} {url}: {status}"
        value: str | bool | None = digest if status == 200 else None
        if kind is Kind.SET:
            value = str(Digest.of(body))
        elif kind is Kind.DELETE:
            value = None if ended == math.inf else status == 202
        self.seen.append((url, Operation(kind, value, began, ended, self._number)))
        return None

    def _read_files(self, neighbour: Neighbour, url: str) -> None:
        """While its node starts, it gives no answer."""
        _, _, repository, _, tag = url.replace("histories/", "histories~").split("/")
        began = time.monotonic()
        try:
            found = neighbour.named(repository.replace("~", "/"), tag)
        except Unavailable:
            return time.sleep(0.01)
        self.by_files += 1
        value = found[1] if found else None
        self.seen.append((url, Operation(Kind.READ, value, began, time.monotonic(), self._number)))
        return None

    def _ask(self, method: str, path: str, body: bytes, more: dict[str, str]) -> tuple[int, str | None]:
        """Status and digest; 0 when no answer came. Raises ConnectionRefusedError."""
        connection = self._connected()
        try:
            connection.request(method, path, body or None, {**self._headers, **more})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self._left = 0
            return 0, None
        digest = answer.headers.get("docker-content-digest")
        if method == "GET" and answer.status == 200:
            assert digest == str(Digest.of(content)), "these are not the bytes of this digest"
        return answer.status, digest

    def _connected(self) -> http.client.HTTPConnection:
        if self._left == 0 or self._connection is None:
            if self._connection is not None:
                self._connection.close()
            host, _, port = self._node.host.partition(":")
            self._connection = http.client.HTTPConnection(host, int(port), timeout=30)
            self._left = 0
            self._connection.connect()
            self._left = self._random.randint(1, _MOST_REQUESTS)
        self._left -= 1
        return self._connection


def kill_one(node: RunningNode) -> None:
    """SIGKILL: one of several workers, which its parent replaces; or the node itself, which is started again."""
    assert node.process is not None
    workers = psutil.Process(node.process.pid).children()
    if workers:
        random.choice(workers).kill()
    else:
        node.kill()
        node.start()


def _told(tag: str, trouble: Operation, operations: Sequence[Operation]) -> str:
    """The operations around the one that fits nowhere."""
    near = [each for each in operations if each.ended > trouble.began - 0.05 and each.began < trouble.ended + 0.05]
    start = min(each.began for each in near)
    lines = "\n".join(
        f"  {(each.began - start) * 1000:9.2f} {(each.ended - start) * 1000:9.2f} ms  client {each.client}  "
        f"{each.kind.value:6} {str(each.value)[-12:]}{'  <--' if each is trouble else ''}"
        for each in sorted(near, key=lambda each: each.began)[:60]
    )
    return f"no order of the operations on {tag} explains what was seen here:\n{lines}"
