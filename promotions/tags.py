"""What a digest is called at the target: tag templates of an edge, filled from the source tag and the image's labels."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from oci_wire.errors import BlobUnknown, TagInvalid
from oci_wire.manifest import Manifest
from oci_wire.reference import check_tag
from oci_wire.registry import Call
from promotions.place import Place
from topology.edges import PLACEHOLDER

MAX_CONFIG = 8 * 1024 * 1024  # bytes of an image config


class TagsUnclear(Exception):
    """A template cannot be filled for this image; the message says which and why."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest at a place, the tag that it was asked for by ("" when there is none), and when (since the epoch)."""

    place: Place
    call: Call
    manifest: Manifest
    tag: str
    at: float

    def __str__(self) -> str:
        return f"{self.place}@{self.manifest.digest}"


async def target_tags(templates: Iterable[str], image: Image) -> tuple[str, ...]:
    """The tags that the templates give for this image, sorted, each once. Raises TagsUnclear."""
    found = set()
    for template in templates:
        values = {name: await _value(name, template, image) for name in set(PLACEHOLDER.findall(template))}
        filled = PLACEHOLDER.sub(lambda found, values=values: values[found[1]], template)  # type: ignore[misc]
        found.add(_checked(filled, template))
    return tuple(sorted(found))


def _checked(filled: str, template: str) -> str:
    try:
        return check_tag(filled)
    except TagInvalid as error:
        raise TagsUnclear(f"the tag template {template!r} gives no tag: {error.message}") from None


async def _value(name: str, template: str, image: Image) -> str:
    if name == "tag":
        if not image.tag:
            reason = f"the tag template {template!r} needs the source's tag, and a digest alone was given"
            raise TagsUnclear(reason, f"ask for {image.place.name}:TAG@{image.manifest.digest}")
        return image.tag
    if name == "digest12":
        return image.manifest.digest.short
    if name == "date":
        return datetime.fromtimestamp(image.at, UTC).strftime("%Y%m%d")
    return await _label(name.removeprefix("label:"), template, image)


async def _label(key: str, template: str, image: Image) -> str:
    """One value: that of the manifest's annotation, else the one that every platform's label gives."""
    own = image.manifest.annotations.get(key)
    if own:
        return own
    values = {value for value in await _labels(key, image) if value}
    if len(values) == 1:
        return values.pop()
    if not values:
        raise TagsUnclear(f"the tag template {template!r} needs the label {key}, which {image} does not have")
    shown = ", ".join(sorted(each[:40] for each in values))
    raise TagsUnclear(f"the tag template {template!r} needs one value of {key}; the platforms of {image} say {shown}")


async def _labels(key: str, image: Image) -> list[str]:
    place, call, manifest = image.place, image.call, image.manifest
    if not manifest.is_index:
        return [await _config_label(key, place, call, manifest)]
    values = []
    for child in manifest.children:
        if child.platform is not None and child.platform.os == "unknown":  # buildkit's attestations
            continue
        read = await place.registry.get_manifest(call, place.repository, str(child.digest))
        values.append(child.annotations.get(key) or read.annotations.get(key, ""))
        if not values[-1] and not read.is_index:
            values[-1] = await _config_label(key, place, call, read)
    return values


async def _config_label(key: str, place: Place, call: Call, manifest: Manifest) -> str:
    if manifest.config is None or manifest.config.size > MAX_CONFIG:
        return ""
    try:
        stream = await place.registry.open_blob(call, place.repository, manifest.config.digest)
        labels = json.loads(await stream.read())["config"]["Labels"]
        value = labels.get(key, "")
    except (BlobUnknown, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return value if isinstance(value, str) else ""
