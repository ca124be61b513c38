"""The small parts: retry, keys, tags, plan, freezes, store, database, trace, registries."""

import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from identity.grants import Principal
from oci_wire.errors import BlobUnknown, RegistryError, TooManyRequests, Unavailable
from promotions import database, freezes, migrations
from promotions.keys import KeyInvalid, generate, load_private, load_public
from promotions.outcome import Ending, Refused, Request
from promotions.pace import Pace
from promotions.plan import binding
from promotions.registries import Address, RemoteRegistries
from promotions.replicate import Replicator
from promotions.retry import RetryPolicy
from promotions.states import ImpossibleTransition, State
from promotions.store import RowMoved, Store, request_key
from promotions.tags import Image, TagsUnclear, target_tags
from promotions.trace import digest_of_tag, trace
from tests.databases import structure
from tests.promotions.world import CALL, CI, World, image, index, key, topology
from topology.model import Freeze, Topology


def failing(*errors: Exception) -> tuple[Callable[[], Awaitable[str]], list[int]]:
    left, calls = list(errors), list[int]()

    async def attempt() -> str:
        calls.append(1)
        if left:
            raise left.pop(0)
        return "done"

    return attempt, calls


class Waits(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


async def test_transient_errors_are_tried_again() -> None:
    attempt, calls = failing(Unavailable(), TooManyRequests())
    waits = Waits()
    assert await RetryPolicy(attempts=3, sleep=waits)(attempt) == "done"
    assert len(calls) == 3 and len(waits) == 2


async def test_terminal_errors_are_not() -> None:
    attempt, calls = failing(BlobUnknown(), BlobUnknown())
    with pytest.raises(BlobUnknown):
        await RetryPolicy(sleep=Waits())(attempt)
    assert len(calls) == 1


async def test_the_last_error_is_raised_unchanged() -> None:
    last = Unavailable("third")
    attempt, _ = failing(Unavailable("first"), Unavailable("second"), last)
    with pytest.raises(RegistryError) as caught:
        await RetryPolicy(attempts=3, sleep=Waits())(attempt)
    assert caught.value is last


async def test_retry_after_is_honoured_and_has_its_end() -> None:
    attempt, _ = failing(TooManyRequests(retry_after=7.0))
    waits = Waits()
    await RetryPolicy(sleep=waits)(attempt)
    assert waits[0] >= 7.0
    attempt, calls = failing(TooManyRequests(retry_after=3600.0))
    with pytest.raises(TooManyRequests):
        await RetryPolicy(sleep=Waits())(attempt)
    assert len(calls) == 1


def test_a_key_pair_comes_back_with_its_password_only() -> None:
    private, public = generate(b"secret")
    assert load_private(private, b"secret").public.pem == public == load_public(public).pem
    with pytest.raises(KeyInvalid, match="wrong password"):
        load_private(private, b"other")


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"junk",
        b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
    ],
)
def test_damaged_private_keys(damage: bytes) -> None:
    with pytest.raises(KeyInvalid):
        load_private(damage)


def test_a_private_key_is_no_trust_file() -> None:
    with pytest.raises(KeyInvalid, match="private key"):
        load_public(generate()[0])


async def test_templates(world: World) -> None:
    source = world.place("ci-pool")
    made = await index(source, "1.0", labels={"org.opencontainers.image.version": "1.8.2"})
    given = Image(source, CALL, made, "1.0", datetime(2026, 11, 23, tzinfo=UTC).timestamp())
    templates = ["{tag}", "stable", "v{label:org.opencontainers.image.version}", "{date}-{digest12}"]
    assert await target_tags(templates, given) == ("1.0", f"20261123-{made.digest.short}", "stable", "v1.8.2")


async def test_templates_that_cannot_be_filled(world: World) -> None:
    source = world.place("ci-pool")
    made = await image(source, labels={"bad": "not a tag!"})
    given = Image(source, CALL, made, "", 0.0)
    for template, why in (
        ("{tag}", "needs the source's tag"),
        ("{label:none}", "does not have"),
        ("v{label:bad}", "gives no tag"),
    ):
        with pytest.raises(TagsUnclear, match=why):
            await target_tags([template], given)


