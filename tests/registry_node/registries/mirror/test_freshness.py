"""What a reader of a tag gets, whatever the upstream and the clock do."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from registry_node.registries.mirror.freshness import RETRY_SECONDS, Belief, Check, Named, Next, Silence, staleness

BELIEF = st.builds(
    Belief,
    tag_seconds=st.sampled_from([0.0, 60.0, 3600.0]),
    negative_seconds=st.sampled_from([0.0, 30.0]),
    stale_seconds=st.sampled_from([0.0, 30.0, 600.0, 100_000.0]),
    keep_deleted=st.booleans(),
)


class Reader(RuleBasedStateMachine):
    """One tag: the upstream's (``there``), and what the mirror knows of it (``known``)."""

    def __init__(self) -> None:
        super().__init__()
        self.belief: Belief | None = None
        self.now = 1_000_000.0
        self.there: str | None = "a"
        self.up = True
        self.known: Check | None = None
        self.named_at: dict[str, float] = {}  # when the upstream last named each digest

    @precondition(lambda self: self.belief is None)
    @rule(belief=BELIEF)
    def declared(self, belief: Belief) -> None:
        self.belief = belief

    @rule(seconds=st.sampled_from([0.0, 1.0, 10.0, 61.0, 700.0, 5000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(digest=st.sampled_from(["a", "b", None]))
    def upstream_changes(self, digest: str | None) -> None:
        self.there = digest

    @rule(up=st.booleans())
    def upstream_goes_or_comes(self, up: bool) -> None:
        self.up = up

    @precondition(lambda self: self.belief is not None)
    @rule()
    def somebody_reads(self) -> None:
        assert self.belief is not None
        before, then = self.known, self.belief.next(self.known, self.now)
        asked = then in (Next.ASK, Next.SERVE_STALE_AND_ASK)
        if asked:
            self._ask()
        if not asked:
            assert before is not None
            fresh = self.now < before.checked_at + self.belief.tag_seconds
            failed = before.failed_at is not None and self.now < before.failed_at + RETRY_SECONDS
            gone = before.gone_at is not None and self.now < before.gone_at + self.belief.negative_seconds
            assert fresh or failed or gone
        elif self.up:
            if self.there is None:
                assert self.known is None or self.belief.keep_deleted
            else:
                assert self.known == Check(self.there, "hub", self.now)

    def _ask(self) -> None:
        assert self.belief is not None
        said: Named | Silence = Silence.FAILED
        if self.up:
            said = Silence.ABSENT if self.there is None else Named(self.there, "hub")
        if isinstance(said, Named):
            self.named_at[said.digest] = self.now
        self.known = self.belief.after(self.known, said, self.now)

    @invariant()
    def nothing_is_served_that_is_too_old(self) -> None:
        if self.belief is None or self.known is None:
            return
        assert self.known.checked_at == self.named_at[self.known.digest]
        served = self.belief.next(self.known, self.now) is not Next.ASK
        age = self.now - self.known.checked_at
        assert not served or age < max(self.belief.tag_seconds, self.belief.stale_seconds)
        if not self.belief.is_fresh(self.known, self.now) and (self.known.failed_at or self.known.gone_at):
            told = staleness(self.known, "box", self.now)
            assert told["age"] == str(int(age)) and told["warning"].startswith("110 box ")


Reader.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestReader = Reader.TestCase


def test_a_clock_that_was_put_back_makes_a_tag_old() -> None:
    belief = Belief(tag_seconds=60, negative_seconds=1, stale_seconds=600, keep_deleted=True)
    assert belief.next(Check("a", "hub", checked_at=1000.0), 900.0) is Next.ASK
