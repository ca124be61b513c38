"""Image names within a topology: SCOPE/REPOSITORY:TAG, read without asking a registry."""

from __future__ import annotations

from oci_wire.errors import RegistryError
from oci_wire.reference import Reference
from towpath.exits import Exit
from towpath.problem import Problem
from towpath.workspace import Workspace


def scope_of(workspace: Workspace, image: str) -> tuple[str, str]:
    """The declared scope and the rest. Raises Problem (exit 2)."""
    scope, _, rest = image.partition("/")
    if scope not in workspace.topology.scopes:
        known = ", ".join(workspace.topology.scopes)
        raise Problem("unknown-name", f"{scope!r} is no scope", next=f"known: {known}", exit=Exit.USAGE)
    return scope, rest


def split_image(image: str) -> tuple[str, str, str]:
    """Repository, tag or digest, and the tag when both are written."""
    try:
        parsed = Reference.parse(image)
    except RegistryError as error:
        raise Problem("reference-unreadable", f"{image!r} is no image", why=error.message, exit=Exit.USAGE) from None
    if parsed.registry or not (parsed.tag or parsed.digest):
        raise Problem(
            "reference-unreadable",
            f"{image!r} should be REPOSITORY:TAG or REPOSITORY@sha256:...",
            why="the edge says which registries are meant" if parsed.registry else "it names neither tag nor digest",
            exit=Exit.USAGE,
        )
    return parsed.repository, str(parsed.digest) if parsed.digest else parsed.tag, parsed.tag