async def test_platforms_must_agree(world: World) -> None:
    source = world.place("ci-pool")
    one, two = await image(source, labels={"v": "1"}, salt="1"), await image(source, labels={"v": "2"}, salt="2")
    both = await index(source)
    from dataclasses import replace

    mixed = replace(both, children=(one.descriptor, two.descriptor))
    with pytest.raises(TagsUnclear, match="say 1, 2"):
        await target_tags(["{label:v}"], Image(source, CALL, mixed, "", 0.0))


async def test_tags_that_are_unclear_end_the_request(tmp_path: Path) -> None:
    world = World(tmp_path, lambda document: document["promotions"][0].update(tags=["v{label:version}"]))
    await world.signed_image()
    outcome = await world.promote()
    assert (outcome.ending, outcome.code) == (Ending.FAILED, "TAGS_UNCLEAR")


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Topology:
    return topology(tmp_path, change)


def test_verdicts_are_bound_to_what_they_rest_on(tmp_path: Path) -> None:
    def of(declared: Topology) -> str:
        edge = declared.edge("to-prod")
        assert edge is not None
        return binding(declared, edge, "sha256:" + "0" * 64)

    plain = of(topology(tmp_path))
    assert plain == of(changed(tmp_path, lambda document: document["scopes"]["sandbox"].update(owner="ana")))
    assert plain != of(changed(tmp_path, lambda document: document["gates"]["signed"].update(by=["towpath-key"])))
    (tmp_path / "release.pub").write_bytes(key("towpath").public.pem)
    assert plain != of(topology(tmp_path, keys=False))


def weekend() -> Freeze:
    return Freeze.model_validate(
        {
            "name": "weekends",
            "edges": ["to-prod"],
            "cron": "0 0 * * 6",
            "for": "48h",
            "timezone": "Europe/Berlin",
            "reason": "nobody",
        }
    )


@pytest.mark.parametrize(
    ("moment", "frozen"),
    [
        (datetime(2026, 11, 20, 22, 59, tzinfo=UTC), False),  # Friday 23:59 in Berlin
        (datetime(2026, 11, 20, 23, 0, tzinfo=UTC), True),
        (datetime(2026, 11, 22, 22, 59, tzinfo=UTC), True),
        (datetime(2026, 11, 22, 23, 0, tzinfo=UTC), False),
    ],
)
def test_freezes_hold_in_their_own_time_zone(moment: datetime, frozen: bool) -> None:
    assert (freezes.frozen_until(weekend(), moment.timestamp()) is not None) is frozen


def test_the_request_key_is_of_what_is_asked_alone() -> None:
    known = request_key("e", "r", "d", ["b", "a"])
    assert known == request_key("e", "r", "d", ["a", "b"])
    assert len({known, request_key("e", "r", "d", ["a"]), request_key("f", "r", "d", ["a", "b"])}) == 3


async def test_rows_move_once(world: World) -> None:
    await world.signed_image()
    done = await world.promote()
    row = await world.store.get(done.promotion)
    assert row is not None
    with pytest.raises(ImpossibleTransition):
        await world.store.enter(row, State.COPYING)
    from dataclasses import replace

    with pytest.raises(RowMoved):
        await world.store.enter(replace(row, state=State.CHECKED), State.COMMITTED)


def test_the_head_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [database.HEAD]


def test_a_new_database_is_what_the_migrations_would_have_made(tmp_path: Path) -> None:
    from sqlalchemy import create_engine, event

    database.open_database(tmp_path / "new.db").dispose()
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated.db'}")
    event.listen(engine, "connect", database._prepare)
    event.listen(engine, "begin", database._begin)
    with database.writing(engine) as connection:
        migrations.upgrade(connection)
    engine.dispose()
    assert structure(tmp_path / "new.db") == structure(tmp_path / "migrated.db")


def test_migrations_make_what_the_queries_use(tmp_path: Path) -> None:
    from sqlalchemy import inspect

    from promotions.schema import METADATA

    store = Store.open(tmp_path)
    found = inspect(store.engine)
    assert set(found.get_table_names()) - {"alembic_version"} == set(METADATA.tables)
    for name, table in METADATA.tables.items():
        assert {each["name"] for each in found.get_columns(name)} == {each.name for each in table.columns}
    store.close()


