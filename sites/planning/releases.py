"""Whether a release on a host is still what was laid down: its MANIFEST says what belongs into it, file by file."""

from __future__ import annotations

from sites.desired.hosts import DesiredHost
from sites.planning.facts import HostFacts, TreeFacts

_NAMED = 3  # files, in a row for people


def edited(host: DesiredHost, facts: HostFacts) -> str:
    """What differs in the release that this host must have; "" when nothing does, or when it is not there yet."""
    return difference(facts.trees.get(host.release.identity), host.release.manifest)


def difference(tree: TreeFacts | None, manifest: str) -> str:
    """``manifest``: the hash of the MANIFEST that was laid down, "" when it is not known."""
    if tree is None:
        return ""
    differing = tree.differing
    if not differing and manifest and tree.manifest != manifest:
        differing = ("MANIFEST",)
    more = len(differing) - _NAMED
    return ", ".join(differing[:_NAMED]) + (f" and {more} more" if more > 0 else "")
