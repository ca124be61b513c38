"""One history of the index's schema (alembic). Shipped in the wheel; run when a node opens its data folder."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection


def knows(version: str) -> bool:
    """Whether this history has such a version."""
    return version in {each.revision for each in ScriptDirectory.from_config(_config()).walk_revisions()}


def upgrade(tx: Connection) -> None:
    """Brings the index up to the newest version, inside the caller's transaction."""
    config = _config()
    config.attributes["connection"] = tx
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
