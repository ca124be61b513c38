"""How running work shows itself: a bar a blob on a terminal, JSON lines for programs, nothing in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from promotions.progress import BlobMoved, Entered, ManifestMoved, Progress, Watch
from towpath.output import Output

if TYPE_CHECKING:
    from rich import progress as rich_progress

_SHOWN_FROM = 256 * 1024  # bytes: smaller blobs come and go too fast to be read


@contextmanager
def watching(out: Output) -> Iterator[Watch]:
    """What the engine and the copier are told to report to."""
    if out.json:
        yield lambda event: _emit(out, event)
    elif out.lively:
        with _bars() as bars:
            yield Bars(bars)
    else:
        yield lambda event: None


def _emit(out: Output, event: Progress) -> None:
    match event:
        case Entered():
            out.emit({"event": "entered", "promotion": event.promotion, "state": event.state, "note": event.note}, "")
        case BlobMoved() if event.done == event.size:
            record = {"event": "blob", "digest": str(event.digest), "size": event.size, "how": event.how}
            out.emit(record, "")
        case ManifestMoved():
            out.emit({"event": "manifest", "digest": str(event.digest), "kind": event.kind}, "")


def _bars() -> rich_progress.Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    return Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


class Bars:
    """A ``Watch`` that draws."""

    def __init__(self, bars: rich_progress.Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, rich_progress.TaskID] = {}

    def __call__(self, event: Progress) -> None:
        match event:
            case Entered():
                self._bars.console.print(f"[dim]{event.state.lower():<10}[/dim] {event.note}", highlight=False)
            case BlobMoved() if event.size >= _SHOWN_FROM:
                self._blob(event)

    def _blob(self, event: BlobMoved) -> None:
        key = str(event.digest)
        if key not in self._tasks:
            self._tasks[key] = self._bars.add_task(f"{event.how} {event.digest.short}", total=event.size)
        self._bars.update(self._tasks[key], completed=event.done, description=f"{event.how} {event.digest.short}")
