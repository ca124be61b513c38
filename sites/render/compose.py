"""A service for each node (compose-spec.io)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sites.render.contained import CA, DATA, SETTINGS, TLS, USER, Contained
from sites.texts import text_of


def compose(nodes: Sequence[Contained], *, project: str, image: str, logins: Mapping[str, Mapping[str, Path]]) -> str:
    """``logins``: the files in which they lie, by node and by whom they are for: Compose mounts them, so that no secret
    stands in the text."""
    return text_of(
        "compose.yaml.j2",
        nodes=nodes,
        project=project,
        image=image,
        logins={name: {source: str(path) for source, path in files.items()} for name, files in logins.items()},
        paths={"settings": str(SETTINGS), "tls": str(TLS), "ca": str(CA), "data": str(DATA)},
        user=USER,
        literal=_literal,
    )


def _literal(text: str) -> str:
    """Compose reads ``$`` as a variable: bcrypt hashes have some."""
    return text.replace("$", "$$")
