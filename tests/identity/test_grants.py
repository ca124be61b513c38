from __future__ import annotations

import pytest

from identity.grants import ANONYMOUS, Action, Grant, Principal, WritePolicy, allowed, matches, write_action

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
