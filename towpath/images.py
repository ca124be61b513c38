"""Verbs about images where they lie: ls, inspect, copy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from cyclopts import Parameter

from oci_wire.closure import Link
from oci_wire.descriptor import Platform
from oci_wire.manifest import Manifest
from oci_wire.reference import check_tag
from oci_wire.registry import Call, every
from promotions.place import Place
from promotions.retry import RetryPolicy
from promotions.transfer import Closure, Transfer, read_closure
from topology.sizes import binary
from towpath.access import ANYBODY, Who
from towpath.exits import Exit
from towpath.output import PLAIN, Options, Output
from towpath.problem import Problem
from towpath.progress import watching
from towpath.references import LAYOUT, Located, Places
from towpath.workspace import HERE, Where, Workspace

Image = Annotated[str, Parameter(help="SCOPE/REPO:TAG, NODE/REPO:TAG, HOST:PORT/REPO:TAG or oci:FOLDER:TAG.")]


async def copy(
    source: Image,
    target: Image,
    /,
    *,
    who: Who = ANYBODY,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Copy an image with all that belongs to it: platforms, layers, signatures. Bytes and digests stay as they are."""
    out = options.open()
    async with Places(where.open_if_any(), who.credentials()) as places:
        here = await places.locate(source)
        there = await places.locate(target, create=True)
        tags = _target_tags(here, there)
        root = await _manifest(here)
        if there.digest and there.digest != str(root.digest):
            raise Problem(
                "digest-differs",
                f"{here} is {root.digest}, not {there.digest}",
                next="leave the digest out of the target, or name that image as the source",
                exit=Exit.INTEGRITY,
            )
        with watching(out) as watch:
            transfer = Transfer(here.place, there.place, RetryPolicy(), watch=watch)
            closure = await read_closure(here.place, Call(), root.digest)
            await transfer.copy(closure)
        await _tag(there, closure, root, tags)
    _say_copied(out, f"{here}@{root.digest}", there, transfer, tags)
    return Exit.DONE


def _target_tags(here: Located, there: Located) -> list[str]:
    tag = there.tag or ("" if there.digest else here.tag)
    return [check_tag(tag)] if tag else []


async def _manifest(image: Located) -> Manifest:
    if not image.reference and not str(image.place).startswith(LAYOUT):  # a layout may hold one image without a name
        raise Problem(
            "reference-unreadable",
            f"{image} names neither tag nor digest",
            next=f"write {image}:TAG; towpath ls {image} lists the tags",
            exit=Exit.USAGE,
        )
    return await image.place.registry.get_manifest(Call(), image.place.repository, image.reference)


async def _tag(there: Located, closure: Closure, root: Manifest, tags: list[str]) -> None:
    """Tags last, when everything behind them is there."""
    manifests = {link.descriptor.digest: link.manifest for link in closure.links}
    for tag, digest in closure.tags.items():
        signature = manifests[digest]
        assert signature is not None
        await there.place.registry.put_manifest(Call(), there.place.repository, signature, tags=[tag])
    if tags:
        await there.place.registry.put_manifest(Call(), there.place.repository, root, tags=tags)


def _say_copied(out: Output, source: str, there: Located, moved: Transfer, tags: list[str]) -> None:
    digest = source.rpartition("@")[2]
    target = f"{there.place}{':' + tags[0] if tags else ''}@{digest}"
    amounts = {"sent": moved.sent, "mounted": moved.mounted, "present": moved.present}
    already = binary(moved.present + moved.mounted)
    text = f"copied {target}  {binary(moved.sent)} sent, {already} already there"
    out.emit({"source": source, "target": target, "tags": tags, "digest": digest, **amounts}, text)


async def ls(
    place: Annotated[str, Parameter(help="A scope or node (lists repositories), or SCOPE/REPOSITORY (lists tags).")],
    /,
    *,
    who: Who = ANYBODY,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """List repositories of a scope, or tags of a repository, with the digests they show now."""
    out = options.open()
    async with Places(where.open_if_any(), who.credentials()) as places:
        if "/" not in place and places.workspace is not None:
            _check_declared(place, places.workspace)
            registry = (await places.locate(f"{place}/any")).place.registry
            async for name in every(lambda after: registry.repositories(Call(), after=after)):
                out.emit({"repository": name}, f"{place}/{name}")
            return Exit.DONE
        located = await places.locate(place)
        at = located.place
        async for tag in every(lambda after: at.registry.tags(Call(), at.repository, after=after)):
            found = await at.registry.resolve(Call(), at.repository, tag)
            out.emit({"tag": tag, "digest": str(found.digest), "size": found.size}, f"{tag}  {found.digest}")
    return Exit.DONE


def _check_declared(name: str, workspace: Workspace) -> None:
    """Raises Problem (exit 2): said about the name as it was typed."""
    known = [*workspace.topology.scopes, *workspace.topology.nodes]
    if name not in known:
        what = f"{name!r} is no scope or node of {workspace.file}"
        raise Problem("unknown-name", what, next=f"known: {', '.join(known)}", exit=Exit.USAGE)


async def inspect(image: Image, /, *, who: Who = ANYBODY, where: Where = HERE, options: Options = PLAIN) -> Exit:
    """Digest, size, platforms, layers and what refers to an image."""
    out = options.open()
    async with Places(where.open_if_any(), who.credentials()) as places:
        located = await places.locate(image)
        root = await _manifest(located)
        closure = await read_closure(located.place, Call(), root.digest)
        platforms = [each async for each in _platforms(located.place, root)]
    record = _described(located, root, closure, platforms)
    lines = [f"{name + ':':<12} {_shown(value)}" for name, value in record.items() if value not in ("", [], None)]
    out.emit(record, "\n".join(lines))
    return Exit.DONE


async def _platforms(place: Place, root: Manifest) -> AsyncIterator[str]:
    if root.is_index:
        for child in root.children:
            yield str(child.platform) if child.platform else child.media_type
    elif root.config is not None:
        config = await (await place.registry.open_blob(Call(), place.repository, root.config.digest)).read()
        yield _platform_of(config)


def _platform_of(config: bytes) -> str:
    """An image's config says what it runs on; the config of another artifact says nothing of the kind."""
    try:
        found = json.loads(config)
        return str(Platform(found["os"], found["architecture"], found.get("variant", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def _described(located: Located, root: Manifest, closure: Closure, platforms: list[str]) -> dict[str, Any]:
    return {
        "image": str(located),
        "digest": str(root.digest),
        "media_type": root.media_type,
        "platforms": [each for each in platforms if each],
        "layers": len({link.descriptor.digest for link in closure.blobs if "layer" in link.descriptor.media_type}),
        "bytes": sum(link.descriptor.size for link in closure.needed),
        "evidence": [f"{_artifact(link)} {link.descriptor.digest}" for link in closure.evidence if link.manifest],
    }


def _artifact(link: Link) -> str:
    return link.tag or (link.manifest.artifact_type if link.manifest else "") or link.kind


def _shown(value: Any) -> str:
    return ("\n" + " " * 13).join(value) if isinstance(value, list) else str(value)
