"""One YAML document as plain data with a mark for every key and value.

Built from parser events without recursion: libyaml's own composer overflows the C stack at 200,000 open brackets.
Pure: ``topology.load`` feeds it and knows yaml; this module does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from topology.findings import Breach, Finding, Severity
from topology.redaction import redacted
from topology.scalars import TagRefused, resolve, resolve_tagged

DEPTH_LIMIT = 64
NODE_LIMIT = 1_000_000
FINDING_LIMIT = 1_000
SHOWN = 400  # characters of a long line that a finding carries
EXPANSION_LIMIT = 100_000  # nodes that aliases may add in all

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a key or value begins and ends; from 0, the end is exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


class Spot:
    """The marks of one value and of what is in it."""

    __slots__ = ("children", "key", "value")

    def __init__(self, value: Mark, key: Mark | None = None) -> None:
        self.value = value
        self.key = key
        self.children: dict[str | int, Spot] = {}


class Stopped(Exception):
    """Reading cannot go on; the finding that says why is in the document."""


@dataclass
class Document:
    """``data`` is what the file says; ``findings`` what reading it found."""

    file: str
    text: str
    data: Any = None
    root: Spot = field(default_factory=lambda: Spot(Mark(0, 0, 0, 1)))
    findings: list[Finding] = field(default_factory=list)
    _lines: list[str] = field(default_factory=list)
    _hidden: list[Mark] = field(default_factory=list)
    _shown: dict[int, str] = field(default_factory=dict)

    def spot(self, path: Sequence[str | int]) -> Spot:
        """The spot of a path; segments that match no key are skipped (pydantic inserts the tags of unions)."""
        spot = self.root
        for segment in path:
            spot = spot.children.get(segment, spot)
        return spot

    def hide(self, mark: Mark) -> None:
        """From now on this text is shown as asterisks: it is a secret."""
        self._hidden.append(mark)
        self._shown.clear()

    def line(self, number: int) -> str:
        """A source line with its secrets blanked."""
        if number not in self._shown:
            self._shown[number] = redacted(self._unhidden(number))
        return self._shown[number]

    def _unhidden(self, number: int) -> str:
        if not self._lines:
            self._lines = self.text.split("\n")
        text = self._lines[number].rstrip("\r") if number < len(self._lines) else ""
        for mark in self._hidden:
            if mark.line <= number <= mark.end_line:
                start = mark.column if number == mark.line else 0
                end = mark.end_column if number == mark.end_line else len(text)
                text = text[:start] + "*" * (end - start) + text[end:]
        return text

    def finding(
        self, code: str, mark: Mark, message: str, help: str = "", severity: Severity = Severity.ERROR
    ) -> Finding:
        line = self.line(mark.line)
        length = mark.end_column - mark.column if mark.end_line == mark.line else len(line) - mark.column
        length = max(1, min(length, len(line) - mark.column))
        cut = max(0, mark.column - SHOWN // 2) if len(line) > SHOWN else 0
        source = line[cut : cut + SHOWN]
        return Finding(code, severity, self.file, mark.line + 1, mark.column + 1, message, help, source, length, cut)

    def shown(self, finding: Finding) -> Finding:
        """An earlier finding as it is shown now, without the secrets that were found since."""
        line = self.line(finding.line - 1)
        return replace(finding, source=line[finding.cut : finding.cut + SHOWN])

    def breached(self, code: str, breach: Breach, severity: Severity = Severity.ERROR) -> Finding:
        """At a scalar itself; at the key of a mapping or list (its own text can span many lines)."""
        spot = self.spot(breach.path)
        spread = bool(spot.children) or spot.value.line != spot.value.end_line
        mark = spot.key if spot.key is not None and (breach.at_key or spread) else spot.value
        return self.finding(code, mark, breach.message, breach.help, severity)


class _Frame:
    """An open mapping or list. ``sink``: what is read here is thrown away (a duplicate key's value, a complex key)."""

    __slots__ = ("anchor", "container", "is_key", "key", "key_mark", "sink", "spot", "weight")

    def __init__(self, container: dict[str, Any] | list[Any], spot: Spot, anchor: str | None) -> None:
        self.container = container
        self.spot = spot
        self.anchor = anchor
        self.key: str | None = None
        self.key_mark: Mark | None = None
        self.sink = False
        self.is_key = False
        self.weight = 1


class Builder:
    """Takes the events of one document in order. Raises Stopped past a limit."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._open: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, Spot, int]] = {}
        self._unfinished: set[str] = set()
        self._nodes = 0
        self._expanded = 0
        self._documents = 0

    def document_start(self, mark: Mark) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop("T005", mark, "a second document begins here", "a topology is one document: remove the `---`")

    def scalar(self, text: str, plain: bool, tag: str | None, anchor: str | None, mark: Mark) -> None:
        frame = self._open[-1] if self._open else None
        if frame is not None and isinstance(frame.container, dict) and frame.key is None:
            self._take_key(frame, text, plain, mark)
            return
        try:
            value = resolve_tagged(text, tag) if tag else resolve(text) if plain else text
        except TagRefused as refused:
            self._found("T009", mark, str(refused), "leave the tag out; quote the value if it is text")
            value = None
        self._add(value, Spot(mark), 1, anchor)

    def start(self, container: dict[str, Any] | list[Any], tag: str | None, anchor: str | None, mark: Mark) -> None:
        if tag and tag not in ("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self._found("T009", mark, f"the tag {tag} is not part of YAML's core schema", "leave the tag out")
        if len(self._open) >= DEPTH_LIMIT:
            self._stop("T003", mark, f"nested deeper than {DEPTH_LIMIT} levels", "a topology needs fewer than ten")
        frame = _Frame(container, Spot(mark), anchor)
        if anchor:
            self._unfinished.add(anchor)
        above = self._open[-1] if self._open else None
        if above is not None and isinstance(above.container, dict) and above.key is None:
            self._found("T009", mark, "a key should be text", "a list or mapping cannot be a key")
            frame.is_key = True
        self._open.append(frame)

    def end(self, mark: Mark) -> None:
        frame = self._open.pop()
        start = frame.spot.value
        frame.spot.value = Mark(start.line, start.column, mark.end_line, mark.end_column)
        if frame.anchor:
            self._unfinished.discard(frame.anchor)
        if frame.is_key:
            self._open[-1].key, self._open[-1].sink = "?", True
            return
        self._add(frame.container, frame.spot, frame.weight, frame.anchor)

    def alias(self, anchor: str, mark: Mark) -> None:
        frame = self._open[-1] if self._open else None
        if frame is not None and isinstance(frame.container, dict) and frame.key is None:
            self._found("T009", mark, "a key should be text", "an alias cannot be a key")
            frame.key, frame.sink = "?", True
            return
        if anchor in self._unfinished:
            self._stop("T003", mark, f"the anchor `{anchor}` contains itself", "write the part out once")
        if anchor not in self._anchors:
            self._stop("T001", mark, f"no anchor `{anchor}` stands before this alias", "")
        value, spot, weight = self._anchors[anchor]
        self._expanded += weight
        if self._expanded > EXPANSION_LIMIT:
            self._stop("T003", mark, f"aliases expand to more than {EXPANSION_LIMIT:,} values", "use fewer aliases")
        copy = Spot(spot.value)
        copy.children = spot.children
        self._add(value, copy, weight, None)

    def _take_key(self, frame: _Frame, text: str, plain: bool, mark: Mark) -> None:
        frame.key, frame.key_mark, frame.sink = text, mark, False
        if text == "<<" and plain:
            self._found(
                "T009", mark, "merge keys (<<) are not part of YAML 1.2", "write the keys out, or use a plain alias"
            )
            frame.sink = True
        elif text in frame.spot.children:
            first = frame.spot.children[text].key
            line = first.line + 1 if first else 0
            self._found("T002", mark, f"the key `{text[:80]}` is given twice, first on line {line}", "keep one of them")
            frame.sink = True

    def _add(self, value: Any, spot: Spot, weight: int, anchor: str | None) -> None:
        self._nodes += 1
        if self._nodes > NODE_LIMIT:
            self._stop("T003", spot.value, f"more than {NODE_LIMIT:,} values", "split the topology")
        if anchor:
            self._anchors[anchor] = (value, spot, weight)
        if not self._open:
            self.document.data, self.document.root = value, spot
            return
        frame = self._open[-1]
        frame.weight += weight
        if isinstance(frame.container, list):
            frame.spot.children[len(frame.container)] = spot
            frame.container.append(value)
            return
        assert frame.key is not None
        if not frame.sink:
            spot.key = frame.key_mark
            frame.spot.children[frame.key] = spot
            frame.container[frame.key] = value
        frame.key, frame.sink = None, False

    def _found(self, code: str, mark: Mark, message: str, help: str) -> None:
        if len(self.document.findings) >= FINDING_LIMIT:
            self._stop("T003", mark, f"more than {FINDING_LIMIT:,} findings", "is this a topology?")
        self.document.findings.append(self.document.finding(code, mark, message, help))

    def _stop(self, code: str, mark: Mark, message: str, help: str) -> NoReturn:
        self.document.findings.append(self.document.finding(code, mark, message, help))
        raise Stopped
