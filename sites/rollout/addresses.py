"""Where nodes are asked during a rollout: at the address that clients use then, or still the one that they used before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import ValidationError

from registry_node.settings import NodeSettings
from sites.hosts import HostError, HostErrors
from sites.planning.host_plan import HostPlan
from sites.settings.addresses import Address
from topology.model import Topology
from topology.proxies import public_address


async def check_names(urls: Mapping[str, str]) -> None:
    """By node. Raises HostErrors: names that lead nowhere from here, so that no health gate could pass."""
    asked = {name: urlsplit(url).hostname or "" for name, url in urls.items()}
    loop = asyncio.get_running_loop()
    answers = await asyncio.gather(*(loop.getaddrinfo(each, None) for each in asked.values()), return_exceptions=True)
    errors = [
        HostError(
            "name-unknown",
            f"{host} leads nowhere",
            where=f"node {node}",
            why=str(answer),
            next="let DNS say that it is the host's address (one record for all below a domain will do), then apply again",
        )
        for (node, host), answer in zip(asked.items(), answers, strict=True)
        if isinstance(answer, OSError)
    ]
    if errors:
        raise HostErrors(errors)


def former_url(topology: Topology, plan: HostPlan, node: str) -> str | None:
    """Where a node that is to move behind a proxy answers as long as its host is as the facts say; None: nowhere else."""
    if public_address(topology, node) is None:
        return None
    try:
        found = NodeSettings.model_validate_json(plan.facts.settings(node) or "")
    except ValidationError:
        return None
    target = plan.host.target
    address = topology.sites[target.site].hosts[target.name].reached_at
    if found.listen.host.startswith("127.") or address is None:
        return None
    return Address(address, found.listen.port, tls=found.tls is not None).url
