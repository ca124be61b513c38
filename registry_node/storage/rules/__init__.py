"""Rules that need the index: ``rule(tx, change, now)`` raises, in the transaction that would make the change.

A wrapper around the port would check first and act later: a race. Stateless rules are ``registries/views.py``.

| rule | refuses |
|---|---|
| immutable | moving or removing an immutable tag, removing its digest |
| holds | removing a digest that an owner needs |
| quota | a blob for which the scope has no room |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from registry_node.storage.sql import Connection


@dataclass(frozen=True, slots=True)
class TagSet:
    """``old`` None: the tag is new; ``new`` None: it is removed."""

    repository: str
    repository_id: int
    tag: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class ManifestRemoved:
    repository: str
    repository_id: int
    digest: str


@dataclass(frozen=True, slots=True)
class BlobAdded:
    repository: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class BlobRemoved:
    repository: str
    repository_id: int
    digest: str


Change = TagSet | ManifestRemoved | BlobAdded | BlobRemoved
Rule = Callable[[Connection, Change, float], None]
