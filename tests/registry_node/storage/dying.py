"""A process that pushes images and dies at one point of the storage: ``python -m tests.registry_node.storage.dying
FOLDER POINT COUNT``. It prints what was acknowledged; at the COUNT-th pass of the point it kills itself."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oci_wire.digest import Digest
from oci_wire.registry import once
from registry_node.registries.local import LocalRegistry
from registry_node.storage import files, journal, store
from registry_node.storage.commits import Commits
from registry_node.storage.files import BlobFiles
from registry_node.storage.journal import Journal
from tests.registry_node.pushes import CI, CONFIG, change, manifest_of, put_blob, set_tags

# Where it may die: the owner of a function, its name, and whether after it rather than before.
POINTS: dict[str, tuple[Any, str, bool]] = {
    "between two slices of a write": (files.os, "write", True),
    "before a file is synced": (files.os, "fsync", False),
    "before a blob is put in place": (BlobFiles, "keep", False),
    "after the rename, before the folder is synced": (files, "sync_folder", False),
    "after a blob is in place": (BlobFiles, "keep", True),
    "in the writing transaction": (store, "Transaction", True),
    "before a unit of a group": (Commits, "_beside_others", False),
    "after a unit of a group": (Commits, "_beside_others", True),
    "after the commit of a group, before its answers": (Commits, "_answer", False),
    "after the commit, before the journal": (Journal, "catch_up", False),
    "after the journal was written, before its sync": (journal, "append", True),
    "after the journal": (Journal, "catch_up", True),
}


def die_at(point: str, count: int) -> None:
    owner, name, after = POINTS[point]
    original: Callable[..., Any] = getattr(owner, name)
    passes = itertools.count(1)  # several threads come by

    def dying(*args: Any, **named: Any) -> Any:
        mine = next(passes)
        if mine == count and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **named)
        if mine == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)


def layer(number: int) -> bytes:
    return f"layer {number} ".encode() * 20_000


def acknowledge(*words: object) -> None:
    print(*words, flush=True)


async def push(registry: LocalRegistry, number: int) -> None:
    content = layer(number)
    upload = await registry.start_upload(CI, "a")
    acknowledge("session", upload.id, 0)
    half = (await registry.append(CI, "a", upload.id, once(content[:100_000]))).offset
    acknowledge("session", upload.id, half)
    await registry.finish_upload(CI, "a", upload.id, Digest.of(content), once(content[half:]), start=half)
    acknowledge("blob", number)
    image = manifest_of(content)
    await registry.put_manifest(CI, "a", image, tags=[f"v{number}"])
    acknowledge("tag", f"v{number}", image.digest)
    previous = manifest_of(layer(number - 1)) if number else None
    await set_tags(registry, "a", change("latest", previous, image), change("newest", previous, image))
    acknowledge("both", image.digest)
    await asyncio.gather(*(tag_one(registry, number, each) for each in range(8)))  # most of them in one commit


async def tag_one(registry: LocalRegistry, number: int, each: int) -> None:
    image, tag = manifest_of(layer(number), annotations={"each": str(each)}), f"beside-{number}.{each}"
    await registry.put_manifest(CI, "a", image, tags=[tag])
    acknowledge("tag", tag, image.digest)


async def main(folder: Path, point: str, count: int) -> None:
    registry = LocalRegistry.open(folder)
    await put_blob(registry, "a", CONFIG)
    die_at(point, count)
    for number in range(1000):
        await push(registry, number)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
