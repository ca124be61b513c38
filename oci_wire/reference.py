"""Repository names, tags and references (distribution-spec 1.1, "Pulling manifests"; distribution/reference).

Names are read by hand, one pass: the usual expression with its optional separators can take seconds on
24 hostile characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from oci_wire.digest import Digest
from oci_wire.errors import NameInvalid, TagInvalid

NAME_LIMIT = 255  # host and name together (distribution-spec 1.1)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_HOST_PORT = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def check_repository(name: str) -> str:
    """The name itself; raises NameInvalid when it does not fit the grammar."""
    if not name or len(name) > NAME_LIMIT or not all(_is_component(part) for part in name.split("/")):
        raise NameInvalid(f"{name[:120]!r} is not a repository name (lower-case letters, digits, . _ - and /)")
    return name


def _is_component(part: str) -> bool:
    """``[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*``"""
    if not part or part[0] not in _ALNUM or part[-1] not in _ALNUM:
        return False
    separator = ""
    for letter in part:
        if letter in _ALNUM:
            if separator not in ("", ".", "_", "__") and separator.strip("-"):
                return False
            separator = ""
        else:
            separator += letter
    return True


def check_tag(tag: str) -> str:
    """The tag itself; raises TagInvalid when it does not fit the grammar."""
    if not _TAG.fullmatch(tag):
        raise TagInvalid(f"{tag[:140]!r} is not a tag (letters, digits, _ . -; at most 128; no leading . or -)")
    return tag


@dataclass(frozen=True, slots=True)
class Reference:
    """``[registry/]repository[:tag][@digest]``; ``str()`` gives back exactly what ``parse`` took."""

    registry: str  # host[:port], or "" when the reference names none
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Reads a reference. The first part is a registry when it holds ``.`` or ``:`` or is ``localhost``.

        Raises NameInvalid, TagInvalid or DigestInvalid."""
        rest, at, digest = text.partition("@")
        registry, rest = _split_registry(rest)
        name, colon, tag = rest.partition(":")
        if colon:
            check_tag(tag)
        return cls(registry, check_repository(name), tag, Digest.parse(digest) if at else None)

    def __str__(self) -> str:
        prefix = f"{self.registry}/" if self.registry else ""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{prefix}{self.repository}{tag}{digest}"


def _split_registry(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        return "", text
    if not _HOST_PORT.fullmatch(first):
        raise NameInvalid(f"{first[:120]!r} is not a registry host such as registry.example:5000")
    return first, rest
