"""Where a test may kill the process: after each state has been entered, and in the windows between effect and record.

``TOWPATH_FAILPOINT=<NAME>`` in the environment makes the process SIGKILL itself there. For tests; unset, it costs
one look at the environment. States enumerate themselves: a new one is a failpoint at once, and a test asks for its
scenario.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum

from promotions.states import State

VARIABLE = "TOWPATH_FAILPOINT"


class Window(StrEnum):
    """Between an effect at the target and the row that says so."""

    EVIDENCE_SENT = "EVIDENCE_SENT"  # the attestation is pushed, the row still says COPYING
    COMMIT_SENT = "COMMIT_SENT"  # the tags have changed, the row still says CHECKED
    LEDGERED = "LEDGERED"  # the ledger has its record, the row still says COMMITTED


NAMES = tuple(each.value for each in State) + tuple(each.value for each in Window)


def reached(point: State | Window) -> None:
    """Ends this process the hard way when the test asked for it."""
    if os.environ.get(VARIABLE) == point.value:
        os.kill(os.getpid(), signal.SIGKILL)
