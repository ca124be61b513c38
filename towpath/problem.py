"""The one form of an error at the command line: what, where, why, what to do next, and a stable code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from towpath.exits import Exit


@dataclass(eq=False)  # not frozen: contextlib sets __traceback__
class Problem(Exception):
    """Raise it from a verb: ``main`` prints it and exits with ``exit``. ``code`` never changes once published."""

    code: str
    what: str
    where: str = ""
    why: str = ""
    next: str = ""
    exit: Exit = Exit.FAILED

    def __str__(self) -> str:
        return self.what

    def as_text(self) -> str:
        """One line of what, then the parts that are known, a line each."""
        parts = (("where", self.where), ("why", self.why), ("next", self.next))
        lines = [f"  {name + ':':<6} {_indented(value)}" for name, value in parts if value]
        return "\n".join([f"error[{self.code}]: {self.what}", *lines])

    def as_json(self) -> dict[str, Any]:
        """``{"error": {code, what, where, why, next, exit}}``"""
        shown = {"code": self.code, "what": self.what, "where": self.where, "why": self.why, "next": self.next}
        return {"error": {**{name: value for name, value in shown.items() if value}, "exit": int(self.exit)}}


def _indented(text: str) -> str:
    return text.replace("\n", "\n         ")
