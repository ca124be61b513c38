"""Retention as a pure function."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promotions.retention import Decision, Roots, RuleNotBuilt, TagFact, decide, describe
from topology.model import KeepRule

NOW = 1_000_000_000.0
DAY = 86400.0
DIGESTS = [f"sha256:{number:064x}" for number in range(6)]
THREE_DAYS = KeepRule.model_validate({"pushedWithin": "3d"})
NO_ROOTS = Roots({})


def rule(**conditions: object) -> KeepRule:
    return KeepRule.model_construct(
        **{"pushed_within": None, "pulled_within": None, "newest": None, "per": None, "tags": None, **conditions}
    )  # type: ignore[arg-type]


def fact(
    tag: str, days: float, digest: int = 0, contains: tuple[int, ...] = (), repository: str = "apps/api"
) -> TagFact:
    return TagFact(repository, tag, DIGESTS[digest], NOW - days * DAY, frozenset(DIGESTS[each] for each in contains))


def going(decisions: list[Decision]) -> set[str]:
    return {each.fact.tag for each in decisions if each.goes}


def test_pushed_within() -> None:
    decisions = decide([fact("new", 1), fact("edge", 3), fact("old", 3.1, 1)], [THREE_DAYS], NO_ROOTS, NOW)
    assert going(decisions) == {"old"}
    assert decisions[2].rule == "pushedWithin 3d" and "pushed 3d2h ago" in decisions[2].reason


def test_newest_per_repository_and_tags() -> None:
    facts = [
        fact("a", 9, 0),
        fact("b", 8, 1),
        fact("c", 7, 2),
        fact("stable", 99, 3),
        fact("x", 50, 4, repository="other"),
    ]
    rules = [rule(newest=2, per="repository"), rule(tags=("stable",))]
    assert going(decide(facts, rules, NO_ROOTS, NOW)) == {"a"}


def test_held_and_immutable_are_roots() -> None:
    roots = Roots({DIGESTS[1]: "promotion pr_1 is in flight"}, ("v*",))
    decisions = decide([fact("held", 9, 1), fact("v1", 9, 2), fact("old", 9, 3)], [THREE_DAYS], roots, NOW)
    assert going(decisions) == {"old"}
    assert [each.rule for each in decisions[:2]] == ["held", "immutable"]


def test_what_an_index_contains_stays_with_it() -> None:
    facts = [fact("inner", 9, 2), fact("middle", 9, 1, (2,)), fact("outer", 1, 0, (1,))]
    decisions = decide(facts, [THREE_DAYS], NO_ROOTS, NOW)
    assert going(decisions) == set()
    assert decisions[0].rule == decisions[1].rule == "referenced"


def test_evidence_follows_what_it_is_about() -> None:
    staying, leaving = DIGESTS[0].removeprefix("sha256:"), DIGESTS[1].removeprefix("sha256:")
    facts = [
        fact("new", 1, 0),
        fact("old", 9, 1),
        fact(f"sha256-{staying}.sig", 9, 2),
        fact(f"sha256-{leaving}.sig", 1, 3),
        fact(f"sha256-{DIGESTS[5][7:]}.att", 9, 4),
    ]
    assert going(decide(facts, [THREE_DAYS], NO_ROOTS, NOW)) == {"old", f"sha256-{leaving}.sig"}


def test_evidence_of_a_digest_that_another_tag_keeps_stays() -> None:
    sig = f"sha256-{DIGESTS[0][7:]}.sig"
    assert going(decide([fact("new", 1, 0), fact("old", 9, 0), fact(sig, 9, 2)], [THREE_DAYS], NO_ROOTS, NOW)) == {
        "old"
    }


def test_a_rule_that_is_not_built_stops_everything() -> None:
    with pytest.raises(RuleNotBuilt, match="pulledWithin is not built"):
        decide([fact("old", 9)], [THREE_DAYS, rule(pulled_within=timedelta(days=9))], NO_ROOTS, NOW)


def test_rules_read_as_they_are_written() -> None:
    assert (
        describe(rule(pushed_within=timedelta(hours=36), tags=("pr-*", "run-*")))
        == "pushedWithin 1d12h and tags pr-*,run-*"
    )


FACTS = st.lists(
    st.builds(
        fact,
        st.sampled_from([f"t{number}" for number in range(30)]),
        st.floats(0, 10),
        st.integers(0, 5),
        st.sets(st.integers(0, 5), max_size=3).map(tuple),
    ),
    max_size=12,
    unique_by=lambda each: each.tag,
)


@given(FACTS, st.sets(st.sampled_from(DIGESTS)))
def test_no_root_ever_goes(facts: list[TagFact], held: set[str]) -> None:
    decisions = decide(facts, [THREE_DAYS], Roots(dict.fromkeys(held, "held"), ("t1*",)), NOW)
    assert [each.fact for each in decisions] == facts
    staying = {inner for each in decisions if not each.goes for inner in each.fact.contains}
    for each in decisions:
        if each.goes:
            assert each.fact.digest not in held | staying
            assert not each.fact.tag.startswith("t1") and NOW - each.fact.pushed > 3 * DAY


@given(FACTS)
def test_more_rules_never_take_more(facts: list[TagFact]) -> None:
    fewer = going(decide(facts, [THREE_DAYS], NO_ROOTS, NOW))
    more = going(decide(facts, [THREE_DAYS, rule(newest=2)], NO_ROOTS, NOW))
    assert more <= fewer
