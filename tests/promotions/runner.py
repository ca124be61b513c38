"""One engine in a process of its own, so that a test can kill it.

What is asked: ``folder``, ``addresses`` {node: url}, ``reference``, and, when wanted, ``abort`` (a promotion's id),
``frozen``, ``patience`` (seconds)."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from promotions import failpoints
from promotions.engine import Engine
from promotions.outcome import Outcome, Request
from promotions.registries import Address, RemoteRegistries
from promotions.retry import RetryPolicy
from promotions.store import Store
from tests.nodes import SECRETS
from tests.promotions.world import CI, topology

FREEZE = {"name": "now", "edges": ["to-prod"], "cron": "* * * * *", "for": "2h", "reason": "a test"}


def _change(document: dict[str, Any], frozen: bool) -> None:
    document["freezes"] = [FREEZE] if frozen else []


async def run(asked: dict[str, Any]) -> Outcome:
    folder = Path(asked["folder"])
    declared = topology(folder, lambda document: _change(document, asked.get("frozen", False)), keys=False)
    addresses = {
        node: Address(url, "towpath-engine", SECRETS["towpath-engine"]) for node, url in asked["addresses"].items()
    }
    retry = RetryPolicy(attempts=2, first=0.01, most=0.02)
    store = Store.open(folder / "engine")
    async with RemoteRegistries(declared, addresses, retry) as registries:
        patience = asked.get("patience", 3600.0)
        engine = Engine(declared, registries, store, folder / "engine" / "ledger", retry, patience=patience)
        if "abort" in asked:
            return await engine.abort(asked["abort"], CI)
        return await engine.promote(Request("apps/api", asked["reference"], edge="to-prod"), CI)


def main(asked: dict[str, Any], failpoint: str, answer: str) -> None:
    """Writes the outcome to the file ``answer``, unless the failpoint ends the process first."""
    os.environ[failpoints.VARIABLE] = failpoint
    outcome = asyncio.run(run(asked))
    shown = {"ending": outcome.ending, "code": outcome.code, "promotion": outcome.promotion, "reasons": outcome.reasons}
    Path(answer).write_text(json.dumps(shown))
