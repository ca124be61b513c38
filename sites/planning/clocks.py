"""Whether a host's clock is right. Nodes take each other's tokens by their clocks, so one that is off lets nobody in.

Pure. A host says its time somewhere between our question and its answer: the middle of the two is what it is compared
with (as RFC 5905, section 8, has it), and half of the way there and back is what the comparison may be wrong by.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sites.hosts import HostError
from sites.planning.facts import HostFacts
from sites.planning.host_plan import HostPlan

# Two hosts may be wrong in opposite ways: together no more than the 60 s by which a node lets a token be early or late.
MOST = 30.0
WORTH_A_WORD = 5.0
_NEXT = "let it follow a time server: timedatectl set-ntp true"


@dataclass(frozen=True, slots=True)
class Skew:
    """Seconds by which a host's clock is ahead of ours (negative: behind), and by which we may be wrong about that."""

    seconds: float
    within: float

    @classmethod
    def of(cls, facts: HostFacts) -> Skew:
        """Facts that do not say when they were asked for are of now."""
        asked, answered = facts.asked or time.time(), facts.answered or time.time()
        return cls(facts.time - (asked + answered) / 2, (answered - asked) / 2)

    def exceeds(self, limit: float) -> bool:
        """Whether it is off by more for certain: a slow answer is no wrong clock."""
        return abs(self.seconds) - self.within > limit

    def __str__(self) -> str:
        return f"{abs(self.seconds):.0f} s {'ahead of' if self.seconds > 0 else 'behind'} this machine's"


def wrong_clock(host: str, facts: HostFacts) -> HostError | None:
    """Why nothing is changed on this host before its clock is right."""
    skew = Skew.of(facts)
    if not skew.exceeds(MOST):
        return None
    return HostError(
        "host-unfit",
        f"host {host} has another time",
        why=f"its clock is {skew}; nodes on other hosts would not take its tokens, nor it theirs",
        next=f"{_NEXT} there (and here, if it is this machine's clock that is wrong)",
    )


def clock_warnings(plans: Mapping[str, HostPlan]) -> Iterator[str]:
    """A line for each host whose clock is not off by so much that it is refused, and more than it should be."""
    for name, each in plans.items():
        skew = Skew.of(each.facts)
        if skew.exceeds(WORTH_A_WORD):
            yield f"warning[clock-off]: the clock of host {name} is {skew}; more than {MOST:.0f} s is refused. {_NEXT}"
