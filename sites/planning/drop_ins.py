"""What an operator gave our units beside their files (``systemctl edit``, systemd.unit(5)): it is theirs, so apply leaves
it where it is, says so, and drift shows it."""

from __future__ import annotations

from collections.abc import Iterator

from sites.planning.facts import HostFacts


def drop_ins(facts: HostFacts) -> Iterator[tuple[str, str]]:
    """Unit and path. Those that change every unit of a host (``service.d``) are none of ours."""
    for unit, found in facts.units.items():
        for path in found.drop_ins:
            if path.rpartition("/")[0].endswith((f"/{unit}.d", "/towpath-.service.d")):
                yield unit, path


def warnings(host: str, facts: HostFacts) -> Iterator[str]:
    """One for each, as apply and plan say them."""
    for unit, path in drop_ins(facts):
        yield (f"warning[unit-drop-in]: {host}: {path} changes {unit}; it stays (systemctl revert {unit})")
