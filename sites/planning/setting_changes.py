"""What differs between two settings of one node, in the words of the topology. Hashes of secrets are never shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from registry_node.settings import NodeSettings
from topology.sizes import binary

_HIDDEN = ("password_bcrypt", "token_sha256")
_KEYS = {  # of a node's rules: the key of the scope that says it
    "write": "write",
    "repository_name": "naming",
    "tag_name": "naming",
    "require_labels": "requireLabels",
    "immutable_tags": "immutableTags",
    "quota_bytes": "quota",
}
_LONGEST = 40  # characters of a value in a row; the diff has all of it


@dataclass(frozen=True, slots=True)
class Difference:
    """``path``: where in the topology it is said, as far as one place says it."""

    name: str
    text: str
    path: tuple[str | int, ...]


def changes(former: NodeSettings, new: NodeSettings) -> Iterator[Difference]:
    """One for each field; users and grants are counted by name."""
    for name in NodeSettings.model_fields:
        was, is_ = getattr(former, name), getattr(new, name)
        if was == is_:
            continue
        if name in ("rules", "limits", "mirror", "virtual") and was is not None and is_ is not None:
            yield from _fields(new, name, was, is_)
        elif name == "users":
            yield Difference("users", _named(was, is_), ("users",))
        elif name == "grants":
            yield Difference(
                "grants", f"{len(was)} -> {len(is_)} rules" if len(was) != len(is_) else "changed", _of(new)
            )
        else:
            yield Difference(name, f"{_text(name, was)} -> {_text(name, is_)}", ("nodes", new.node))


def shown_settings(settings: NodeSettings) -> dict[str, Any]:
    """As JSON, with the hashes of secrets blanked."""
    shown: dict[str, Any] = settings.model_dump(mode="json", exclude_defaults=True)
    for user in shown.get("users", {}).values():
        for name in _HIDDEN:
            if user.get(name):
                user[name] = "***"
    return shown


def _fields(new: NodeSettings, part: str, was: Any, is_: Any) -> Iterator[Difference]:
    where = ("scopes", new.scope) if part == "rules" else ("nodes", new.node)
    for name in type(is_).model_fields:
        before, after = getattr(was, name), getattr(is_, name)
        if before != after:
            said, key = name.removesuffix("_bytes"), _KEYS.get(name, "")
            yield Difference(said, f"{_text(name, before)} -> {_text(name, after)}", (*where, key) if key else where)


def _of(settings: NodeSettings) -> tuple[str, ...]:
    return ("scopes", settings.scope, "grants") if settings.kind == "local" else ("nodes", settings.node)


def _named(was: dict[str, Any], is_: dict[str, Any]) -> str:
    words = [f"+{name}" for name in is_ if name not in was] + [f"-{name}" for name in was if name not in is_]
    words += [f"~{name}" for name in is_ if name in was and is_[name] != was[name]]
    return ", ".join(words)


def _text(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if name.endswith("_bytes") and isinstance(value, int):
        return binary(value)
    text = str(value) if not isinstance(value, tuple) else ", ".join(map(str, value)) or "none"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
