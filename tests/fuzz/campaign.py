"""A campaign against one node: batches of inputs, the oracle after each, what breaks it saved."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx
import psutil

from tests.fuzz import heads, manifests, tokens, urls
from tests.fuzz.targets import REPOSITORY, Target, methods_of
from tests.fuzz.wire import Answer, Wrong, answers_in, talked
from tests.nodes import RunningNode
from tests.registry_node.images import push_blob, push_image

TARGETS = {each.name: each for each in (urls.TARGET, manifests.TARGET, tokens.TARGET, heads.HEAD, heads.CHUNKED)}
FOUND = Path(__file__).resolve().parent / "found"
# A node that gives up on the silent soon, so that what hangs is told from what waits.
SETTINGS = {"limits": {"head_seconds": 1.0, "idle_seconds": 1.0}, "tokens": {"ttl": 3600}}
AT_ONCE = 8
_BATCH = 100
_SILENCE, _DEADLINE = 0.3, 20.0  # seconds
_MORE_FILES = 16  # of them: connections to the index, one for each worker thread
_MORE_MEMORY = 96 * 1024 * 1024  # bytes that a node may grow by, caches full


@dataclass(frozen=True)
class Found:
    """One input that broke a rule."""

    target: str
    what: str
    wire: bytes

    def save(self, folder: Path = FOUND) -> Path:
        path = folder / f"{self.target}-{hashlib.sha256(self.wire).hexdigest()[:12]}.json"
        path.write_text(json.dumps({**self.__dict__, "wire": self.wire.decode("latin-1")}, indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: Path) -> Found:
        fields = json.loads(path.read_text())
        return cls(fields["target"], fields["what"], fields["wire"].encode("latin-1"))


@dataclass
class Campaign:
    """One target against one running node."""

    target: Target
    node: RunningNode
    random: Random
    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)
    most_memory: int = 0

    async def prepare(self) -> None:
        """Content that valid requests find, and a first measure."""
        async with httpx.AsyncClient(base_url=self.node.url, auth=self.node.auth("dev"), trust_env=False) as http:
            await push_image(http, REPOSITORY, "latest", b"layer")
            await push_blob(http, REPOSITORY, b"abc")
            self._token = (await http.get("/auth/token", params={"scope": f"repository:{REPOSITORY}:pull"})).json()[
                "token"
            ]
        self._process = psutil.Process(self.node.process.pid if self.node.process else None)
        self._memory, self._files = self._process.memory_info().rss, self._process.num_fds()
        self._logged = 0

    async def run(self, *, seconds: float = 0.0, inputs: int = 0) -> None:
        """So long, or so many."""
        until = time.monotonic() + seconds
        while time.monotonic() < until or self.sent < inputs:
            batch = [self.target.make(self.random, self._token) for _ in range(min(_BATCH, inputs or _BATCH))]
            await self._send(batch)
            if what := await self._unwell():
                await self._blame(batch, what)
        await self._nothing_left_open()

    async def _send(self, batch: list[bytes]) -> None:
        free = asyncio.Semaphore(AT_ONCE)

        async def one(wire: bytes) -> None:
            async with free:
                if what := await self.complaint(wire):
                    self.found.append(Found(self.target.name, what, wire))

        await asyncio.gather(*map(one, batch))

    async def complaint(self, wire: bytes) -> str:
        """What is wrong with the node's answers to this input; "" when nothing is."""
        self.sent += 1
        try:
            silence = _DEADLINE if self.target.answered or self.target.whole(wire) else _SILENCE
            said, _ = await talked(self.node.host, _pieces(Random(wire), wire), silence=silence, deadline=_DEADLINE)
            answers = self._read(wire, said)
            self.statuses.update(each.status for each in answers)
            if self.target.answered and len(answers) != 1:
                raise Wrong(f"{len(answers)} answers to one request: {said[:200]!r}")
            self.target.check(wire, answers)
        except Wrong as error:
            return str(error)
        except OSError as error:
            return f"the node cannot be reached: {error}"
        return ""

    def _read(self, wire: bytes, said: bytes) -> list[Answer]:
        if self.target.answered or b"HEAD" not in wire:
            return answers_in(said, methods_of(wire), cut=not self.target.answered)
        try:  # which of several requests was a HEAD cannot be told from outside
            return answers_in(said, methods_of(wire), cut=True)
        except Wrong:
            return answers_in(said, ["HEAD"], cut=True)

    async def _unwell(self) -> str:
        """What is wrong with the node itself, other clients' view."""
        try:
            async with httpx.AsyncClient(base_url=self.node.url, auth=self.node.auth("dev"), trust_env=False) as http:
                for path in (
                    "/healthz",
                    f"/v2/{REPOSITORY}/manifests/latest",
                    f"/v2/{REPOSITORY}/tags/list",
                    _REFERRERS,
                ):
                    answer = await http.get(path, timeout=_DEADLINE)
                    if answer.status_code not in (200, 404):
                        return f"{path} is answered with {answer.status_code}: {answer.text[:200]}"
        except httpx.HTTPError as error:
            return f"the node does not answer others: {error!r}"
        return self._logged_error() or self._grown()

    def _logged_error(self) -> str:
        log = self.node.log.read_bytes()
        new, self._logged = log[self._logged :], len(log)
        lines = [
            line
            for line in new.splitlines()
            if b'"level": "error"' in line or b'"level":"error"' in line or line[:1] != b"{"
        ]
        return f"the log has: {lines[0][:2000].decode(errors='replace')}" if lines else ""

    def _grown(self) -> str:
        memory = self._process.memory_info().rss
        self.most_memory = max(self.most_memory, memory)
        if memory > self._memory + _MORE_MEMORY:
            self._memory = memory  # said once
            return f"the node's memory has grown to {memory >> 20} MiB"
        return ""

    async def _blame(self, batch: list[bytes], what: str) -> None:
        """Which of a batch it was: each once more, alone."""
        if self.node.process is None or self.node.process.poll() is not None:
            self.found += [Found(self.target.name, f"one of a batch ended the node: {what}", wire) for wire in batch]
            raise RuntimeError(f"the node ended: {self.node.log.read_text()[-3000:]}")
        for wire in batch:
            await self._send([wire])
            if again := await self._unwell():
                self.found.append(Found(self.target.name, again, wire))
                return
        self.found.append(Found(self.target.name, f"after a batch of which this is the last: {what}", batch[-1]))

    async def _nothing_left_open(self) -> None:
        for _ in range(100):
            if self._process.num_fds() <= self._files + _MORE_FILES:
                return
            await asyncio.sleep(0.1)
        self.found.append(Found(self.target.name, f"{self._process.num_fds()} files are open, {self._files} were", b""))


_REFERRERS = f"/v2/{REPOSITORY}/referrers/sha256:{'1' * 64}"


def _pieces(random: Random, wire: bytes) -> list[bytes]:
    """As one piece, mostly; or cut anywhere, for the same input always alike."""
    if random.random() < 0.7:
        return [wire]
    cuts = sorted(random.randrange(len(wire) + 1) for _ in range(random.randint(1, 4)))
    return [piece for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True) if (piece := wire[start:end])]
