"""``onTagChange``: before a tag moves, the digest that it showed gets a name of its own, in the same step.

Nobody has to have pushed that name: it is made of the scope's template. A name that already shows another digest gets
the digest behind it, so that two moves on one day (``{tag}-{date}``) lose nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from oci_wire.digest import Digest
from oci_wire.errors import TagInvalid
from oci_wire.extension import TagChange
from oci_wire.reference import check_tag
from oci_wire.registry import Call
from promotions.place import Place
from promotions.retention import is_evidence
from promotions.tags import TagsUnclear
from promotions.transfer import current
from topology.edges import PLACEHOLDER
from topology.model import Topology

_SHAPES = {"tag": ".+", "date": "[0-9]{8}"}


@dataclass(frozen=True, slots=True)
class FormerNames:
    """How a scope calls what its tags showed before; without a template nothing is named."""

    template: str | None

    @classmethod
    def of(cls, topology: Topology, scope: str) -> FormerNames:
        declared = topology.scopes.get(scope)
        return cls(declared.on_tag_change if declared else None)

    async def changes(self, place: Place, call: Call, moves: Iterable[TagChange], now: float) -> tuple[TagChange, ...]:
        """What goes into the same transaction as these moves. Raises TagsUnclear, RegistryError."""
        if self.template is None:
            return ()
        found = {}
        for move in moves:
            if move.expect is None or move.expect == move.to or is_evidence(move.tag):
                continue
            for change in await self._kept(place, call, move.tag, move.expect, now):
                found[change.tag] = change
        return tuple(found.values())

    async def _kept(self, place: Place, call: Call, tag: str, former: str, now: float) -> tuple[TagChange, ...]:
        assert self.template is not None
        name = _render(self.template, tag, former, now)
        shown = await current(place, call, name)
        if shown not in (None, former):
            name = _checked(f"{name}-{Digest.parse(former).short}", self.template)
            shown = await current(place, call, name)
        return () if shown == former else (TagChange(tag=name, expect=None, to=former),)

    def names(self, tag: str, digest: str) -> bool:
        """Whether the scope itself gave this name to this digest: it is nobody's leftover."""
        if self.template is None:
            return False
        short = re.escape(Digest.parse(digest).short)
        shapes: dict[str, str] = {**_SHAPES, "digest12": short}
        parts = PLACEHOLDER.split(self.template)
        pattern = "".join(
            shapes.get(part, re.escape(part)) if at % 2 else re.escape(part) for at, part in enumerate(parts)
        )
        return re.fullmatch(f"{pattern}(-{short})?", tag) is not None


def _render(template: str, tag: str, former: str, now: float) -> str:
    values = {
        "tag": tag,
        "date": datetime.fromtimestamp(now, UTC).strftime("%Y%m%d"),
        "digest12": Digest.parse(former).short,
    }
    filled = PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)
    return _checked(filled, template)


def _checked(name: str, template: str) -> str:
    try:
        return check_tag(name)
    except TagInvalid as error:
        raise TagsUnclear(f"onTagChange {template!r} gives no tag: {error.message}") from None
