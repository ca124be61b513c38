"""What is left of the budgets, kept in the data folder: ``upstreams.json``. A restart does not forget it.

Written a moment after a change, in a new file that takes the old one's place; what a crash loses is a second's count,
and an upstream that tells its budget tells it again."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from registry_node.registries.upstreams.budget import Allowance

NAME = "upstreams.json"
DELAY = 1.0  # seconds from a change to the file
log = logging.getLogger(__name__)


class BudgetFile:
    """``folder`` None: nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / NAME if folder is not None else None
        self._kept: dict[str, Any] = self._read()
        self._soon: asyncio.TimerHandle | None = None

    def load(self, key: str) -> Allowance | None:
        found = self._kept.get(key)
        try:
            return Allowance(**found) if found is not None and _is_sound(found) else None
        except TypeError:  # of another version
            return None

    def note(self, key: str, allowance: Allowance) -> None:
        self._kept[key] = asdict(allowance)
        if self._path is not None and self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(DELAY, self.write)

    def write(self) -> None:
        """At once."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._path is None:
            return
        new = self._path.with_suffix(".new")
        try:
            new.write_text(json.dumps(self._kept))
            new.replace(self._path)
        except OSError as error:  # a count is no reason to refuse a pull
            log.warning("the budgets of the upstreams cannot be kept: %s", error)

    def _read(self) -> dict[str, Any]:
        if self._path is None:
            return {}
        try:
            found = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            log.warning("the budgets of the upstreams cannot be read and begin anew: %s", error)
            return {}
        return found if isinstance(found, dict) else {}


def _is_sound(found: Any) -> bool:
    """A number in every field, as Allowance has them."""
    if not isinstance(found, dict):
        return False
    whole, real = ("left",), ("window", "since", "gets_at", "heads_at")
    numbers = all(type(found.get(name)) is int for name in whole)
    numbers = numbers and all(type(found.get(name)) in (int, float) for name in real)
    return numbers and (found.get("limit") is None or type(found["limit"]) is int)
