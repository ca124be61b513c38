"""Secrets written into the file (S9): by the key they stand under, or by what they look like. Their text is never shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from topology.document import Document, Path, Spot
from topology.findings import Breach
from topology.redaction import LOOKS_SECRET, SECRET_KEYS

_TLS_KEYS = frozenset({"key"})  # below `ca` or a node's `tls`
_HELP = "write where it lies instead: {env: NAME} or {file: path}; then change the secret, for it has been seen"


def inline_secrets(document: Document) -> list[Breach]:
    """One breach for each; from then on the document shows their text as ``***``."""
    found: list[Breach] = []
    for path, value, spot in _scalars(document):
        if _is_secret(path, value):
            document.hide(spot.value)
            found.append(Breach(path, f"a secret stands in the file, under `{path[-1]}`", _HELP))
    return found


def _is_secret(path: Path, value: Any) -> bool:
    if isinstance(value, bool) or value is None or value == "":
        return False
    if isinstance(value, str) and LOOKS_SECRET.search(value):
        return True
    key = path[-1]
    if key in SECRET_KEYS or (key in _TLS_KEYS and len(path) > 1 and path[-2] in ("ca", "tls")):
        return True
    misplaced = len(path) == 4 and path[-2] in SECRET_KEYS and key not in ("env", "file")  # {password: {value: ...}}
    return misplaced and path[0] in ("users", "nodes", "trust")


def _scalars(document: Document) -> Iterator[tuple[Path, Any, Spot]]:
    """Every scalar of the document with its path, in the order of the file."""
    waiting: list[tuple[Path, Any, Spot]] = [((), document.data, document.root)]
    while waiting:
        path, value, spot = waiting.pop()
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [((*path, key), each, spot.children[key]) for key, each in items][::-1]
        elif path:
            yield path, value, spot
