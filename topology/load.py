"""A topology file -> Loaded(topology, findings). The only importer of yaml.

Order: syntax -> shape -> references -> graph rules. Later stages run for the parts that earlier ones could read, so
that one run shows everything. Nothing in a topology is ever executed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from topology.document import Builder, Document, Mark, Stopped
from topology.findings import Finding, Severity, errors
from topology.inline_secrets import inline_secrets
from topology.model import Topology
from topology.references import check_references
from topology.shape import check_shape

SIZE_LIMIT = 10 * 1024 * 1024
_TOP = Mark(0, 0, 0, 1)


@dataclass(frozen=True, slots=True)
class Loaded:
    """``topology`` is None when the file could not be read whole (a finding T… says why); rules may still have errors."""

    topology: Topology | None
    findings: tuple[Finding, ...]
    file: str = ""
    document: Document | None = field(default=None, repr=False, compare=False)  # for findings of later stages

    @property
    def errors(self) -> tuple[Finding, ...]:
        return errors(self.findings)

    @property
    def valid(self) -> Topology:
        """The topology, when nothing is wrong with it. Raises TopologyInvalid."""
        if self.topology is None or self.errors:
            raise TopologyInvalid(self.findings)
        return self.topology


class TopologyInvalid(Exception):
    """Carries every finding of the file."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        wrong = errors(findings)
        super().__init__(f"{wrong[0].place}: {wrong[0].message} ({len(wrong)} errors)" if wrong else "invalid topology")


def load(path: Path | str, *, rules: bool = True) -> Loaded:
    """Reads and checks a file. Never raises for what the file says: that is in ``findings``.

    ``rules`` False leaves the graph rules out, for a file whose very bytes passed them before."""
    path = Path(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(SIZE_LIMIT + 1)
    except OSError as error:
        return _unread(str(path), "T004", f"the file cannot be read: {error.strerror}", "name a topology file: -f FILE")
    if len(content) > SIZE_LIMIT:
        return _unread(str(path), "T003", "the file is larger than 10 MB", "split it by what is deployed together")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"byte {error.start} is not UTF-8"
        return _unread(str(path), "T004", f"the file is not UTF-8 text: {where}", "save it as UTF-8")
    return loads(text, base=path.parent, file=str(path), rules=rules)


def loads(text: str, base: Path | str = ".", file: str = "topology.yaml", *, rules: bool = True) -> Loaded:
    """The same for text; ``base`` is the folder that relative files are found from."""
    document = read(text, file)
    if not isinstance(document.data, dict):
        return Loaded(None, tuple(document.findings), file, document)
    exposed = inline_secrets(document)
    shape = check_shape(document, Path(base), spared=[breach.path for breach in exposed])
    read_first = [document.shown(each) for each in document.findings]  # now without secrets
    found = [*read_first, *(document.breached("S9", breach) for breach in exposed), *shape.findings]
    unknown = [shape.in_file(breach) for breach in check_references(shape.partial, document.data)]
    found += [document.breached(breach.code, breach) for breach in unknown]
    topology = None if errors(found) else shape.topology
    unsure = shape.lost | {str(breach.path[0]) for breach in unknown}
    if rules:
        from topology.rules import check_rules  # noqa: PLC0415 - networkx is half of what loading costs

        for rule, breach in check_rules(shape.partial, unsure):
            found.append(document.breached(rule.code, shape.in_file(breach), rule.severity))
    return Loaded(topology, tuple(sorted(found, key=lambda each: (each.line, each.column, each.code))), file, document)


def read(text: str, file: str = "topology.yaml") -> Document:
    """Syntax: text -> data and marks. What is wrong is in the document's findings; its data is then None."""
    document = Document(file, text)
    builder = Builder(document)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            _feed(builder, event)
    except Stopped:
        document.data = None
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        document.data = None
        document.findings.append(_syntax(document, error))
    if not document.findings and not isinstance(document.data, dict):
        begin = "begin with `apiVersion: towpath/v1` and `kind: Topology`"
        document.findings.append(document.finding("T005", document.root.value, "this is not a topology", begin))
    return document


def _feed(builder: Builder, event: yaml.Event) -> None:
    mark = _mark(event)
    match event:
        case yaml.ScalarEvent():
            builder.scalar(event.value, event.implicit[0], event.tag, event.anchor, mark)
        case yaml.MappingStartEvent():
            builder.start({}, event.tag, event.anchor, mark)
        case yaml.SequenceStartEvent():
            builder.start([], event.tag, event.anchor, mark)
        case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
            builder.end(mark)
        case yaml.AliasEvent():
            builder.alias(event.anchor or "", mark)
        case yaml.DocumentStartEvent():
            builder.document_start(mark)


def _mark(event: yaml.Event) -> Mark:
    start, end = event.start_mark, event.end_mark
    assert start is not None and end is not None  # libyaml marks every event
    return Mark(start.line, start.column, end.line, end.column)


def _syntax(document: Document, error: Exception) -> Finding:
    """What the parser could not read. libyaml says where a thing began (context) and where it broke (problem)."""
    if isinstance(error, yaml.reader.ReaderError):
        line = document.text.encode()[: error.position].count(b"\n")
        return document.finding(
            "T001", Mark(line, 0, line, 1), f"a character that YAML forbids: {error.reason}", "remove it"
        )
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return document.finding("T001", _TOP, "the text cannot be read as YAML", "")
    at = error.problem_mark
    began = f"{error.context}, which begins on line {error.context_mark.line + 1}: " if error.context_mark else ""
    help = (
        "indent with spaces, never tabs"
        if "\t" in document.line(at.line)
        else "look for a missing bracket, quote or space"
    )
    return document.finding("T001", Mark(at.line, at.column, at.line, at.column + 1), f"{began}{error.problem}", help)


def _unread(file: str, code: str, message: str, help: str) -> Loaded:
    return Loaded(None, (Finding(code, Severity.ERROR, file, 1, 1, message, help),), file)
