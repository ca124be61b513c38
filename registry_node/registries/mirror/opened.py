"""Settings become a mirror, and its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

from registry_node.metrics import Family, Metrics
from registry_node.registries.mirror.mirror import MirrorRegistry
from registry_node.registries.upstreams import figures
from registry_node.registries.upstreams.upstreams import Upstreams
from registry_node.settings import NodeSettings

Values = Iterable[tuple[tuple[str, ...], float]]


def opened(settings: NodeSettings) -> MirrorRegistry:
    """Raises CannotOpen (storage/errors.py), OSError, ValueError."""
    assert settings.mirror is not None
    upstreams = Upstreams.of(settings.mirror, settings.data, manifest_bytes=settings.limits.manifest_bytes)
    return MirrorRegistry.open(
        settings.data,
        settings.mirror,
        upstreams,
        limits=settings.limits,
        node=settings.node,
        dsn=settings.index.dsn(),
    )


def watch(metrics: Metrics, mirror: MirrorRegistry) -> None:
    """Its figures; those that distribution's proxy has are called as there."""
    counts, kinds = mirror.counts, ("type",)

    def tell(
        name: str, text: str, labels: tuple[str, ...], values: Callable[[], Values], *, counter: bool = True
    ) -> None:
        metrics.families.append(Family(name, text, labels, values, counter))

    def served(kind: str) -> tuple[int, int]:
        """Answers with content, and their bytes."""
        found = [
            tally
            for of, tally in metrics.tallies.items()
            if of.handler == kind and of.method in ("GET", "HEAD") and of.status in (200, 206, 304)
        ]
        return sum(each.count for each in found), sum(each.sent for each in found)

    def misses() -> dict[str, int]:
        return {"manifest": counts.manifest_misses, "blob": counts.blob_misses}

    def hits() -> Values:
        return [((kind,), max(0, served(kind)[0] - missed)) for kind, missed in misses().items()]

    def pulled() -> Values:
        return (("manifest",), counts.manifest_bytes), (("blob",), counts.blob_bytes)

    tell("registry_proxy_requests", "Answers with content", kinds, lambda: [((k,), served(k)[0]) for k in misses()])
    tell("registry_proxy_hits", "Answers from the cache", kinds, hits)
    tell(
        "registry_proxy_misses",
        "Objects that an upstream gave",
        kinds,
        lambda: [((k,), n) for k, n in misses().items()],
    )
    tell("registry_proxy_pulled_bytes", "Bytes from upstreams", kinds, pulled)
    tell("registry_proxy_pushed_bytes", "Bytes to clients", kinds, lambda: [((k,), served(k)[1]) for k in misses()])
    for name, text, value in (
        ("stale_answers", "Answers older than they should be", lambda: counts.stale),
        ("wrong_bytes", "Blobs whose bytes were not what their digest says", lambda: counts.wrong),
        ("fills_resumed", "Blobs that went on where an earlier fill had stopped", lambda: counts.resumed),
        ("fills_stopped", "Fills that everybody had left", lambda: counts.stopped),
        ("fills_passed_through", "Blobs that were served and could not be kept", lambda: counts.passed_through),
        ("evicted_bytes", "Bytes that had to go for others", lambda: counts.evicted),
    ):
        tell(f"towpath_mirror_{name}", text, (), lambda value=value: [((), value())])  # type: ignore[misc]
    _watch_now(metrics, mirror)


def _watch_now(metrics: Metrics, mirror: MirrorRegistry) -> None:
    _watch_neighbours(metrics, mirror)
    figures.watch(metrics, mirror.upstreams)
    metrics.watch("towpath_mirror_cached_bytes", "Bytes of the copies", lambda: mirror.evictor.bytes)
    metrics.watch("towpath_mirror_fills", "Blobs on their way from upstreams", lambda: mirror.fills.running)
    metrics.watch("towpath_mirror_filling_bytes", "Bytes set aside for them", lambda: mirror.fills.reserved)


def _watch_neighbours(metrics: Metrics, mirror: MirrorRegistry) -> None:
    for name, text, read in (
        ("blobs", "Blobs that were read of a neighbour's folder", mirror.neighbours.blobs),
        ("bytes", "Bytes of those", mirror.neighbours.bytes),
    ):
        values = partial(_by_label, read)
        metrics.families.append(Family(f"towpath_mirror_neighbour_{name}", text, ("neighbour",), values))


def _by_label(counts: Counter[str]) -> Values:
    return [((label,), count) for label, count in counts.items()]
