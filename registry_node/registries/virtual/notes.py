"""The headers beside a virtual's answer: who gave it, and what that one says of its age.

A mirror says how old a copy is when it could not ask (``Age``, ``Warning``, RFC 9111): behind a virtual that holds as
well. Of several answers put together the oldest one's age is told, and each warning once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from oci_wire.registry import Call

MEMBER = "x-towpath-member"
_AGE, _WARNING = "age", "warning"
_SHOWN, _MOST = 200, 1000  # characters of a warning of ours; of all


def pass_on(call: Call, told: Iterable[Mapping[str, str]]) -> None:
    """What members noted beside the answers that this one is made of."""
    for notes in told:
        age, said = notes.get(_AGE, ""), notes.get(_WARNING, "")
        if age.isdecimal():
            call.notes[_AGE] = str(max(int(age), int(call.notes.get(_AGE, "0"))))
        before = call.notes.get(_WARNING, "")
        if said and said not in before:
            call.notes[_WARNING] = (f"{before}, {said}" if before else said)[:_MOST]


def warn(call: Call, text: str) -> None:
    """A word of the virtual's own."""
    pass_on(call, ({_WARNING: f'199 towpath "{text[:_SHOWN]}"'},))


def name_members(call: Call, names: Iterable[str]) -> None:
    """Those that a list is put together from. One answer may take several lists."""
    before = filter(None, call.notes.get(MEMBER, "").split(", "))
    if known := list(dict.fromkeys((*before, *names))):
        call.notes[MEMBER] = ", ".join(known)
