"""The globs by which a topology chooses among what a node holds: of grants, promotions, replications and cleanup rules.

``plan`` asks the nodes whether each of them fits anything live (D9)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from topology.findings import Breach
from topology.model import Topology
from topology.values import EVERYTHING

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """``says``: whose it is, ``promotion `to-prod```. A filter of tags looks at those of repositories that fit
    ``repositories``; one of repositories has none."""

    path: Path
    says: str
    glob: str
    repositories: tuple[str, ...] = ()

    @property
    def of_tags(self) -> bool:
        return bool(self.repositories)

    def breach(self, node: str) -> Breach:
        """D9, when nothing of the node fits."""
        what = "tag" if self.of_tags else "repository"
        message = f"{self.says} is for a {what} that fits `{self.glob}`, and `{node}` has none"
        return Breach(
            self.path, message, "correct the pattern, or leave it as it is when such an image is still to come"
        )


def filters(topology: Topology) -> Mapping[str, tuple[Filter, ...]]:
    """By the node whose content they choose from; those that fit everything are left out."""
    found: dict[str, list[Filter]] = defaultdict(list)
    here: Path
    for scope, declared in topology.scopes.items():
        node = topology.primary_name(scope)
        for index, grant in enumerate(declared.grants):
            here, says = ("scopes", scope, "grants", index), f"a grant of scope `{scope}` to `{grant.to}`"
            found[node] += _of((*here, "repositories"), says, grant.repositories)
            found[node] += _of((*here, "tags"), says, grant.tags, grant.repositories)
        for index, rule in enumerate(declared.cleanup.keep if declared.cleanup else ()):
            path: Path = ("scopes", scope, "cleanup", "keep", index, "tags")
            found[node] += _of(path, f"a keep rule of scope `{scope}`", rule.tags or (), EVERYTHING)
    for index, edge in enumerate(topology.promotions):
        node, path = topology.primary_name(edge.source), ("promotions", index, "repositories")
        found[node] += _of(path, f"promotion `{edge.id}`", edge.repositories)
    for index, each in enumerate(topology.replications):
        here, says = ("replications", index), f"replication `{each.id}`"
        found[each.source] += _of((*here, "repositories"), says, each.repositories)
        found[each.source] += _of((*here, "tags", "globs"), says, each.tags.globs, each.repositories)
    return {node: tuple(some) for node, some in found.items() if some}


def _of(path: Path, says: str, globs: Iterable[str], repositories: tuple[str, ...] = ()) -> Iterator[Filter]:
    for number, glob in enumerate(globs):
        if glob not in EVERYTHING:
            yield Filter((*path, number), says, glob, repositories)
