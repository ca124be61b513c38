"""Where the nodes of a host log to: a journal of their own (systemd.exec(5), LogNamespace=; journald.conf(5)), so that they
and the host's other programs do not push each other's lines out."""

from __future__ import annotations

from sites.desired import layout
from sites.desired.files import File, Part

_MOST, _OLDEST = "1G", "30day"
_SETTINGS = f"""\
# Written by towpath apply; changes made here are shown by towpath drift and undone by the next apply.
# Other limits go into {layout.JOURNAL}.d/50-own.conf.
[Journal]
Storage=persistent
SystemMaxUse={_MOST}
MaxRetentionSec={_OLDEST}
# A line for each request: none is left out when many come.
RateLimitIntervalSec=0
ForwardToSyslog=no
"""


def part() -> Part:
    """Limits of the nodes' journal: 1 GiB and 30 days, whichever comes first."""
    return Part("logs", (File(str(layout.JOURNAL), _SETTINGS.encode()),), rereads=layout.JOURNAL_UNIT)
