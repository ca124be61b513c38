"""Manifests and blobs of a remote registry. Nothing comes out of here whose digest was not checked."""

from __future__ import annotations

from dataclasses import replace

import httpx

from oci_wire import routes
from oci_wire.client.blob_stream import Blob
from oci_wire.client.transport import Ask
from oci_wire.client.where import Remote
from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest, looks_like_digest
from oci_wire.errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
    RegistryError,
    Unreachable,
)
from oci_wire.manifest import ACCEPTED, MAX_BYTES, Manifest
from oci_wire.reference import check_tag
from oci_wire.registry import BlobStream, ByteRange, Call

_ACCEPT = {"Accept": ", ".join(ACCEPTED)}


class Reads(Remote):
    async def ping(self, call: Call) -> None:
        """Whether it is a registry that lets us in (``/v2/``). Raises Unauthorized, Unreachable, NameUnknown."""
        await self._transport.send(call, Ask("GET", str(routes.base())))

    async def answers(self) -> bool:
        """Whether anybody answers there at all, whatever they say: one request, past ``retry``."""
        try:
            await self._transport.send_once(Call(), Ask("GET", str(routes.base())))
        except RegistryError as error:
            return not isinstance(error, Unreachable)
        return True

    async def resolve(
        self, call: Call, repository: str, reference: str, *, known: Descriptor | None = None
    ) -> Descriptor:
        """One HEAD; a registry that leaves out digest, length or type is asked for the manifest.

        ``known``: what it named before. One that knows conditions says no more than that it still does (RFC 9110
        section 13.1.2)."""
        ask = self._ask("HEAD", repository, reference)
        if known is not None:
            condition = {"If-None-Match": f'"{known.digest}"'}
            ask = replace(ask, headers={**ask.headers, **condition}, expect=(200, 304))
        answer = await self._transport.send(call, ask)
        if answer.status == 304 and known is not None:
            same = _header_digest(answer.headers) in (None, known.digest)
            return known if same else await self.resolve(call, repository, reference)
        digest = _named(reference) or _header_digest(answer.headers)
        length = answer.headers.get("content-length", "")
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
        if digest is None or not length.isdigit() or length == "0" or media_type not in ACCEPTED:
            return (await self.get_manifest(call, repository, reference)).descriptor
        return Descriptor(media_type, digest, int(length))

    async def get_manifest(self, call: Call, repository: str, reference: str) -> Manifest:
        answer = await self._transport.send(call, self._ask("GET", repository, reference))
        if len(answer.content) > MAX_BYTES:
            raise ManifestTooLarge(f"{reference} has more than {MAX_BYTES} bytes")
        wanted = _named(reference) or _header_digest(answer.headers)
        algorithm = wanted.algorithm if wanted else "sha256"
        if wanted and Digest.of(answer.content, algorithm) != wanted:
            raise DigestInvalid(f"{self._transport.home} sent other bytes than {wanted} for {repository}")
        return Manifest.parse(answer.content, answer.headers.get("content-type", ""), algorithm=algorithm)

    async def stat_blob(self, call: Call, repository: str, digest: Digest) -> Descriptor:
        name = self._where.there(repository)
        ask = Ask("HEAD", str(routes.blob(name, digest)), self._pull(name), default=BlobUnknown)
        answer = await self._transport.send(call, ask)
        length = answer.headers.get("content-length", "")
        if not length.isdigit():
            async with await self.open_blob(call, repository, digest) as stream:
                return stream.descriptor
        return Descriptor(OCTET_STREAM, digest, int(length))

    async def open_blob(
        self, call: Call, repository: str, digest: Digest, span: ByteRange | None = None, *, verify: bool = True
    ) -> BlobStream:
        """The stream resumes where it was cut; a whole blob withholds its last chunk until its digest matches, unless
        its reader says that they ``verify`` it themselves."""
        name = self._where.there(repository)
        ask = Ask("GET", str(routes.blob(name, digest)), self._pull(name), expect=(200, 206), default=BlobUnknown)
        return await Blob(self._transport, call, ask, digest).open(span, verify=verify)

    def _ask(self, method: str, repository: str, reference: str) -> Ask:
        name = self._where.there(repository)
        if _named(reference) is None:
            check_tag(reference)
        target = str(routes.manifest(name, reference))
        return Ask(method, target, self._pull(name), _ACCEPT, default=ManifestUnknown, limit=MAX_BYTES + 1)


def _named(reference: str) -> Digest | None:
    return Digest.parse(reference) if looks_like_digest(reference) else None


def _header_digest(headers: httpx.Headers) -> Digest | None:
    given = headers.get("docker-content-digest")
    try:
        return Digest.parse(given) if given else None
    except DigestInvalid:
        return None  # an algorithm that we do not compute: the bytes have a sha256, too
