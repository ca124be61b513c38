"""Virtuals over members in memory, and over real nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from identity.grants import Action, Grant, WritePolicy
from oci_wire.errors import Unreachable
from oci_wire.memory import MemoryRegistry
from oci_wire.registry import Call
from registry_node.registries.virtual.doors import Door
from registry_node.registries.virtual.rights import Rights
from registry_node.registries.virtual.virtual import VirtualRegistry
from registry_node.settings.virtual import Virtual
from tests.nodes import SECRETS, RunningNode, many

ALL = (Grant("everyone", frozenset(Action)),)
DEV = Call("dev", groups=frozenset({"developers"}))


class Watched:
    """A member that says what it was asked, and can be down: ``failing`` is then raised."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.asked, self.failing = inner, [], None  # type: ignore[var-annotated]

    def down(self, error: Exception | None = None) -> None:
        self.failing = error or Unreachable("http://10.0.0.7:5001: connection refused")

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        def noted(call: Call, *given: Any, **named: Any) -> Any:
            self.asked.append((name, *map(str, given)))
            if self.failing is not None:
                raise self.failing
            return method(call, *given, **named)

        async def asked(call: Call, *given: Any, **named: Any) -> Any:
            return await noted(call, *given, **named)

        return asked


class Members:
    """``of[name]``: the members of a virtual, in memory. ``kinds``: those that are not local."""

    def __init__(self, *names: str, **kinds: str) -> None:
        self.kinds = {name: kinds.get(name, "local") for name in names}
        self.of = {name: Watched(MemoryRegistry(node=name)) for name in names}

    def __getitem__(self, name: str) -> Watched:
        return self.of[name]

    def virtual(
        self,
        *,
        grants: dict[str, tuple[Grant, ...]] | None = None,
        write: dict[str, WritePolicy] | None = None,
        seconds: float = 5.0,
        stands_for: dict[str, list[str]] | None = None,
        **settings: Any,
    ) -> VirtualRegistry:
        declared = [
            {"name": name, "kind": kind, "url": "http://127.0.0.1:1", "hosts": (stands_for or {}).get(name, [])}
            for name, kind in self.kinds.items()
        ]
        virtual = Virtual.model_validate({"members": declared, **settings})
        doors = [
            Door(name, self.kinds[name], registry, self._rights(name, grants or {}, write or {}), seconds)  # type: ignore[arg-type]
            for name, registry in self.of.items()
        ]
        return VirtualRegistry(virtual, doors, node="everything")

    def _rights(self, name: str, grants: dict[str, tuple[Grant, ...]], write: dict[str, WritePolicy]) -> Rights:
        return Rights(name, lambda: grants.get(name, ALL), write.get(name, WritePolicy.OPEN))

    def forget(self) -> None:
        for each in self.of.values():
            each.asked.clear()

    @property
    def asked(self) -> set[str]:
        """The members that were asked anything."""
        return {name for name, each in self.of.items() if each.asked}


Make = Callable[..., RunningNode]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Starts real nodes."""
    with many(tmp_path) as started:
        yield started


def member_of(node: RunningNode, kind: str = "local", who: str = "towpath-engine", **more: Any) -> dict[str, Any]:
    """The setting of a member, asked as ``who``."""
    secret = node.folder / f"{who}.secret"
    secret.write_text(f"{who}:{SECRETS[who]}\n")
    return {
        "name": node.settings["node"],
        "kind": kind,
        "url": node.url,
        "credentials": {"file": str(secret)},
        **more,
    }
