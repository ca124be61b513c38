"""Query parameters of ``/_towpath/v1``, read strictly: what is not as documented is refused, never guessed."""

from __future__ import annotations

import re

from oci_wire.errors import RequestInvalid
from registry_node.extension_routes import ExtensionRoute

MAX_WHOLE = 2**53 - 1
_WHOLE = re.compile(r"[0-9]{1,16}")
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,20})?")
FLAGS = {"": True, "1": True, "true": True, "0": False, "false": False}


def whole(route: ExtensionRoute, name: str, default: int) -> int:
    """A whole number from 0 to MAX_WHOLE. Raises RequestInvalid."""
    text = route.get(name)
    if text is None:
        return default
    if not (_WHOLE.fullmatch(text) and int(text) <= MAX_WHOLE):
        raise RequestInvalid(f"{name} must be a whole number from 0 to {MAX_WHOLE}")
    return int(text)


def seconds(route: ExtensionRoute, name: str) -> float:
    """Zero or more, with or without a fraction; 0 when it is not given. Raises RequestInvalid."""
    text = route.get(name)
    if text is None:
        return 0.0
    if not _SECONDS.fullmatch(text):
        raise RequestInvalid(f"{name} must be a number of seconds, zero or more")
    return float(text)


def flag(route: ExtensionRoute, name: str) -> bool:
    """Whether it is there and not 0 or false. Raises RequestInvalid."""
    text = route.get(name)
    if text is not None and text not in FLAGS:
        raise RequestInvalid(f"{name} must be 1, 0, true or false")
    return text is not None and FLAGS[text]
