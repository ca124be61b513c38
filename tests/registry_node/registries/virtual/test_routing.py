"""Which members may be asked, for any settings and any name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.grants import matches
from registry_node.registries.virtual.routing import Routing, Way, way
from registry_node.settings.virtual import Virtual

NAMES = ("one", "two", "three")
GLOBS = st.sampled_from(("apps/**", "apps/*", "**", "apps/api", "base/**", "**/api", "public/**"))
REPOSITORIES = st.sampled_from(("apps/api", "apps/web/api", "base/debian", "public", "appsx/api", "other", "apps"))
MEMBERS = [{"name": name, "kind": "local", "url": "http://127.0.0.1:1"} for name in NAMES]
OWNERS = st.lists(
    st.fixed_dictionaries(
        {
            "repositories": GLOBS,
            "members": st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
        }
    ),
    max_size=4,
)


def virtual(**settings: object) -> Virtual:
    return Virtual.model_validate({"members": MEMBERS, **settings})


@given(OWNERS, REPOSITORIES, st.sampled_from(("deny", "members")))
def test_the_first_glob_that_matches_holds_and_no_other_member_is_named(
    owns: list[dict[str, object]], repository: str, unmatched: str
) -> None:
    declared = virtual(owns=owns, unmatched=unmatched)
    found = way(declared, repository)
    matching = [each for each in declared.owns if matches(repository, (each.repositories,))]
    if matching:
        assert found == Way(matching[0].members, f"owns {matching[0].repositories}", owned=True)
    elif unmatched == "deny":
        assert found == Way((), "unmatched: deny")
    else:
        assert found == Way(NAMES, "unmatched: members in order")
    assert Routing(declared).of(repository) == found


def test_what_is_remembered_is_what_was_found() -> None:
    routing = Routing(virtual(owns=[{"repositories": "apps/**", "members": ["two"]}]))
    for _ in range(3):
        assert routing.of("apps/api").members == ("two",)
        assert routing.of("appsx/api").members == ()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"push_to": "four"}, "four is no member"),
        ({"owns": [{"repositories": "**", "members": ["four"]}]}, "four is no member"),
        ({"members": [MEMBERS[0], MEMBERS[0]]}, "two members have one name"),
        ({"members": [{**MEMBERS[0], "kind": "mirror"}], "push_to": "one"}, "one is a mirror"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        virtual(**wrong)
