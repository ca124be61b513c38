"""How it stands with the upstreams, for whoever scrapes: ``towpath_upstream_*``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from registry_node.metrics import Family, Metrics
from registry_node.registries.upstreams.asked import UpstreamStatus

_STATES = {"closed": 0.0, "half-open": 1.0, "open": 2.0}
Values = Iterable[tuple[tuple[str, ...], float]]


def watch(metrics: Metrics, status: Callable[[], tuple[UpstreamStatus, ...]]) -> None:
    def requests() -> Values:
        return [((each.name, outcome), count) for each in status() for outcome, count in each.requests.items()]

    def of_each(value: Callable[[UpstreamStatus], float | None]) -> Callable[[], Values]:
        return lambda: [((each.name,), found) for each in status() if (found := value(each)) is not None]

    def tell(name: str, text: str, value: Callable[[UpstreamStatus], float | None], *, counts: bool = False) -> None:
        metrics.families.append(Family(f"towpath_upstream_{name}", text, ("upstream",), of_each(value), counts))

    told = "Questions by outcome: answered, absent, not-asked, or why it failed"
    metrics.families.append(Family("towpath_upstream_requests", told, ("upstream", "outcome"), requests, True))
    tell("received_bytes", "Bytes of blobs that it sent", lambda each: each.received, counts=True)
    tell("circuit", "0: it is asked, 1: one request tries it, 2: it is left alone", lambda each: _STATES[each.circuit])
    tell("retry_in_seconds", "Until it is asked again", lambda each: each.retry_in)
    tell("budget_left", "Manifests that it still gives in this window", lambda each: each.budget_left)
    tell("budget_limit", "Manifests that it gives in a window", lambda each: each.budget_limit)
