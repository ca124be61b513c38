"""Which upstreams may be asked for a name, under which name of theirs, and under which name the cache keeps it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from identity.grants import matches
from oci_wire.errors import NameUnknown
from registry_node.settings.mirror import Mirror, Upstream

BY_NS = "by-ns"  # names below it are the cache's own: a client that asks for one is refused


@dataclass(frozen=True, slots=True)
class Routed:
    """One that may be asked, and what it calls the repository (before its namespace)."""

    upstream: Upstream
    repository: str


@dataclass(frozen=True, slots=True)
class Routing:
    """What ``?ns=`` may name is a closed list: the hosts of the upstreams."""

    settings: Mirror

    def routes(self, repository: str, ns: str = "") -> tuple[Routed, ...]:
        """In order; at least one. Raises NameUnknown with the rule that forbids the name."""
        if repository == BY_NS or repository.startswith(f"{BY_NS}/"):
            raise NameUnknown(f"names below {BY_NS}/ are this mirror's own")
        chosen = self.upstreams(ns)
        mirror = self.settings
        if not matches(repository, mirror.repositories) or matches(repository, mirror.deny):
            raise NameUnknown(f"this mirror does not mirror {repository}")
        found = tuple(
            Routed(each, name)
            for each in chosen
            if _may(each, repository, name := f"library/{repository}" if _is_library(each, repository) else repository)
        )
        if not found:
            raise NameUnknown(f"none of {', '.join(each.name for each in chosen)} may be asked for {repository}")
        return found

    def key(self, repository: str, ns: str = "") -> str:
        """Two questions with one key go to the same upstreams for the same names: a key is a name that gets there
        without an ns, or stands below ``by-ns/``."""
        routes = self.routes(repository, ns)
        names = {each.repository for each in routes}
        name = names.pop() if len(names) == 1 else repository
        if ns and any(each.upstream.front for each in routes):  # what it gives depends on the ns as well
            return f"{BY_NS}/{_chain(routes)}/{_mark(ns)}/{name}"
        if self._lead_to(name, routes):
            return name
        return f"{BY_NS}/{_chain(routes)}/{name}" if ns else repository

    def _lead_to(self, name: str, routes: tuple[Routed, ...]) -> bool:
        try:
            return self.routes(name) == routes
        except NameUnknown:
            return False

    def upstreams(self, ns: str) -> tuple[Upstream, ...]:
        """Those that an ns means, in order; all without one. Raises NameUnknown."""
        if not ns:
            return self.settings.upstreams
        host = ns.lower().rstrip(".")
        found = tuple(each for each in self.settings.upstreams if host in map(str.lower, each.hosts))
        if not found:
            known = sorted({host for each in self.settings.upstreams for host in each.hosts})
            told = ", ".join(known) if known else "none is declared"
            raise NameUnknown(f"?ns={ns[:120]} is no registry that this mirror stands for: {told}")
        return found


def _is_library(upstream: Upstream, repository: str) -> bool:
    return upstream.official_images and "/" not in repository


def _may(upstream: Upstream, repository: str, there: str) -> bool:
    """The rules of an upstream speak of its names; those that people say are meant as well."""
    allowed = matches(there, upstream.repositories) or matches(repository, upstream.repositories)
    return allowed and not matches(there, upstream.deny) and not matches(repository, upstream.deny)


def _mark(ns: str) -> str:
    """As one part of a repository's name, whatever it holds."""
    return hashlib.blake2b(ns.lower().rstrip(".").encode(), digest_size=8).hexdigest()


def _chain(routes: tuple[Routed, ...]) -> str:
    """The names of those that are asked, as one part of a repository's name: `__` is in none of them."""
    return "__".join(each.upstream.name for each in routes)
