"""D9: which filters fit nothing that a node holds; and that no more is read than is needed."""

from __future__ import annotations

from promotions.live_filters import unmatched
from tests.promotions.world import CALL, World, index
from topology.filters import Filter, filters
from topology.load import loads


def repository(glob: str) -> Filter:
    return Filter(("promotions", 0, "repositories", 0), "promotion `p`", glob)


def tag(glob: str, *repositories: str) -> Filter:
    return Filter(("scopes", "s", "cleanup", "keep", 0, "tags", 0), "a keep rule", glob, repositories or ("**",))


async def left(world: World, *wanted: Filter) -> list[str]:
    return [each.glob for each in await unmatched(world.place("sandbox", "any").registry, CALL, wanted)]


async def test_what_fits_nothing_is_left(world: World) -> None:
    await index(world.place("sandbox", "apps/api"), "v1", salt="a")
    await index(world.place("sandbox", "apps/web"), "edge", salt="b")
    assert await left(world, repository("apps/**"), repository("app/**")) == ["app/**"]
    assert await left(world, tag("v*"), tag("edge"), tag("stabel")) == ["stabel"]


async def test_tags_are_those_of_the_repositories_that_the_filter_is_about(world: World) -> None:
    await index(world.place("sandbox", "apps/api"), "v1", salt="a")
    await index(world.place("sandbox", "apps/web"), "edge", salt="b")
    assert await left(world, tag("edge", "apps/api"), tag("v1", "apps/api")) == ["edge"]
    assert await left(world, tag("edge", "lib/**")) == [], (
        "that there is no such repository is another filter's finding"
    )


async def test_an_empty_node_says_nothing_about_filters(world: World) -> None:
    assert await left(world, repository("apps/**"), tag("v*")) == []


def test_every_filter_has_its_node_and_its_place() -> None:
    loaded = loads(
        """
apiVersion: towpath/v1
kind: Topology
metadata: {name: filters}
sites: {eu: {hosts: {eu-1: {}}}}
users: {ci: {robot: true, token: {env: CI}}}
scopes:
  a:
    class: ci
    grants: [{to: ci, allow: [pull], repositories: ['one/**', '**'], tags: ['two*']}]
    cleanup: {every: 1h, keep: [{newest: 3}, {tags: [three]}]}
  b: {class: ci}
nodes:
  a-eu: {kind: local, scope: a, site: eu, host: eu-1, port: 5001}
  b-eu: {kind: local, scope: b, site: eu, host: eu-1, port: 5002}
  a-2: {kind: local, scope: a, role: replica, site: eu, host: eu-1, port: 5003}
promotions: [{id: up, from: a, to: b, by: [ci], repositories: ['four/*']}]
replications:
  - {id: copy, from: a-eu, to: [a-2], on: event, repositories: ['five/**'], tags: ['six*']}
""",
        file="filters.yaml",
    )
    assert loaded.topology is not None and loaded.document is not None
    found = filters(loaded.topology)
    assert list(found) == ["a-eu"]
    assert [each.glob for each in found["a-eu"]] == ["one/**", "two*", "three", "four/*", "five/**", "six*"]
    for each in found["a-eu"]:
        shown = loaded.document.breached("D9", each.breach("a-eu"))
        assert each.glob in shown.source[shown.column - 1 :], f"{each} is shown at {shown.place}"
