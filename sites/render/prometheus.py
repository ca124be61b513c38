"""What Prometheus is told: which nodes to scrape, and the rules that the SLAs mean.

Burn rates after the SRE Workbook, chapter 5 (multiwindow, multi-burn-rate alerts): how many times faster than the budget
of 30 days allows are requests failing, over a long window and over a twelfth of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sites.render.contained import address_of, scheme_of
from sites.settings.trust import authority_of
from sites.texts import text_of
from topology.model import LocalNode, Placed, Topology

_REQUESTS = "registry_http_requests_total"
_DURATIONS = "registry_http_request_duration_seconds_bucket"
_PULLS = 'method="GET",handler="manifest"'  # blobs last as long as they are large
_BURNS = ((14.4, "1h", "5m", "page"), (6, "6h", "30m", "page"), (3, "1d", "2h", "ticket"), (1, "3d", "6h", "ticket"))
_RENEWAL = timedelta(days=14)
AUTHORITY = "towpath-ca.crt"


@dataclass(frozen=True, slots=True)
class Target:
    address: str
    scheme: str
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class Job:
    """``authority``: the file whose certificates are believed; "": those that the system knows."""

    name: str
    scheme: str
    authority: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Alert:
    """``expr``: PromQL; ``held``: for how long it must be true."""

    name: str
    expr: str
    held: str
    severity: str
    summary: str


def scrape(topology: Topology, names: Sequence[str]) -> str:
    """prometheus.yml; the rules and AUTHORITY stand beside it."""
    return text_of("prometheus.yml.j2", jobs=tuple(_jobs(topology, names)))


def authority(topology: Topology, names: Sequence[str]) -> bytes | None:
    """The certificate that the configuration names as AUTHORITY; None: it names none. Raises HostError."""
    if topology.tls is None or not any(job.authority for job in _jobs(topology, names)):
        return None
    return authority_of(topology)


def _jobs(topology: Topology, names: Sequence[str]) -> Iterator[Job]:
    """One for all nodes that are reached and believed alike: over plain HTTP, by certificates of the topology's authority,
    and by certificates of their own, which the system's authorities must know."""
    alike: dict[tuple[str, str, str], list[Target]] = {}
    for name in names:
        target, own = _target(topology, name), getattr(topology.nodes[name], "tls", None) is not None
        issued = target.scheme == "https" and topology.tls is not None and not own
        kind = "own-certificates" if own else target.scheme
        alike.setdefault((kind, target.scheme, AUTHORITY if issued else ""), []).append(target)
    for number, ((kind, scheme, believed), targets) in enumerate(sorted(alike.items())):
        yield Job("towpath" if number == 0 else f"towpath-{kind}", scheme, believed, tuple(targets))


def rules(topology: Topology, names: Sequence[str]) -> str:
    """A rules file: alerts on nodes, and on each scope with an SLA."""
    shown = {node.scope for name in names if isinstance(node := topology.nodes[name], LocalNode)}
    alerts = {
        "nodes": list(_of_nodes(topology)),
        **{scope: list(_of_scope(topology, scope)) for scope in sorted(shown)},
    }
    return text_of(
        "prometheus-rules.yml.j2",
        topology=topology.metadata.name,
        alerts={group: each for group, each in alerts.items() if each},
    )


def _target(topology: Topology, name: str) -> Target:
    node = topology.nodes[name]
    assert isinstance(node, Placed)
    host = topology.sites[node.site].hosts[node.host]
    labels = {"topology": topology.metadata.name, "node": name, "kind": node.kind, "site": node.site, "host": node.host}
    if isinstance(node, LocalNode):
        labels |= {"scope": node.scope, "role": node.role.value}
    if host.failure_domain:
        labels["failure_domain"] = host.failure_domain
    address, slash, path = address_of(topology, name, ()).partition("/")
    if slash:  # Prometheus asks a target there in place of /metrics
        labels["__metrics_path__"] = f"/{path}/metrics"
    return Target(address, scheme_of(topology, node), labels)


def _of_nodes(topology: Topology) -> Iterator[Alert]:
    mine = f'topology="{topology.metadata.name}"'
    yield Alert("TowpathNodeDown", f"up{{{mine}}} == 0", "2m", "page", "{{ $labels.node }} does not answer")
    free = f"registry_storage_free_bytes{{{mine}}}"
    soon = f"predict_linear({free}[6h], 4 * 3600) < 0"
    yield Alert("TowpathDiskFull", f"{free} < 5e9 or {soon}", "5m", "page", "{{ $labels.node }} runs out of disk")
    ends = f"registry_tls_certificate_expiry_seconds{{{mine}}} < {int(_RENEWAL.total_seconds())}"
    yield Alert(
        "TowpathCertificateEnds", ends, "1h", "ticket", "the certificate of {{ $labels.node }} ends within 14 days"
    )
    restarts = f"changes(towpath_start_time_seconds{{{mine}}}[30m]) > 2"
    yield Alert("TowpathNodeRestarts", restarts, "0m", "ticket", "{{ $labels.node }} was started again and again")
    refused = f"registry_settings_refused{{{mine}}} > 0"
    yield Alert("TowpathSettingsRefused", refused, "1m", "ticket", "{{ $labels.node }} holds to its former settings")
    left = f"towpath_upstream_budget_left{{{mine}}} / towpath_upstream_budget_limit{{{mine}}} < 0.1"
    spent = "{{ $labels.node }} has nearly spent what {{ $labels.upstream }} gives"
    yield Alert("TowpathUpstreamBudget", left, "1m", "ticket", spent)


def _of_scope(topology: Topology, scope: str) -> Iterator[Alert]:
    name = topology.scopes[scope].sla
    if name is None:
        return
    sla, mine = topology.slas[name], f'topology="{topology.metadata.name}",scope="{scope}"'
    budget = round(1 - sla.availability / 100, 9)
    for severity in ("page", "ticket"):
        burns = (
            f"({_failing(mine, long)} > {factor} * {budget} and {_failing(mine, short)} > {factor} * {budget})"
            for factor, long, short, kind in _BURNS
            if kind == severity
        )
        summary = f"{scope} fails more requests than its {sla.availability} % availability allows"
        yield Alert(f"TowpathAvailability{severity.title()}", "\nor\n".join(burns), "0m", severity, summary)
    if sla.pull_p95:
        slow = f"histogram_quantile(0.95, sum by (le) (rate({_DURATIONS}{{{mine},{_PULLS}}}[5m])))"
        summary = f"manifests of {scope} take longer than the {_seconds(sla.pull_p95)} s promised for 95 of 100"
        yield Alert("TowpathPullSlow", f"{slow} > {_seconds(sla.pull_p95)}", "10m", "ticket", summary)
    if sla.min_failure_domains > 1:
        serving = f"count(count by (failure_domain) (up{{{mine}}} == 1))"
        few = f"({serving} or vector(0)) < {sla.min_failure_domains}"
        summary = f"{scope} is served in fewer than {sla.min_failure_domains} failure domains"
        yield Alert("TowpathFewFailureDomains", few, "5m", "page", summary)


def _failing(labels: str, window: str) -> str:
    """The share of requests that the node itself failed."""
    failed = f'sum(rate({_REQUESTS}{{{labels},code=~"5.."}}[{window}]))'
    return f"{failed} / sum(rate({_REQUESTS}{{{labels}}}[{window}]))"


def _seconds(time: timedelta) -> float:
    return time.total_seconds()
