"""Deleting at a remote registry. A second attempt that finds nothing has succeeded: the first answer was lost."""

from __future__ import annotations

from oci_wire import routes
from oci_wire.client.fallback import Fallback
from oci_wire.client.listings import Listings
from oci_wire.client.transport import Ask
from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, DigestInvalid, ManifestUnknown, RegistryError, Unsupported
from oci_wire.reference import check_tag
from oci_wire.registry import Call


class Deletes(Listings):
    async def delete_tag(self, call: Call, repository: str, tag: str) -> None:
        """Raises Unsupported from registries that delete by digest only."""
        name = self._where.there(repository)
        try:
            await self._remove(call, name, routes.manifest(name, check_tag(tag)), ManifestUnknown)
        except DigestInvalid as error:  # distribution 2 takes the tag for a digest
            raise Unsupported(f"{self._transport.home} deletes by digest only") from error

    async def delete_manifest(self, call: Call, repository: str, digest: Digest) -> None:
        """Where the referrers API is missing, the fallback index of its subject forgets it, too."""
        name = self._where.there(repository)
        subject = await self._subject(call, repository, digest)
        await self._remove(call, name, routes.manifest(name, str(digest)), ManifestUnknown)
        if subject is not None:
            await Fallback(self, call, repository).remove(subject, digest)

    async def delete_blob(self, call: Call, repository: str, digest: Digest) -> None:
        name = self._where.there(repository)
        await self._remove(call, name, routes.blob(name, digest), BlobUnknown)

    async def _subject(self, call: Call, repository: str, digest: Digest) -> Digest | None:
        """Whose fallback index lists this manifest, if there are such indexes here."""
        if self._has_referrers:
            return None
        manifest = await self.get_manifest(call, repository, str(digest))
        if manifest.subject is None:
            return None
        await self.referrers(call, repository, manifest.subject.digest)
        return None if self._has_referrers else manifest.subject.digest

    async def _remove(self, call: Call, name: str, route: routes.Route, unknown: type[RegistryError]) -> None:
        tried = False

        async def attempt() -> None:
            nonlocal tried
            again, tried = tried, True
            ask = Ask("DELETE", str(route), self._delete(name), expect=(202, 200, 204), default=unknown)
            try:
                await self._transport.send_once(call, ask)
            except unknown:
                if not again:
                    raise

        await self._transport.retry(attempt)
