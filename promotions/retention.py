"""What goes and what stays, as a pure function: facts, rules, roots -> decisions. It reads nothing and deletes nothing.

A tag stays when one rule keeps it, when it is a root (held, immutable), when an index that stays contains it, or when
it is evidence (a signature or referrers tag) about something that stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from identity.grants import matches
from topology.model import KeepRule

_EVIDENCE = re.compile(r"(sha256|sha512)-([0-9a-f]{64,128})(\.sig|\.att|\.sbom)?")
_NOT_BUILT = ("pulled_within",)


class RuleNotBuilt(Exception):
    """The language has this rule, retention does not yet; nothing is cleaned up under half a rule."""


@dataclass(frozen=True, slots=True)
class TagFact:
    """``pushed`` in seconds since the epoch; ``contains`` are the manifests of an index."""

    repository: str
    tag: str
    digest: str
    pushed: float
    contains: frozenset[str] = frozenset()

    @property
    def about(self) -> str | None:
        """The digest that this tag holds evidence about, by its name."""
        found = _EVIDENCE.fullmatch(self.tag)
        return f"{found[1]}:{found[2]}" if found else None


@dataclass(frozen=True, slots=True)
class Decision:
    """``rule`` names what decided; ``reason`` is for a person."""

    fact: TagFact
    goes: bool
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Roots:
    """What no rule may take: held digests with their reasons, and globs of tags that never move."""

    held: Mapping[str, str]
    immutable: Sequence[str] = ()


def is_evidence(tag: str) -> bool:
    """Whether a tag holds evidence about a digest, by its name."""
    return _EVIDENCE.fullmatch(tag) is not None


def decide(facts: Iterable[TagFact], rules: Sequence[KeepRule], roots: Roots, now: float) -> list[Decision]:
    """One decision a tag, in the order of the facts. Raises RuleNotBuilt."""
    _check_built(rules)
    facts = list(facts)
    images = [each for each in facts if each.about is None]
    newest = {id(each): place for place, each in _by_age(images)}
    decided = {id(each): _by_rule(each, rules, roots, now, newest[id(each)]) for each in images}
    _keep_contained(images, decided)
    staying = _reach(each.fact for each in decided.values() if not each.goes)
    going = _reach(each.fact for each in decided.values() if each.goes) - staying
    decided |= {id(each): _evidence(each, going, roots) for each in facts if each.about is not None}
    return [decided[id(each)] for each in facts]


def _check_built(rules: Sequence[KeepRule]) -> None:
    for rule in rules:
        for name in _NOT_BUILT:
            if getattr(rule, name) is not None:
                raise RuleNotBuilt(
                    f"the keep rule {_camel(name)} is not built yet: pulls of all sites must be counted together first. "
                    "Nothing is cleaned up"
                )


def _by_age(images: Sequence[TagFact]) -> Iterable[tuple[int, TagFact]]:
    """Each tag with its place in its repository, the newest first, from 0."""
    places: dict[str, int] = {}
    for each in sorted(images, key=lambda fact: (-fact.pushed, fact.tag)):
        place = places.get(each.repository, 0)
        places[each.repository] = place + 1
        yield place, each


def _by_rule(fact: TagFact, rules: Sequence[KeepRule], roots: Roots, now: float, place: int) -> Decision:
    if roots.immutable and matches(fact.tag, tuple(roots.immutable)):
        return Decision(fact, False, "immutable", "the tag is immutable")
    if fact.digest in roots.held:
        return Decision(fact, False, "held", roots.held[fact.digest])
    for rule in rules:
        if _fits(rule, fact, now, place):
            return Decision(fact, False, describe(rule), f"kept by {describe(rule)}")
    shown = " or ".join(describe(each) for each in rules)
    age = timedelta(seconds=round(max(0.0, now - fact.pushed)))
    return Decision(fact, True, shown, f"pushed {duration(age)} ago; stays only with {shown}")


def _fits(rule: KeepRule, fact: TagFact, now: float, place: int) -> bool:
    """All conditions of the rule that are given."""
    conditions = []
    if rule.pushed_within is not None:
        conditions.append(now - fact.pushed <= rule.pushed_within.total_seconds())
    if rule.newest is not None:
        conditions.append(place < rule.newest)
    if rule.tags is not None:
        conditions.append(matches(fact.tag, rule.tags))
    return bool(conditions) and all(conditions)


def _keep_contained(images: Sequence[TagFact], decided: dict[int, Decision]) -> None:
    """A tag whose digest an index that stays contains stays too; which may keep more, until nothing changes."""
    while True:
        holders = {inner: each.fact for each in decided.values() if not each.goes for inner in each.fact.contains}
        kept = [each for each in images if decided[id(each)].goes and each.digest in holders]
        if not kept:
            return
        for each in kept:
            holder = holders[each.digest]
            reason = f"the index {holder.repository}:{holder.tag}, which stays, contains it"
            decided[id(each)] = Decision(each, False, "referenced", reason)


def _evidence(fact: TagFact, going: set[str], roots: Roots) -> Decision:
    if fact.digest in roots.held:
        return Decision(fact, False, "held", roots.held[fact.digest])
    if fact.about in going:
        return Decision(fact, True, "evidence", f"it is about {fact.about}, which goes")
    return Decision(fact, False, "evidence", f"it is about {fact.about}, which does not go")


def _reach(facts: Iterable[TagFact]) -> set[str]:
    return {digest for each in facts for digest in (each.digest, *each.contains)}


def describe(rule: KeepRule) -> str:
    """As the rule is written: ``pushedWithin 3d``."""
    parts = []
    for name in ("pushed_within", "pulled_within", "newest", "tags"):
        value = getattr(rule, name)
        if value is not None:
            shown = duration(value) if isinstance(value, timedelta) else value
            parts.append(f"{_camel(name)} {','.join(shown) if isinstance(shown, tuple) else shown}")
    return " and ".join(parts)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(each.title() for each in rest)


def duration(length: timedelta) -> str:
    """``3d``, ``6h``, ``1d12h``: as people write durations."""
    seconds, parts = int(length.total_seconds()), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"
