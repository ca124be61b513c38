"""Who is where: sites with their networks, hosts with their addresses.

operator 10.90.1.2 --- WAN --- eu 10.91.1.0/24 (.1 router): eu-1 .11, eu-2 .12
                        |
                        +----- us 10.92.1.0/24 (.1 router): us-1 .11, us-2 .12

and beside each its IPv6 address, unique local (RFC 4193): operator fd00:90::2, eu-1 fd00:91::11 ... us-2 fd00:92::12.
"""

from __future__ import annotations

from dataclasses import dataclass

OPERATOR = "operator"
OPERATOR_ADDRESS = "10.90.1.2"
# The first two numbers of a site's addresses.
NETWORKS = {OPERATOR: "10.90", "eu": "10.91", "us": "10.92"}
# The first four bytes of its IPv6 addresses.
NETWORKS6 = {OPERATOR: "fd00:90", "eu": "fd00:91", "us": "fd00:92"}
OPERATOR_ADDRESS6 = f"{NETWORKS6[OPERATOR]}::2"
USER = "deploy"


@dataclass(frozen=True)
class LabHost:
    """A host of the lab; ``user`` logs in with the lab's key and has ``sudo -n``."""

    name: str
    site: str
    address: str
    user: str = USER
    port: int = 22

    @property
    def ssh(self) -> str:
        """As a topology says it: ``user@address``."""
        return f"{self.user}@{self.address}"

    @property
    def hardware(self) -> str:
        """Its network card's address: the same after every start, as a machine's is, so that no neighbour looks for it."""
        return ":".join(["02", "00", *(f"{int(number):02x}" for number in self.address.split("."))])

    @property
    def address6(self) -> str:
        return f"{NETWORKS6[self.site]}::{self.address.rpartition('.')[2]}"

    @property
    def router(self) -> str:
        return f"{NETWORKS[self.site]}.1.1"

    @property
    def router6(self) -> str:
        return f"{NETWORKS6[self.site]}::1"


HOSTS = {
    name: LabHost(name, site, f"{NETWORKS[site]}.1.{10 + number}")
    for site in ("eu", "us")
    for number in (1, 2)
    for name in [f"{site}-{number}"]
}
