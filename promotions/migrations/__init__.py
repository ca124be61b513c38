"""alembic's history of the engine's database."""
