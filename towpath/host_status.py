"""The rows of ``status`` for a topology on hosts."""

from __future__ import annotations

from typing import Any

from towpath.deploy import Ssh, claim, reached
from towpath.endpoints import of_nodes
from towpath.exits import Exit
from towpath.output import Output
from towpath.workspace import Workspace

STATUS_COLUMNS = ("node", "kind", "scope", "site", "host", "url", "endpoint", "state")


async def host_status(workspace: Workspace, ssh: Ssh, out: Output) -> Exit:
    """``status`` of a topology on hosts: a row a node; a host that does not answer says so in its rows."""
    rows = await _host_rows(workspace, ssh, out)
    out.rows(rows, STATUS_COLUMNS)
    served = [row["state"] == "active" for row in rows]
    if all(served):
        return Exit.DONE
    return Exit.SOME_SITES_FAILED if any(served) else Exit.FAILED


async def _host_rows(workspace: Workspace, ssh: Ssh, out: Output) -> list[dict[str, Any]]:
    claim(workspace, out)
    async with reached(workspace, ssh) as (deployment, hosts):
        facts, errors = await hosts.facts_where_possible(deployment.hosts)
    rows = []
    for name, host in deployment.hosts.items():
        for node in host.nodes:
            unit = facts[name].units.get(node.unit) if name in facts else None
            state = errors[name].code if name in errors else (unit.active if unit else "not there")
            rows.append(
                {
                    "node": node.name,
                    "kind": node.settings.kind,
                    "scope": node.settings.scope if node.settings.kind == "local" else None,
                    "site": host.target.site,
                    "host": name,
                    "url": deployment.urls[node.name],
                    "endpoint": of_nodes(workspace.topology).get(node.name),
                    "state": state,
                    "why": errors[name].what if name in errors else None,
                    "next": errors[name].next if name in errors else None,
                }
            )
    return rows
