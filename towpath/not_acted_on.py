"""What a topology declares and nothing here acts on yet. Said by lint, up and the controller; listed with what acts on
the rest in docs/reference-status.md. A row goes when its part is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from topology.model import KeylessTrust, Scope, SignatureGate, Topology

_Found = Callable[[Topology], Iterable[str]]


def not_acted_on(topology: Topology) -> tuple[str, ...]:
    """The attributes in use, each with where: ``quota.warnAt (prod)``."""
    return tuple(f"{name} ({', '.join(places)})" for name, find in _ROWS.items() if (places := tuple(find(topology))))


def _scopes(test: Callable[[Scope], Any]) -> _Found:
    return lambda topology: (name for name, scope in topology.scopes.items() if test(scope))


def _replications(test: Callable[[Any], Any]) -> _Found:
    return lambda topology: (each.id for each in topology.replications if test(each))


def _groups(topology: Topology) -> Iterator[str]:
    return (name for name, group in topology.groups.items() if group.oidc is not None)


def _gates(topology: Topology) -> Iterator[str]:
    return (name for name, gate in topology.gates.items() if not isinstance(gate, SignatureGate))


def _keyless(topology: Topology) -> Iterator[str]:
    return (name for name, entry in topology.trust.items() if isinstance(entry, KeylessTrust))


def _per(name: str) -> _Found:
    return _scopes(lambda scope: scope.cleanup and any(getattr(rule, name) for rule in scope.cleanup.keep))


_ROWS: dict[str, _Found] = {
    "sla": _scopes(lambda scope: scope.sla),
    "quota.perRepository": _scopes(lambda scope: scope.quota and scope.quota.per_repository),
    "quota.warnAt": _scopes(lambda scope: scope.quota and scope.quota.warn_at),
    "quota.onExceed evict-lru": _scopes(lambda scope: scope.quota and scope.quota.on_exceed == "evict-lru"),
    "cleanup.untaggedAfter": _scopes(lambda scope: scope.cleanup and scope.cleanup.untagged_after),
    "cleanup.keep.pulledWithin": _per("pulled_within"),
    "overrides": _scopes(lambda scope: scope.overrides),
    "gates that refuse until they are built": _gates,
    "keyless trust": _keyless,
    "replication tags.semver, tags.newest": _replications(lambda each: each.tags.semver or each.tags.newest),
    "backups": lambda topology: (each.scope for each in topology.backups),
    "issuers": lambda topology: topology.issuers,
    "groups.oidc": _groups,
}
