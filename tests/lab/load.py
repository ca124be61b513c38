"""Clients of a scope, on the operator's network: they fill it, look whether all of it is there, and pull and push all the
while something changes beneath it.

    python -m tests.lab.load fill      {"nodes": [URL], "user", "secret", "ca", "repository", "tags": 500, "bytes": 2**28}
    python -m tests.lab.load verify    {"nodes": [URL], ..., "expected": {tag: digest}}
    python -m tests.lab.load run       {"nodes": [URL, its sister], ..., "expected": {...}, "push": true}

What it was asked as JSON is its argument, what it saw is one JSON line on stdout. ``run`` goes on until its stdin ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

import httpx

from oci_wire.client import Credentials, RemoteRegistry
from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import Internal, RegistryError
from oci_wire.manifest import EMPTY_CONFIG, OCI_MANIFEST, Manifest
from oci_wire.registry import Call
from promotions.bounded import for_each

AT_ONCE = 6
TAGS_OF_ONE = 5
CALL = Call()
_LAYER = "application/vnd.oci.image.layer.v1.tar"


class OtherImage(Exception):
    """A tag showed what it never was: no second try makes up for that."""


@dataclass
class Seen:
    """``failed``: pulls that the sister did not save either, or that gave another image; ``retried``: those that it did.
    ``pushed``: tag -> digest of what was answered 201; ``refused``: tag -> why, with an answer that a client understands;
    ``broken``: any other."""

    pulls: int = 0
    retried: int = 0
    failed: list[str] = field(default_factory=list)
    pushed: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Load:
    nodes: list[RemoteRegistry]
    repository: str
    expected: dict[str, str]

    async def push(self, size: int, *tags: str) -> Digest:
        """An image of one layer of ``size`` random bytes. Raises RegistryError."""
        content, node = os.urandom(size), self.nodes[0]
        config = Descriptor(EMPTY_CONFIG, Digest.of(b"{}"), 2)
        layer = Descriptor(_LAYER, Digest.of(content), size)
        body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.to_json(), "layers": [layer.to_json()]}
        manifest = Manifest.parse(json.dumps(body).encode(), OCI_MANIFEST)
        for each, held in ((config, b"{}"), (layer, content)):
            await node.put_blob(CALL, self.repository, each, _once(held))
        await node.put_manifest(CALL, self.repository, manifest, tags=tags)
        return manifest.digest

    async def pull(self, node: RemoteRegistry, tag: str, known: Collection[Digest] = ()) -> Digest:
        """All of an image but the blobs that are ``known``, its bytes checked. Raises RegistryError."""
        manifest = await node.get_manifest(CALL, self.repository, tag)
        for part in (each for each in manifest.blobs if each.digest not in known):
            stream = await node.open_blob(CALL, self.repository, part.digest)
            if Digest.of(await stream.read()) != part.digest:
                raise Internal(f"{part.digest} came with other bytes")
        return manifest.digest

    async def fill(self, tags: int, size: int) -> dict[str, str]:
        """Tag -> digest of ``size`` bytes of images, each with as many tags as are usual: v1.2.3, v1.2, v1 and the like."""
        names = [f"v{number}.0" for number in range(tags)]
        images = [names[at : at + TAGS_OF_ONE] for at in range(0, tags, TAGS_OF_ONE)]
        made: dict[str, str] = {}

        async def one(names: list[str]) -> None:
            made.update(dict.fromkeys(names, str(await self.push(size // len(images), *names))))

        await for_each(images, one, at_once=AT_ONCE)
        return made

    async def verify(self) -> list[str]:
        """What of the expected the first node does not serve, byte for byte; what tags share is read once."""
        wrong, whole, node = list[str](), set[Digest](), self.nodes[0]

        async def one(tags: list[str]) -> None:
            for tag in tags:
                try:
                    found = str(await self.pull(node, tag, whole))
                    whole.update(each.digest for each in (await node.get_manifest(CALL, self.repository, found)).blobs)
                except RegistryError as error:
                    found = error.message
                if found != self.expected[tag]:
                    wrong.append(f"{tag}: {found}")

        of_one = defaultdict[str, list[str]](list)
        for tag, digest in self.expected.items():
            of_one[digest].append(tag)
        await for_each(tuple(of_one.values()), one, at_once=AT_ONCE)
        return wrong

    async def run(self, push: bool) -> Seen:
        """Until stdin ends."""
        seen = Seen()
        work = [asyncio.create_task(self._pulling(seen, first)) for first in range(len(self.nodes))]
        work += [asyncio.create_task(self._pushing(seen))] if push else []
        await asyncio.to_thread(sys.stdin.read)
        for each in work:
            each.cancel()
        for ended in await asyncio.gather(*work, return_exceptions=True):
            if not isinstance(ended, asyncio.CancelledError):
                seen.broken.append(repr(ended))
        return seen

    async def _pulling(self, seen: Seen, first: int) -> None:
        """One client after the other, each asking the sister once when its own node fails it."""
        sister = self.nodes[(first + 1) % len(self.nodes)]
        for number in count():
            tag = list(self.expected)[number % len(self.expected)]
            try:
                await self._expect(self.nodes[first], tag)
            except OtherImage as wrong:
                seen.failed.append(str(wrong))
            except RegistryError as why:
                try:
                    await self._expect(sister, tag)
                    seen.retried += 1
                except (RegistryError, OtherImage) as error:
                    seen.failed.append(f"{tag}: {why!r}, then {error!r}")
            seen.pulls += 1
            await asyncio.sleep(0.05)

    async def _expect(self, node: RemoteRegistry, tag: str) -> None:
        """Raises RegistryError, OtherImage."""
        found = str(await self.pull(node, tag))
        if found != self.expected[tag]:
            raise OtherImage(f"{tag} is {found}")

    async def _pushing(self, seen: Seen) -> None:
        for number in count():
            tag = f"pushed-{number}"
            try:
                seen.pushed[tag] = str(await self.push(64 * 1024, tag))
            except Internal as error:
                seen.broken.append(f"{tag}: {error!r}")
            except RegistryError as error:
                seen.refused[tag] = repr(error)
            await asyncio.sleep(0.25)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def main(verb: str, asked: dict[str, Any]) -> Any:
    trust = ssl.create_default_context(cafile=asked["ca"])
    credentials = Credentials(asked["user"], asked["secret"])
    async with AsyncExitStack() as stack:
        nodes = []
        for url in asked["nodes"]:
            client = httpx.AsyncClient(verify=trust, timeout=httpx.Timeout(30.0, connect=3.0), trust_env=False)
            registry = RemoteRegistry(url, credentials=credentials, client=client, owned=True)
            nodes.append(await stack.enter_async_context(registry))
        load = Load(nodes, asked["repository"], asked.get("expected", {}))
        if verb == "fill":
            return await load.fill(asked["tags"], asked["bytes"])
        return await load.verify() if verb == "verify" else asdict(await load.run(asked["push"]))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))), flush=True)
