"""What every part of the remote registry stands on: its transport, and the namespace in front of names."""

from __future__ import annotations

from dataclasses import dataclass

from oci_wire.client.tokens import Need, need
from oci_wire.client.transport import Transport
from oci_wire.reference import check_repository


@dataclass(frozen=True, slots=True)
class Where:
    """Names as callers know them, and as the registry does."""

    namespace: str = ""

    def there(self, repository: str) -> str:
        """The name at the registry. Raises NameInvalid."""
        return check_repository(f"{self.namespace}/{repository}" if self.namespace else repository)

    def here(self, name: str) -> str | None:
        """The caller's name of one of the registry's, None when it is outside of the namespace."""
        if not self.namespace:
            return name
        prefix = f"{self.namespace}/"
        return name.removeprefix(prefix) if name.startswith(prefix) else None


class Remote:
    """State shared by the parts; ``RemoteRegistry`` sets it."""

    _transport: Transport
    _where: Where
    _chunk_size: int
    _has_referrers: bool | None  # whether the registry has the referrers API; None: not asked yet

    def _pull(self, repository: str) -> Need:
        return need(repository, "pull")

    def _push(self, repository: str) -> Need:
        return need(repository, "pull", "push")

    def _delete(self, repository: str) -> Need:
        return need(repository, "delete")