def test_a_corrupt_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "promotions.db").write_bytes(b"this is no database, but it is long enough" * 100)
    with pytest.raises(database.DatabaseUnusable, match=r"promotions\.db cannot be used: .*not a database"):
        Store.open(tmp_path)


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "promotions.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(database.DatabaseUnusable, match="a newer towpath wrote it"):
        Store.open(tmp_path)


async def test_a_trace_reads_ledgers_alone(world: World) -> None:
    made = await world.signed_image()
    await world.promote()
    await world.promote(who=Principal("mallory", how="password"))
    step, *others = trace(world.ledgers, str(made.digest))
    assert (step.kind, step.source, step.target, step.who, step.how) == (
        "promotion",
        "ci-pool",
        "prod",
        "ci-runner",
        "token",
    )
    assert dict(step.tags) == {"1.0": None, "stable": None, f"sha256-{made.digest.hex}.sig": None}
    assert step.verdicts[0]["answer"] == "pass" and step.verdicts[0]["evidence"] and step.evidence
    assert others == []  # what was refused before it was resolved is about no digest
    assert digest_of_tag(world.ledgers, "prod", "apps/api", "stable") == str(made.digest)
    assert digest_of_tag(world.ledgers, "prod", "apps/api", "none") is None
    assert trace(world.ledgers, "sha256:" + "0" * 64) == [] == trace(world.folder / "nowhere", str(made.digest))


async def test_nodes_that_are_not_there_are_named(tmp_path: Path) -> None:
    async with RemoteRegistries(
        topology(tmp_path), {"prod-eu": Address("http://127.0.0.1:9", "me", "s3cret")}
    ) as nodes:
        with pytest.raises(Refused, match="no node is called"):
            nodes.place("nowhere", "apps/api")
        with pytest.raises(Refused, match="has no address"):
            nodes.place("prod-us", "apps/api")
        assert nodes.place("prod-eu", "apps/api").scope == "prod"
    assert "s3cret" not in repr(Address("http://x", "me", "s3cret"))


async def test_an_edge_or_two_scopes_may_be_named(world: World) -> None:
    await world.signed_image()
    engine = world.engine()
    outcome = await engine.promote(Request("apps/api", "1.0", source="ci-pool", target="prod"), CI)
    assert (outcome.ending, outcome.edge) == (Ending.DONE, "to-prod")
    assert (
        await engine.promote(Request("apps/api", "1.0", edge="no-such"), CI)
    ).remedy == "edges of this topology: to-prod"
    unknown = await engine.promote(Request("apps/api", "1.0", source="ci-pool", target="prud"), CI)
    assert "'prud' is no scope" in unknown.remedy


async def test_an_anonymous_caller_is_refused(world: World) -> None:
    await world.signed_image()
    outcome = await world.promote(who=Principal())
    assert outcome.code == "NOT_ALLOWED" and "somebody without credentials" in outcome.reasons[0]


async def test_promoting_by_digest_needs_no_source_tag_when_it_is_given(world: World) -> None:
    made = await world.signed_image()
    assert (await world.promote(str(made.digest))).code == "TAGS_UNCLEAR"
    assert (await world.promote(str(made.digest), tag="2.0")).tags == ("2.0", "stable")


async def test_a_bandwidth_cap_is_shared_and_holds() -> None:
    now, waits = [0.0], Waits()
    pace = Pace(8_000, clock=lambda: now[0], sleep=waits)  # 1000 bytes a second
    for _ in range(3):
        await pace(1000)
    assert waits == [1.0, 2.0]
    now[0] = 10.0
    await pace(1000)
    await Pace()(10**9)
    assert len(waits) == 2


async def test_replication_keeps_below_its_bandwidth(world: World) -> None:
    prod = world.place("prod")
    await index(prod, "1.0")
    edge = world.topology.replication("everywhere")
    assert edge is not None
    capped = edge.model_copy(update={"bandwidth": 10**9})
    replicator = Replicator(world.topology, world.nodes, world.store, world.ledgers)
    assert (await replicator.repository(capped, "apps/api")).targets[0].sent > 0
