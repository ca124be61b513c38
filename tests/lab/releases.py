"""Releases other than this checkout's, to deploy: a copy of the rooms, changed. Give the folder as ``PYTHONPATH``."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from registry_node.storage.schema import HEAD
from tests.test_house import ROOMS

_TOP = Path(__file__).resolve().parent.parent.parent
NEXT_SCHEMA = f"{int(HEAD) + 1:04d}"
# The table is filled from what is there, as a migration of a real one would be.
_MIGRATION = f'''\
"""How many tags a repository has."""

from alembic import op

revision, down_revision = "{NEXT_SCHEMA}", "{HEAD}"


def upgrade():
    op.execute("CREATE TABLE tag_counts (repository_id INTEGER PRIMARY KEY, tags INTEGER NOT NULL)")
    op.execute("INSERT INTO tag_counts SELECT repository_id, count(*) FROM tags GROUP BY repository_id")
'''


def copied(folder: Path) -> Path:
    """This checkout's rooms, to be changed."""
    for room in ROOMS:
        shutil.copytree(_TOP / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def added(folder: Path, module: str, text: str) -> Path:
    """This checkout with ``text`` at the end of one module: another release."""
    file = copied(folder) / module
    file.write_text(f"{file.read_text()}\n{text}\n")
    return folder


def with_next_schema(folder: Path) -> Path:
    """This checkout with one migration more: to the nodes that run this checkout's release, the next version of towpath."""
    storage = copied(folder) / "registry_node" / "storage"
    (storage / "migrations" / "versions" / f"v{NEXT_SCHEMA}_tag_counts.py").write_text(_MIGRATION)
    schema = storage / "schema.py"
    text, changed = re.subn(r'^HEAD = "\d+"', f'HEAD = "{NEXT_SCHEMA}"', schema.read_text(), flags=re.MULTILINE)
    assert changed == 1, "schema.py says its version in another way now"
    schema.write_text(text)
    return folder
