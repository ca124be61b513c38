"""Opening a data folder: who owns it, which version wrote it, and what happens when it is damaged."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from registry_node.registries.local import LocalRegistry
from registry_node.storage import metadata as metadata_module
from registry_node.storage import migrations, schema
from registry_node.storage.errors import (
    DatabaseCorrupt,
    DatabaseTooNew,
    DataFolderInUse,
    DataFolderUnusable,
    JournalCorrupt,
)
from registry_node.storage.metadata import Metadata
from registry_node.storage.sql import Connection
from registry_node.storage.store import Store
from tests.databases import structure
from tests.registry_node.pushes import CI, put_image


def test_a_new_index_is_what_the_migrations_would_have_made(tmp_path: Path) -> None:
    Metadata.open(tmp_path / "new.db").close()
    with closing(Metadata.join(tmp_path / "migrated.db")) as migrated:
        migrated.migrate("here", None)
    assert structure(tmp_path / "new.db") == structure(tmp_path / "migrated.db")


def test_the_code_knows_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(migrations._config()).get_current_head() == schema.HEAD


def test_a_data_folder_has_one_owner(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "data")
    with pytest.raises(DataFolderInUse, match=r"another node runs on this data folder \(process \d+\)"):
        Store.open(tmp_path / "data")
    store.close()
    Store.open(tmp_path / "data").close()


def test_another_process_is_kept_out_until_the_first_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from registry_node.storage.store import Store\n"
        "store = Store.open(pathlib.Path(sys.argv[1]))\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(DataFolderInUse, match=f"process {other.pid}"):
            Store.open(tmp_path)
        other.kill()
    Store.open(tmp_path).close()


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(DataFolderUnusable, match="data: this data folder cannot be used"):
        Store.open(tmp_path / "data")


def test_a_failed_open_gives_the_folder_back(tmp_path: Path) -> None:
    (tmp_path / "index.db").write_bytes(b"rubbish " * 1000)
    with pytest.raises(DatabaseCorrupt):
        Store.open(tmp_path)
    (tmp_path / "index.db").unlink()
    Store.open(tmp_path).close()


async def test_a_corrupt_index_says_what_to_do_and_that_works(tmp_path: Path) -> None:
    registry = LocalRegistry.open(tmp_path)
    image = await put_image(registry, "a", b"layer", tags=["v1"])
    registry.close()
    before = (tmp_path / "index.db").read_bytes()
    (tmp_path / "index.db").write_bytes(b"\0" * 100 + before[100:])
    with pytest.raises(DatabaseCorrupt) as refused:
        LocalRegistry.open(tmp_path)
    assert "index.db" in str(refused.value)
    assert "remove index.db, index.db-wal and index.db-shm and start again" in str(refused.value)
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    registry = LocalRegistry.open(tmp_path)
    assert (await registry.get_manifest(CI, "a", "v1")).content == image.content
    registry.close()


async def test_a_damaged_page_is_found_at_the_start(tmp_path: Path) -> None:
    registry = LocalRegistry.open(tmp_path)
    for number in range(30):
        await put_image(registry, "a", tags=[f"v{number}"], annotations={"n": str(number) * 200})
    registry.close()
    content = bytearray((tmp_path / "index.db").read_bytes())
    for page in range(8192, len(content) - 4096, 4096):
        content[page : page + 300] = b"\xff" * 300
    (tmp_path / "index.db").write_bytes(content)
    with pytest.raises(DatabaseCorrupt):
        LocalRegistry.open(tmp_path)


def test_an_index_of_a_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "index.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(DatabaseTooNew, match="9999"):
        Store.open(tmp_path)
    with closing(sqlite3.connect(tmp_path / "index.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_another_programs_database_is_not_touched(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "index.db")) as connection:
        connection.execute("CREATE TABLE theirs(a)")
        connection.commit()
    with pytest.raises(DatabaseCorrupt, match="another program"):
        Store.open(tmp_path)


async def test_a_torn_last_line_of_the_journal_is_dropped(tmp_path: Path) -> None:
    registry = LocalRegistry.open(tmp_path)
    image = await put_image(registry, "a", tags=["v1"])
    registry.close()
    journal = tmp_path / "journal.ndjson"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"position":3,"repo')
    registry = LocalRegistry.open(tmp_path)
    assert journal.read_bytes() == whole
    await registry.put_manifest(CI, "a", image, tags=["v2"])
    registry.close()
    assert journal.read_bytes().startswith(whole)
    assert journal.read_bytes().count(b"\n") == whole.count(b"\n") + 1


async def test_a_short_journal_learns_from_the_index(tmp_path: Path) -> None:
    registry = LocalRegistry.open(tmp_path)
    await put_image(registry, "a", tags=["v1", "v2"])
    registry.close()
    journal = tmp_path / "journal.ndjson"
    whole = journal.read_bytes()
    journal.write_bytes(b"".join(whole.splitlines(keepends=True)[:1]))
    LocalRegistry.open(tmp_path).close()
    assert journal.read_bytes() == whole
    journal.unlink()
    LocalRegistry.open(tmp_path).close()
    assert journal.read_bytes() == whole


async def test_an_index_from_an_older_backup_learns_from_the_journal(tmp_path: Path) -> None:
    registry = LocalRegistry.open(tmp_path)
    old = await put_image(registry, "a", b"old", tags=["v1", "gone"])
    registry.close()
    backup = (tmp_path / "index.db").read_bytes()
    registry = LocalRegistry.open(tmp_path)
    new = await put_image(registry, "a", b"new", tags=["v1"])
    await registry.delete_tag(CI, "a", "gone")
    states = await registry.tag_states(CI, "a")
    registry.close()
    (tmp_path / "index.db").write_bytes(backup)
    registry = LocalRegistry.open(tmp_path)
    assert await registry.tag_states(CI, "a") == states
    assert (await registry.get_manifest(CI, "a", "v1")).content == new.content
    assert (await registry.closure(CI, "a", new.digest, rehash=True)).complete
    assert (await registry.get_manifest(CI, "a", str(old.digest))).content == old.content
    registry.close()


async def test_what_was_deleted_stays_deleted_when_the_index_is_rebuilt(tmp_path: Path) -> None:
    registry = LocalRegistry.open(tmp_path)
    image = await put_image(registry, "a", b"one", tags=["v1"])
    kept = await put_image(registry, "a", b"two", tags=["v2"])
    await registry.delete_manifest(CI, "a", image.digest)
    registry.close()
    for path in tmp_path.glob("index.db*"):
        path.unlink()
    registry = LocalRegistry.open(tmp_path)
    assert (await registry.tags(CI, "a")).items == ("v2",)
    assert (await registry.resolve(CI, "a", str(kept.digest))).digest == kept.digest
    with pytest.raises(Exception, match="no manifest"):
        await registry.resolve(CI, "a", str(image.digest))
    registry.close()


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"position": 1}\n', b"[]\n", b'{"kind":"tag","position":"x"}\n'])
def test_a_damaged_journal_is_named_with_its_line(tmp_path: Path, line: bytes) -> None:
    Store.open(tmp_path).close()
    (tmp_path / "journal.ndjson").write_bytes(line)
    with pytest.raises(JournalCorrupt, match=r"journal.ndjson:\d+: this line is no entry"):
        Store.open(tmp_path)


def test_what_a_killed_process_left_in_flight_is_swept(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    (tmp_path / "temp" / "left").write_bytes(b"half")
    (tmp_path / "uploads" / ("0" * 32)).write_bytes(b"its row was lost")
    Store.open(tmp_path).close()
    assert list(tmp_path.glob("temp/*")) == []
    assert list(tmp_path.glob("uploads/*")) == []


async def test_the_write_ahead_log_shrinks_when_a_long_reader_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata_module, "WAL_BYTES", 100_000)
    monkeypatch.setattr(metadata_module, "CHECKPOINT_PAGES", 10)
    with closing(LocalRegistry.open(tmp_path)) as registry:
        log = tmp_path / "index.db-wal"
        with registry._store.metadata.reading() as tx:
            tx.execute("SELECT count(*) FROM tags").scalar()
            await put_image(registry, "a", tags=["v"])
            for number in range(40):
                await put_image(registry, "a", annotations={"n": str(number) * 5000})
            grown = log.stat().st_size
        for number in range(3):
            await put_image(registry, "a", tags=[f"w{number}"])
        assert log.stat().st_size <= 100_000 < grown


def test_a_new_index_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def power_cut(tx: Connection) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr(Connection, "commit", power_cut)
        with pytest.raises(KeyboardInterrupt):
            Store.open(tmp_path)
    with closing(sqlite3.connect(tmp_path / "index.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    Store.open(tmp_path).close()
