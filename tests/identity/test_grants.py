from __future__ import annotations

import pytest

from identity.grants import (
    ANONYMOUS,
    Action,
    Grant,
    Principal,
    WritePolicy,
    allowed,
    allowed_for_every_tag,
    matches,
    write_action,
)

DEV = Principal("dev", frozenset({"team"}), how="password")
ROBOT = Principal("ci", robot=True, how="token")
PULL = frozenset({Action.PULL})


@pytest.mark.attack("A-name-prefix")
@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [
        ("apps/api", "**", True),
        ("apps/api", "*", False),  # one star never crosses a slash
        ("apps/api", "apps/*", True),
        ("apps/api/v2", "apps/*", False),
        ("apps/api/v2", "apps/**", True),
        ("apps-secret/api", "apps/**", False),  # a prefix never grants
        ("appsx", "apps", False),
        ("xapps/api", "apps/**", False),
        ("apps/.hidden", "apps/*", True),
        ("Apps/api", "apps/**", False),
        ("apps/api\n", "apps/api", False),
        ("apps/api", "!apps/api", False),
        ("apps/api", "apps/{api,web}", False),
    ],
)
def test_globs_match_whole_names(name: str, pattern: str, fits: bool) -> None:
    assert matches(name, (pattern,)) is fits


def test_nothing_is_allowed_unless_granted() -> None:
    assert not allowed((), DEV, Action.PULL, "apps/api")
    assert not allowed([Grant("dev", PULL)], DEV, Action.PUSH, "apps/api")
    assert not allowed([Grant("other", PULL)], DEV, Action.PULL, "apps/api")


@pytest.mark.parametrize(
    ("to", "who", "may"),
    [
        ("everyone", ANONYMOUS, True),
        ("everyone", DEV, True),
        ("authenticated", DEV, True),
        ("authenticated", ANONYMOUS, False),
        ("team", DEV, True),
        ("team", ROBOT, False),
        ("dev", DEV, True),
        ("", ANONYMOUS, False),
    ],
)
def test_whom_a_grant_is_to(to: str, who: Principal, may: bool) -> None:
    assert allowed([Grant(to, PULL)], who, Action.PULL, "apps/api") is may


def test_tags_narrow_what_touches_a_tag() -> None:
    grants = [Grant("dev", frozenset({Action.PUSH}), tags=("dev-*",))]
    assert allowed(grants, DEV, Action.PUSH, "apps/api", "dev-1")
    assert not allowed(grants, DEV, Action.PUSH, "apps/api", "stable")
    assert allowed(grants, DEV, Action.PUSH, "apps/api")  # a blob has no tag


@pytest.mark.parametrize(
    ("policy", "person", "robot"),
    [
        (WritePolicy.OPEN, Action.PUSH, Action.PUSH),
        (WritePolicy.ROBOTS, None, Action.PUSH),
        (WritePolicy.PROMOTION_ONLY, Action.PROMOTE, Action.PROMOTE),
        (WritePolicy.REPLICATION_ONLY, Action.PROMOTE, Action.PROMOTE),
        (WritePolicy.READ_ONLY, None, None),
    ],
)
def test_what_a_write_needs(policy: WritePolicy, person: Action | None, robot: Action | None) -> None:
    assert write_action(policy, DEV) is person
    assert write_action(policy, ROBOT) is robot


NOBODY = Principal("nobody", how="password")
WHO = {"dev": DEV, "ci": ROBOT, "nobody": NOBODY, "anonymous": ANONYMOUS}


def _grant(to: str, *allow: Action, repositories: str = "**", tags: str = "**") -> Grant:
    return Grant(to, frozenset(allow), (repositories,), (tags,))


TABLE: list[tuple[str, Grant, set[str]]] = [
    ("nobody is granted anything", _grant("stranger", *Action), set()),
    ("a person", _grant("dev", *Action), {"dev"}),
    ("a robot", _grant("ci", *Action), {"ci"}),
    ("a group", _grant("team", *Action), {"dev"}),
    ("everyone", _grant("everyone", *Action), {"dev", "ci", "nobody", "anonymous"}),
    ("whoever signed in", _grant("authenticated", *Action), {"dev", "ci", "nobody"}),
    ("another repository", _grant("everyone", *Action, repositories="other/**"), set()),
    ("a prefix of its name", _grant("everyone", *Action, repositories="apps/ap"), set()),
    ("its folder as a name", _grant("everyone", *Action, repositories="apps"), set()),
    ("its name", _grant("dev", *Action, repositories="apps/api"), {"dev"}),
    ("another tag", _grant("dev", *Action, tags="dev-*"), set()),
    ("a prefix of the tag", _grant("dev", *Action, tags="v"), set()),
    ("the tag", _grant("dev", *Action, tags="v?"), {"dev"}),
]


@pytest.mark.attack("A-name-prefix")
@pytest.mark.parametrize(("grant", "callers"), [each[1:] for each in TABLE], ids=[each[0] for each in TABLE])
def test_who_may_what_with_one_grant(grant: Grant, callers: set[str]) -> None:
    for action in Action:
        found = {name for name, who in WHO.items() if allowed([grant], who, action, "apps/api", "v1")}
        assert found == callers, action


@pytest.mark.parametrize("action", list(Action))
def test_an_action_is_granted_by_itself_alone(action: Action) -> None:
    """Default deny: annotate gives nothing else, promote no push, push no pull, delete no push."""
    found = {other for other in Action if allowed([_grant("everyone", action)], DEV, other, "apps/api", "v1")}
    assert found == {action}


def test_a_digest_needs_a_grant_for_every_tag() -> None:
    some, star, every = (_grant("dev", Action.PULL, tags=tags) for tags in ("v*", "*", "**"))
    for grant, whole in ((some, False), (star, True), (every, True)):
        assert allowed_for_every_tag([grant], DEV, Action.PULL, "apps/api") is whole
        assert allowed([grant], DEV, Action.PULL, "apps/api")
        assert not allowed_for_every_tag([grant], DEV, Action.DELETE, "apps/api")
        assert not allowed_for_every_tag([grant], ROBOT, Action.PULL, "apps/api")
    halves = [_grant("dev", Action.PULL, tags=tags) for tags in ("a*", "b*")]
    assert not allowed_for_every_tag(halves, DEV, Action.PULL, "apps/api")
