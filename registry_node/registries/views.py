"""Stateless rules as views over the port. Rules that must see the index run inside its transaction (storage/rules).

A view refuses before anything is written; what it does not know about it lets nobody do (see ``Through``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from identity.expressions import Expression
from identity.grants import WritePolicy
from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import Denied, ManifestInvalid, NameInvalid, TagInvalid
from oci_wire.extension import TagReceipt, TagTransaction
from oci_wire.manifest import Manifest
from oci_wire.registry import Call, Chunks, Upload
from registry_node.registries.through import Through, Whole
from registry_node.settings import Rules

IMAGE_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
# cosign's older layout wears an image's config; what it carries can never run.
COSIGN_LAYERS = ("application/vnd.dev.cosign.", "application/vnd.dsse.")
MAX_CONFIG = 1024 * 1024


def over(registry: Whole, rules: Rules) -> Whole:
    """The registry under those of the rules that need no index."""
    if rules.require_labels:
        registry = RequiredLabels(registry, rules.require_labels)
    if rules.repository_name is not None or rules.tag_name is not None:
        registry = Naming(registry, rules.repository_name, rules.tag_name)
    if rules.write is WritePolicy.READ_ONLY:
        registry = ReadOnly(registry)
    return registry


class Naming(Through):
    """Names of repositories and tags must match an expression as a whole. What is there already stays readable."""

    def __init__(self, inner: Whole, repository: str | None, tag: str | None) -> None:
        """Raises ValueError for an expression that is none."""
        super().__init__(inner)
        self._repository = _expression("repository_name", repository)
        self._tag = _expression("tag_name", tag)

    async def mount_blob(self, call: Call, repository: str, digest: Digest, source: str | None) -> bool:
        self._check(repository)
        return await super().mount_blob(call, repository, digest, source)

    async def put_blob(self, call: Call, repository: str, descriptor: Descriptor, chunks: Chunks) -> Descriptor:
        self._check(repository)
        return await super().put_blob(call, repository, descriptor, chunks)

    async def start_upload(self, call: Call, repository: str, *, algorithm: str = "sha256") -> Upload:
        self._check(repository)
        return await super().start_upload(call, repository, algorithm=algorithm)

    async def put_manifest(
        self, call: Call, repository: str, manifest: Manifest, *, tags: Sequence[str] = ()
    ) -> Descriptor:
        self._check(repository, tags)
        return await super().put_manifest(call, repository, manifest, tags=tags)

    async def commit_tags(self, call: Call, repository: str, txid: str, transaction: TagTransaction) -> TagReceipt:
        self._check(repository, (each.tag for each in transaction.tags if each.to is not None))
        return await super().commit_tags(call, repository, txid, transaction)

    def _check(self, repository: str, tags: Iterable[str] = ()) -> None:
        if self._repository is not None and not self._repository.fullmatch(repository):
            raise NameInvalid(f"this scope wants repository names like {self._repository.pattern}, not {repository!r}")
        for tag in tags:
            if self._tag is not None and not _is_of_the_protocol(tag) and not self._tag.fullmatch(tag):
                raise TagInvalid(f"this scope wants tags like {self._tag.pattern}, not {tag!r}")


class RequiredLabels(Through):
    """Images must carry these labels. Artifacts and indexes have none: an index's images were asked already."""

    def __init__(self, inner: Whole, labels: tuple[str, ...]) -> None:
        super().__init__(inner)
        self._labels = labels

    async def put_manifest(
        self, call: Call, repository: str, manifest: Manifest, *, tags: Sequence[str] = ()
    ) -> Descriptor:
        if _is_runnable(manifest):
            await self._check(call, repository, manifest)
        return await super().put_manifest(call, repository, manifest, tags=tags)

    async def _check(self, call: Call, repository: str, manifest: Manifest) -> None:
        labels = await _labels(self.inner, call, repository, manifest)
        missing = [each for each in self._labels if not labels.get(each)]
        if missing:
            raise Denied(
                f"this scope wants images with the labels {', '.join(self._labels)}; missing: {', '.join(missing)}. "
                "Add LABEL lines to the build and push again",
                detail={"missing": missing},
            )


class ReadOnly(Through):
    """Nothing can be written or deleted."""

    async def _refuse(self, *_: object, **__: object) -> Any:
        raise Denied("this scope is read-only")

    mount_blob = put_blob = start_upload = append = finish_upload = put_manifest = _refuse
    delete_tag = delete_manifest = delete_blob = commit_tags = _refuse


def _expression(field: str, pattern: str | None) -> Expression | None:
    try:
        return None if pattern is None else Expression.compile(pattern)
    except ValueError as error:
        raise ValueError(f"rules.{field}: {str(pattern)[:200]!r} is not a regular expression: {error}") from None


def _is_of_the_protocol(tag: str) -> bool:
    """``sha256-<hex>`` and ``sha256-<hex>.sig``: the referrers tag schema and cosign name them, not people."""
    return re.fullmatch(r"sha256-[0-9a-f]{64}(\.(sig|att|sbom))?|sha512-[0-9a-f]{121,128}", tag) is not None


def _is_runnable(manifest: Manifest) -> bool:
    if manifest.config is None or manifest.config.media_type not in IMAGE_CONFIGS:
        return False
    layers = [each for each in manifest.blobs if each is not manifest.config]
    return not layers or not all(each.media_type.startswith(COSIGN_LAYERS) for each in layers)


async def _labels(registry: Whole, call: Call, repository: str, manifest: Manifest) -> dict[str, Any]:
    """Raises ManifestInvalid when the config cannot be read: it fails closed."""
    assert manifest.config is not None
    stream = await registry.open_blob(call, repository, manifest.config.digest)
    if stream.descriptor.size > MAX_CONFIG:
        raise ManifestInvalid(f"the config of this image has more than {MAX_CONFIG} bytes; its labels cannot be read")
    try:
        config = json.loads(await stream.read())
        labels = (config.get("config") or {}).get("Labels") or {}
        return dict(labels)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise ManifestInvalid("the config of this image is not JSON with labels") from None
