"""What a mirror asks of its upstreams. ``registries/upstreams`` answers it; tests have a double.

ManifestUnknown, BlobUnknown and NameUnknown mean that every upstream which may be asked has said that it is not there.
Any other error means that nobody knows: it is never taken for "not there".
"""

from __future__ import annotations

from typing import Protocol

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, ManifestUnknown, NameUnknown
from oci_wire.manifest import Manifest
from oci_wire.registry import BlobStream, ByteRange, Call, Page
from registry_node.registries.upstreams.asked import Answer, May, UpstreamStatus, anybody

ABSENT = (ManifestUnknown, BlobUnknown, NameUnknown)


class Sources(Protocol):
    """``repository`` is the client's name, ``call.ns`` says of which registry."""

    def key(self, repository: str, ns: str) -> str:
        """The name under which copies are kept. Raises NameUnknown: no upstream may be asked for it."""

    async def resolve(
        self, call: Call, repository: str, reference: str, *, known: Descriptor | None = None
    ) -> Answer[Descriptor]:
        """``known``: what a tag named when it was last asked, which an upstream may confirm in fewer words."""

    async def get_manifest(
        self, call: Call, repository: str, reference: str, *, refresh: bool = False
    ) -> Answer[Manifest]:
        """``refresh``: a copy of an older one will do, if the upstream's budget is nearly spent."""

    async def stat_blob(
        self, call: Call, repository: str, digest: Digest, *, prefer: str = "", layer: Descriptor | None = None
    ) -> Answer[Descriptor]: ...

    async def open_blob(
        self,
        call: Call,
        repository: str,
        digest: Digest,
        span: ByteRange | None = None,
        *,
        prefer: str = "",
        layer: Descriptor | None = None,
        may: May = anybody,
    ) -> Answer[BlobStream]:
        """The bytes as they come, unverified. ``prefer``: the upstream to ask first; ``layer``: the blob as a manifest
        names it, with the ``urls`` where it may lie when no upstream has it. ``may``: whether an upstream may be asked,
        said just before; one that may not and could have had it makes the error NotShared."""

    async def tags(
        self, call: Call, repository: str, *, after: str = "", limit: int | None = None
    ) -> Answer[Page[str]]: ...

    async def referrers(
        self, call: Call, repository: str, digest: Digest, *, artifact_type: str = "", after: str = ""
    ) -> Answer[Page[Descriptor]]: ...

    def blame(self, upstream: str, digest: Digest) -> None:
        """Bytes of this upstream were not these: another one is asked for them first."""

    def status(self) -> tuple[UpstreamStatus, ...]: ...

    async def aclose(self) -> None: ...
