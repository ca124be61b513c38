"""The composition root of everything that moves images: topology + addresses + the engine's credential -> engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from promotions.cleanup import Cleaner
from promotions.engine import Engine
from promotions.progress import Watch, unwatched
from promotions.registries import Address, RemoteRegistries
from promotions.replicate import Replicator
from promotions.retry import RetryPolicy
from promotions.store import Store
from sites.settings.credentials import ENGINE
from sites.settings.trust import trust_of
from towpath.workspace import Workspace

# The engine tries whole steps again; these few quick attempts multiply with that, and somebody waits for the answer.
CLIENT_RETRY = RetryPolicy(attempts=3, first=0.1, most=1.0)


def registries_of(workspace: Workspace) -> RemoteRegistries:
    """Every node of the topology, spoken to as the engine."""
    state = workspace.running_state()
    token, trust = state.engine_token(), trust_of(workspace.topology)
    addresses = {node: Address(url, ENGINE, token, trust) for node, url in state.read_addresses().items()}
    return RemoteRegistries(workspace.topology, addresses, CLIENT_RETRY)


@dataclass(frozen=True, slots=True)
class Parts:
    """What moves images and what takes them away, over one store and one set of ledgers."""

    engine: Engine
    replicator: Replicator
    cleaner: Cleaner
    store: Store
    ledgers: Path


@asynccontextmanager
async def opened(
    workspace: Workspace, *, watch: Watch = unwatched, confirm: bool = False, refill: bool = False
) -> AsyncIterator[Parts]:
    """All of it, with its database open. ``confirm``: a person said yes to many deletions; ``refill``: as Replicator says.

    Raises DatabaseUnusable, SecretUnreadable, Problem."""
    topology, ledgers = workspace.topology, workspace.ledgers
    async with registries_of(workspace) as registries:
        store = Store.open(workspace.state.engine)
        try:
            yield Parts(
                Engine(topology, registries, store, ledgers),
                Replicator(topology, registries, store, ledgers, watch=watch, confirm=confirm, refill=refill),
                Cleaner(topology, registries, store, ledgers),
                store,
                ledgers,
            )
        finally:
            store.close()
