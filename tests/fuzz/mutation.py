"""Bytes and JSON values, changed a little or a lot, by a seeded source of randomness."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

_BYTES = b"\x00\r\n\t \x7f\x80\xff%/:;,.#?&=\"'\\{}[]<>|+-_0"
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 1.5, 1e308, -(2**63), 2**63),
    *(2**64, 10**40, "", "a", "\0", "é", "\ud800", "\u202e"),
    *("a" * 5000, [], {}, [[]], {"": ""}, [None] * 50, {"__proto__": 1}),
    *("sha256:", "sha256:" + "0" * 64, "sha512:" + "0" * 128),
    *("sha256:" + "A" * 64, "md5:" + "0" * 32, "../../etc/passwd", "%2e%2e", "' OR 1=1 --", "{{7*7}}", "$(id)", "<b>"),
)  # fmt: skip


def mutated(random: Random, content: bytes, words: Sequence[bytes]) -> bytes:
    """One to four changes. ``words``: what means something in this input."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        _change(random, changed, words)
    return bytes(changed)


def _change(random: Random, content: bytearray, words: Sequence[bytes]) -> None:
    at = random.randint(0, len(content))
    end = min(len(content), at + random.choice((1, 1, 2, 4, 16, 64)))
    match random.randrange(9):
        case 0 if content:
            content[at % len(content)] ^= 1 << random.randrange(8)
        case 1:
            content[at:at] = bytes([random.choice(_BYTES)])
        case 2:
            content[at : at + 1] = bytes([random.randrange(256)])
        case 3:
            del content[at:end]
        case 4:
            content[at:at] = content[at:end] * random.choice((1, 2, 10, 300))
        case 5 | 6:
            content[at:at] = random.choice(words)
        case 7:
            content[at:end] = random.choice(words)
        case _:
            other = random.randint(0, len(content))
            content[at:end] = content[other : other + random.randint(0, 40)]


def changed_json(random: Random, value: Any) -> Any:
    """The same value with something else at one place, or two."""
    for _ in range(random.choice((1, 1, 2))):
        value = _replaced(random, value)
    return value


def _replaced(random: Random, value: Any) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        match random.randrange(6):
            case 0:
                return {name: each for name, each in value.items() if name != key}
            case 1:
                return {**value, random.choice(("", "a", "digest", "manifests", "layers", key * 2)): any_json(random)}
            case _:
                return {**value, key: _replaced(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.85:
        at = random.randrange(len(value))
        match random.randrange(6):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value * random.choice((2, 50))
            case _:
                return [*value[:at], _replaced(random, value[at]), *value[at + 1 :]]
    return any_json(random)


def any_json(random: Random, depth: int = 0) -> Any:
    if depth < 3 and random.random() < 0.2:
        return [any_json(random, depth + 1) for _ in range(random.randrange(4))]
    return random.choice(_VALUES)


def written_json(random: Random, value: Any) -> bytes:
    """As bytes, sometimes in an odd way of writing."""
    text = json.dumps(value, ensure_ascii=random.random() < 0.5, indent=random.choice((None, None, 1)))
    content = text.encode("utf-8", "surrogatepass")
    match random.randrange(40):
        case 0:
            return b"\xef\xbb\xbf" + content
        case 1:
            return content.replace(b'"', b'"\\u0000', 1)
        case 2:
            return content[:-1] + b',"config":{}}'
        case 3:
            return content.replace(b":", b":NaN,", 1)
        case 4:
            return b"[" * 20_000 + content
        case 5:
            return text.encode("utf-16", "surrogatepass")
    return content
