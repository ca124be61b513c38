"""Where an image is: a registry, the repository's name in it, and what people call both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from oci_wire.extension import Extension
from oci_wire.registry import Registry


class ExtendedRegistry(Registry, Extension, Protocol):
    """What promotions moves between. ``features`` answers None where only the standard is spoken."""


@dataclass(frozen=True, slots=True)
class Place:
    """A repository at a node. ``repository`` is its name there (with an external node's namespace in front),
    ``name`` the one that people use. Places of one ``origin`` share a registry, so blobs can be mounted."""

    node: str
    scope: str
    registry: ExtendedRegistry
    repository: str
    name: str
    origin: str

    def __str__(self) -> str:
        return f"{self.scope or self.node}/{self.name}"
