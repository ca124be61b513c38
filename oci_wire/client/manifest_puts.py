"""Manifests on their way to a remote registry: the bytes as they are, tags, and the fallback index."""

from __future__ import annotations

from collections.abc import Sequence

from oci_wire import routes
from oci_wire.client.fallback import Fallback
from oci_wire.client.reads import Reads
from oci_wire.client.transport import Answer, Ask
from oci_wire.descriptor import Descriptor
from oci_wire.errors import DigestInvalid
from oci_wire.manifest import Manifest
from oci_wire.reference import check_tag
from oci_wire.registry import Call

MAX_TAGS = 10  # tag parameters of one PUT (distribution-spec, main branch)


class ManifestPuts(Reads):
    async def put_manifest(
        self, call: Call, repository: str, manifest: Manifest, *, tags: Sequence[str] = ()
    ) -> Descriptor:
        """By tag when there is one, by digest with ``tag`` parameters otherwise; tags that the registry did not
        confirm are put one by one. Where the referrers API is missing, the fallback index is kept up to date."""
        for tag in tags:
            check_tag(tag)
        if len(tags) == 1 and manifest.digest.algorithm == "sha256":
            answer = await self._put(call, repository, manifest, tags[0])
        else:
            answer = await self._put(call, repository, manifest, str(manifest.digest), tags=tuple(tags[:MAX_TAGS]))
            confirmed = {each.strip() for value in answer.headers.get_list("oci-tag") for each in value.split(",")}
            for tag in (each for each in tags if each not in confirmed):
                await self._put(call, repository, manifest, tag)
        if manifest.subject is not None and "oci-subject" not in answer.headers:
            await Fallback(self, call, repository).add(manifest.subject.digest, manifest.referrer_descriptor)
        return manifest.descriptor

    async def _put(
        self, call: Call, repository: str, manifest: Manifest, reference: str, *, tags: tuple[str, ...] = ()
    ) -> Answer:
        name = self._where.there(repository)
        target = str(routes.manifest(name, reference, with_tags=tags))
        headers = {"Content-Type": manifest.media_type}
        ask = Ask("PUT", target, self._push(name), headers, manifest.content, expect=(201,))
        answer = await self._transport.send(call, ask)
        told = answer.headers.get("docker-content-digest", "")
        if told.startswith(f"{manifest.digest.algorithm}:") and told != str(manifest.digest):
            raise DigestInvalid(f"{self._transport.home} stored {told}, not {manifest.digest}")
        return answer
