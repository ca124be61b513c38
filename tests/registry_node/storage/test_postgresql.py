"""The index in PostgreSQL: opening it, what is refused, a server that goes away."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from oci_wire.digest import Digest
from oci_wire.errors import RequestInvalid, Unavailable
from registry_node.registries.local import LocalRegistry
from registry_node.settings import Index, Rules
from registry_node.storage.errors import DatabaseCorrupt, DatabaseElsewhere, DatabaseTooNew, DatabaseUnreachable
from registry_node.storage.postgresql import _lock_of_writers
from registry_node.storage.store import Store
from tests.postgresql import Cluster
from tests.registry_node.pushes import CI, manifest_of, put_image

pytestmark = pytest.mark.clients
# Kinds of columns: PostgreSQL's and SQLite's.
_LITE = {"integer": "INTEGER", "bigint": "INTEGER", "text": "TEXT", "double precision": "FLOAT", "bytea": "BLOB"}


@pytest.fixture
def dsn(cluster: Cluster) -> str:
    return cluster.database()


@pytest.fixture
def local(tmp_path: Path, dsn: str) -> Iterator[LocalRegistry]:
    with closing(LocalRegistry.open(tmp_path, dsn=dsn)) as registry:
        yield registry


async def patiently(local: LocalRegistry, tag: str) -> Digest:
    """A reader finds out that its connection broke by using it: that request is refused, a later one is not."""
    for _ in range(200):
        try:
            return local.reads.resolve("a", tag).digest
        except Unavailable:
            await asyncio.sleep(0.05)
    raise AssertionError("the reader did not connect again")


def test_migrations_make_the_tables_that_the_code_knows(tmp_path: Path, dsn: str) -> None:
    """The same tables, columns and indexes as in SQLite, where the schema is made at once."""
    LocalRegistry.open(tmp_path, dsn=dsn).close()
    LocalRegistry.open(tmp_path / "lite").close()
    with psycopg.connect(dsn) as db, closing(sqlite3.connect(tmp_path / "lite" / "index.db")) as lite:
        columns = db.execute(
            "SELECT table_name, column_name, data_type, is_nullable, coalesce(collation_name, '') FROM "
            "information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
        ).fetchall()
        assert {(table, column, _LITE[kind], empty) for table, column, kind, empty, _ in columns} == set(
            lite.execute(
                "SELECT t.name, c.name, c.type, iif(c.\"notnull\", 'NO', 'YES') FROM pragma_table_list t, "
                "pragma_table_info(t.name) c WHERE t.name NOT LIKE 'sqlite%' AND t.name <> 'alembic_version'"
            )
        )
        loose = [column for _, column, kind, _, collation in columns if kind == "text" and collation != "C"]
        assert loose == ["receipt"]  # which is never compared
        named = "SELECT name FROM sqlite_master WHERE type = 'index' AND name LIKE 'ix_%'"
        made = db.execute("SELECT indexname FROM pg_indexes WHERE indexname LIKE 'ix_%'").fetchall()
        assert set(made) == set(lite.execute(named))


async def test_names_are_in_the_order_of_their_bytes(local: LocalRegistry) -> None:
    names = ("1", "A", "Z", "_x", "a", "a-b", "a.b", "a_b", "ab", "b")
    await put_image(local, "a", tags=names[::-1])
    assert (await local.tags(CI, "a")).items == names
    assert (await local.tags(CI, "a", after="Z", limit=2)).items == ("_x", "a")


async def test_numbers_beyond_32_bits(tmp_path: Path, dsn: str) -> None:
    with closing(LocalRegistry.open(tmp_path, Rules(sparse_images=True), dsn=dsn)) as registry:
        huge = {"mediaType": "x/y", "digest": "sha256:" + "1" * 64, "size": 5 * 1024**4}
        image = manifest_of(layers=[huge])
        await registry.put_manifest(CI, "a", image, tags=["v"])
        assert (await registry.get_manifest(CI, "a", "v")).content == image.content


def test_an_index_of_another_folder_is_refused(tmp_path: Path, dsn: str) -> None:
    LocalRegistry.open(tmp_path / "one", dsn=dsn).close()
    with pytest.raises(DatabaseElsewhere, match=r"belongs to another data folder than .*two"):
        LocalRegistry.open(tmp_path / "two", dsn=dsn)
    LocalRegistry.open(tmp_path / "one", dsn=dsn).close()


def test_a_server_that_is_away_is_named_without_the_secret(tmp_path: Path) -> None:
    dsn = f"host={tmp_path} dbname=registry user=towpath password=canary-secret"
    with pytest.raises(DatabaseUnreachable) as refused:
        LocalRegistry.open(tmp_path / "data", dsn=dsn)
    assert "PostgreSQL database 'registry'" in str(refused.value)
    assert "canary" not in str(refused.value)
    with pytest.raises(DatabaseUnreachable, match="DSN of the index cannot be read") as refused:
        LocalRegistry.open(tmp_path / "data", dsn="nonsense canary-secret")
    assert "canary" not in str(refused.value)


def test_without_psycopg_the_message_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys\n"
        "sys.modules['psycopg'] = None\n"
        "from registry_node.storage.store import Store\n"
        "Store.open(pathlib.Path(sys.argv[1]), dsn='dbname=x')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "DatabaseUnreachable: an index in PostgreSQL needs a package that is not installed here" in ended.stderr
    assert "pip install 'towpath[postgresql]'" in ended.stderr


def test_a_newer_index_and_other_programs_are_not_touched(tmp_path: Path, dsn: str, cluster: Cluster) -> None:
    LocalRegistry.open(tmp_path, dsn=dsn).close()
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseTooNew, match="9999"):
        LocalRegistry.open(tmp_path, dsn=dsn)
    other = cluster.database()
    with psycopg.connect(other, autocommit=True) as db:
        db.execute("CREATE TABLE tags (theirs INTEGER)")
    with pytest.raises(DatabaseCorrupt, match="another program has a table called tags"):
        LocalRegistry.open(tmp_path / "other", dsn=other)


def test_a_database_of_another_encoding_is_refused(tmp_path: Path, cluster: Cluster) -> None:
    with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as db:
        db.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(DatabaseCorrupt, match="encoding LATIN1"):
        LocalRegistry.open(tmp_path, dsn=cluster.dsn("latin"))


async def test_a_lost_index_comes_back_from_the_journal(tmp_path: Path, cluster: Cluster) -> None:
    with closing(LocalRegistry.open(tmp_path, dsn=cluster.database())) as registry:
        image = await put_image(registry, "a", b"layer", tags=["v1", "gone"])
        await registry.delete_tag(CI, "a", "gone")
        states = await registry.tag_states(CI, "a")
    with closing(LocalRegistry.open(tmp_path, dsn=cluster.database())) as registry:
        assert await registry.tag_states(CI, "a") == states
        assert (await registry.closure(CI, "a", image.digest, rehash=True)).complete
        await registry.put_manifest(CI, "a", image, tags=["v2"])
        lines = [json.loads(line) for line in (tmp_path / "journal.ndjson").read_text().splitlines()]
        assert [line["position"] for line in lines] == list(range(1, len(lines) + 1))


async def test_a_restart_loses_nothing_and_doubles_nothing(local: LocalRegistry, cluster: Cluster) -> None:
    """Whatever was acknowledged is there; requests meanwhile get 503 with a time; then it goes on by itself."""
    image = await put_image(local, "a", b"1", tags=["v"])
    acknowledged, refused = [], []

    async def push(number: int) -> None:
        for count in range(100_000):
            tag = f"t{number}-{count}"
            try:
                await local.put_manifest(CI, "a", image, tags=[tag])
                acknowledged.append(tag)
            except Unavailable as error:
                refused.append(error)
                await asyncio.sleep(0.02)
            if refused and len(acknowledged) > after + 20:
                return

    after = 10**9
    pushing = [asyncio.create_task(push(number)) for number in range(3)]
    while len(acknowledged) < 5:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(cluster.restart)
    after = len(acknowledged)
    await asyncio.wait_for(asyncio.gather(*pushing), 60)
    assert all(error.retry_after for error in refused)
    assert await patiently(local, "v") == image.digest
    states = await local.tag_states(CI, "a", limit=10_000)
    assert states is not None
    assert {each.tag for each in states.tags} >= set(acknowledged)
    lines = [json.loads(line) for line in (local.folder / "journal.ndjson").read_text().splitlines()]
    assert [line["position"] for line in lines] == list(range(1, len(lines) + 1))
    assert sorted(line["tag"] for line in lines if line.get("tag")) == sorted(each.tag for each in states.tags)


async def test_readers_are_refused_at_once_while_the_server_is_away(local: LocalRegistry, cluster: Cluster) -> None:
    image = await put_image(local, "a", b"1", tags=["v"])
    cluster.stop()
    with pytest.raises(Unavailable, match="away; try again"):
        local.reads.resolve("a", "never asked before")
    with pytest.raises(Unavailable, match="away; try again"):
        local.reads.resolve("a", "v")  # what was known may no longer be so
    with pytest.raises(Unavailable):
        await local.tags(CI, "a")
    cluster.start()
    assert await patiently(local, "v") == image.digest
    assert (await local.tags(CI, "a")).items == ("v",)


async def test_a_process_that_joins_while_the_server_is_away_waits_for_it(
    tmp_path: Path, dsn: str, cluster: Cluster
) -> None:
    with closing(Store.prepare(tmp_path, dsn)):
        cluster.stop()
        try:
            joined = LocalRegistry.open(tmp_path, shared=True, dsn=dsn)
        finally:
            cluster.start()
        with closing(joined):
            for _ in range(200):
                try:
                    image = await put_image(joined, "a", b"1", tags=["v"])
                    break
                except Unavailable:
                    await asyncio.sleep(0.05)
            assert await patiently(joined, "v") == image.digest


async def test_writers_wait_for_what_a_dead_process_is_still_committing(local: LocalRegistry, dsn: str) -> None:
    image = await put_image(local, "a", b"1", tags=["v"])
    with psycopg.connect(dsn) as dead:
        dead.execute(_lock_of_writers())
        writing = asyncio.create_task(local.put_manifest(CI, "a", image, tags=["w"]))
        await asyncio.sleep(0.3)
        assert not writing.done()
    await writing


async def test_text_that_postgresql_cannot_keep_is_refused(local: LocalRegistry) -> None:
    await put_image(local, "a", b"1")
    with pytest.raises(RequestInvalid):
        await local.put_manifest(CI, "a", manifest_of(b"1", artifactType="a\0b"), tags=["v"])


def test_the_secret_is_found_where_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "dsn"
    secret.write_text(" dbname=x\n")
    assert Index.model_validate({"postgresql": {"dsn_file": str(secret)}}).dsn() == "dbname=x"
    in_the_environment = Index.model_validate({"postgresql": {"dsn_env": "TOWPATH_TEST_DSN"}})
    with pytest.raises(ValueError, match="TOWPATH_TEST_DSN holds no DSN"):
        in_the_environment.dsn()
    monkeypatch.setenv("TOWPATH_TEST_DSN", "dbname=y")
    assert in_the_environment.dsn() == "dbname=y"
    with pytest.raises(ValueError, match="cannot be read"):
        Index.model_validate({"postgresql": {"dsn_file": str(tmp_path / "missing")}}).dsn()
    with pytest.raises(ValueError, match="either in dsn_file or in dsn_env"):
        Index.model_validate({"postgresql": {}})
