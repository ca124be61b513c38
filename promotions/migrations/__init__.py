"""One history of the engine's schema (alembic). Shipped in the wheel; run when the database is not at its head."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection

from promotions.schema import TooNew


def upgrade(connection: Connection) -> None:
    """Brings it to the newest revision, inside the caller's transaction. Raises TooNew."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise TooNew(f"a newer towpath wrote it: {error}") from None
