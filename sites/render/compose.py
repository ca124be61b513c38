"""A service for each node (compose-spec.io)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from sites.render.contained import CA, DATA, SETTINGS, TLS, USER, Contained

_TEMPLATES = Environment(  # noqa: S701 - YAML; all values through tojson
    loader=PackageLoader("sites"), undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)


def compose(
    nodes: Sequence[Contained], *, project: str, image: str, logins: Mapping[str, Mapping[str, Path]]
) -> str:
    """``logins``: the files in which they lie, by node and by whom they are for: Compose mounts them, so that no secret
    stands in the text."""
    return _TEMPLATES.get_template("compose.yaml.j2").render(
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
