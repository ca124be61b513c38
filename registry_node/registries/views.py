"""Views: stateless rules as small wrappers over the port. What needs state runs inside the writing transaction.

A view delegates by a list of names, so that a method which the port gains later fails here instead of passing by.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import ManifestInvalid, NameInvalid, TagInvalid
from oci_wire.extension import TagReceipt, TagTransaction
from oci_wire.manifest import Manifest
from oci_wire.registry import Call, Chunks, Upload
from registry_node.exchange import NodeRegistry
from registry_node.settings import Rules

_DELEGATED = (
    *("resolve", "get_manifest", "stat_blob", "open_blob", "upload_status", "append", "finish_upload"),
    *("cancel_upload", "repositories", "tags", "referrers", "delete_tag", "delete_manifest", "delete_blob"),
    *("features", "take_lease", "renew_lease", "release_lease", "put_hold", "drop_hold", "read_transaction"),
    *("abort_transaction", "tag_states", "closure", "events"),
    *("mount_blob", "put_blob", "start_upload", "put_manifest", "commit_tags"),
)
# Tags that tools make from a digest: referrers fallback, cosign signatures. No naming rule is about them.
_OF_A_DIGEST = re.compile(r"sha(256|512)-[0-9a-f]{64,128}(\.[a-z]+)?")
_IMAGE_CONFIGS = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_MAX_CONFIG = 4 * 1024 * 1024


def _delegate(name: str) -> Callable[..., Any]:
    def call(self: View, *args: Any, **named: Any) -> Any:
        return getattr(self.inner, name)(*args, **named)

    return call


class View:
    """A registry over another one."""

    def __init__(self, inner: NodeRegistry) -> None:
        self.inner = inner


for _name in _DELEGATED:
    setattr(View, _name, _delegate(_name))


class Naming(View):
    """Names of repositories and tags must fit the scope's expressions, whole."""

    def __init__(self, inner: NodeRegistry, repository: str | None, tag: str | None) -> None:
        super().__init__(inner)
        self._repository = re.compile(repository) if repository else None
        self._tag = re.compile(tag) if tag else None

    async def mount_blob(self, call: Call, repository: str, digest: Digest, source: str | None) -> bool:
        self._check(repository)
        return await self.inner.mount_blob(call, repository, digest, source)

    async def put_blob(self, call: Call, repository: str, descriptor: Descriptor, chunks: Chunks) -> Descriptor:
        self._check(repository)
        return await self.inner.put_blob(call, repository, descriptor, chunks)

    async def start_upload(self, call: Call, repository: str, *, algorithm: str = "sha256") -> Upload:
        self._check(repository)
        return await self.inner.start_upload(call, repository, algorithm=algorithm)

    async def put_manifest(
        self, call: Call, repository: str, manifest: Manifest, *, tags: Sequence[str] = ()
    ) -> Descriptor:
        self._check(repository, tags)
        return await self.inner.put_manifest(call, repository, manifest, tags=tags)

    async def commit_tags(self, call: Call, repository: str, txid: str, transaction: TagTransaction) -> TagReceipt:
        self._check(repository, [each.tag for each in transaction.tags if each.to is not None])
        return await self.inner.commit_tags(call, repository, txid, transaction)

    def _check(self, repository: str, tags: Sequence[str] = ()) -> None:
        if self._repository is not None and not self._repository.fullmatch(repository):
            raise NameInvalid(f"{repository}: repositories of this scope must fit {self._repository.pattern}")
        for tag in tags:
            if self._tag is not None and not self._tag.fullmatch(tag) and not _OF_A_DIGEST.fullmatch(tag):
                raise TagInvalid(f"{tag}: tags of this scope must fit {self._tag.pattern}")


class RequiredLabels(View):
    """Images must carry these labels in their config. Indexes are judged by their children, artifacts have none."""

    def __init__(self, inner: NodeRegistry, labels: tuple[str, ...]) -> None:
        super().__init__(inner)
        self._labels = labels

    async def put_manifest(
        self, call: Call, repository: str, manifest: Manifest, *, tags: Sequence[str] = ()
    ) -> Descriptor:
        if manifest.config is not None and manifest.config.media_type in _IMAGE_CONFIGS:
            await self._check(call, repository, manifest.config)
        return await self.inner.put_manifest(call, repository, manifest, tags=tags)

    async def _check(self, call: Call, repository: str, config: Descriptor) -> None:
        if config.size > _MAX_CONFIG:
            raise ManifestInvalid(f"the image's config has {config.size} bytes; its labels cannot be read")
        stream = await self.inner.open_blob(call, repository, config.digest)
        try:
            labels = json.loads(await stream.read())["config"]["Labels"] or {}
        except (ValueError, LookupError, TypeError, RecursionError):
            labels = {}
        missing = [each for each in self._labels if not (isinstance(labels, dict) and labels.get(each))]
        if missing:
            raise ManifestInvalid(f"images of this scope need the labels {', '.join(missing)}")


def over(registry: NodeRegistry, rules: Rules) -> NodeRegistry:
    """The registry as this node's stateless rules show it. Raises re.error for an expression that is none."""
    if rules.require_labels:
        registry = cast(NodeRegistry, RequiredLabels(registry, rules.require_labels))
    if rules.repository_name or rules.tag_name:
        registry = cast(NodeRegistry, Naming(registry, rules.repository_name, rules.tag_name))
    return registry
