"""One history of the index's schema (alembic). Shipped in the wheel; run when a node opens an index that is not of the
newest version, and for a new one in PostgreSQL. Nothing else here needs SQLAlchemy."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.pool import StaticPool

from registry_node.storage.sql import Connection


def knows(version: str) -> bool:
    """Whether this history has such a version."""
    return version in {each.revision for each in ScriptDirectory.from_config(_config()).walk_revisions()}


def upgrade(tx: Connection) -> None:
    """Brings the index up to the newest version, inside the caller's transaction."""
    config = _config()
    engine = sqlalchemy.create_engine(
        f"{tx.dialect}://", creator=lambda: tx.driver, poolclass=StaticPool, pool_reset_on_return=None
    )
    engine.dialect.do_commit = engine.dialect.do_rollback = _left_to_the_caller  # type: ignore[assignment,method-assign]
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _left_to_the_caller(connection: object) -> None:
    """The transaction is not SQLAlchemy's: it neither commits nor rolls back."""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
