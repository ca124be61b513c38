"""Who may reach the ports of nodes on their hosts."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from topology.declared import Declared

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
_PATTERN = r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"


def _network(value: Any) -> IpNetwork:
    if isinstance(value, IpNetwork):
        return value
    try:
        # An address may name an interface after its "%", in any characters at all: no packet filter knows one by that.
        return ipaddress.ip_network(value if isinstance(value, str) and "%" not in value else "")
    except ValueError:
        raise ValueError(f"should be a network such as 10.0.0.0/8 or fd00::/8, or one address{_meant(value)}") from None


def _meant(value: Any) -> str:
    """What an address with a prefix that is too short for it was probably meant to be."""
    try:
        if "/" not in value or "%" in value:
            return ""
        return f"; the network of {value} is {ipaddress.ip_network(value, strict=False)}"
    except (ValueError, TypeError):
        return ""


Network = Annotated[
    IpNetwork,
    BeforeValidator(_network),
    WithJsonSchema({"type": "string", "pattern": _PATTERN, "examples": ["10.0.0.0/8", "fd00::/8"]}),
]


class Firewall(Declared):
    """``allow``: the networks that are let in to the nodes' ports, beside all hosts of the topology. A host's stands in
    place of its site's."""

    allow: tuple[Network, ...] = ()
