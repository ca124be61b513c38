"""What a command says: data on stdout, talk on stderr; text for people, JSON for programs.

With ``-o json`` every datum is one JSON line (long work streams NDJSON) and so are errors, on stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TextIO

from cyclopts import Parameter

from towpath.problem import Problem

OutputFormat = Literal["text", "json"]


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """Options that every verb has."""

    output: Annotated[OutputFormat, Parameter(name=["--output", "-o"], help="text for people, json for programs.")] = (
        "text"
    )
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", help="Only data and errors.")] = False
    no_input: Annotated[bool, Parameter(name="--no-input", negative="", help="Never ask a question.")] = False

    def open(self) -> Output:
        return Output(json=self.output == "json", quiet=self.quiet)


PLAIN = Options()  # the default of every verb's ``options``


@dataclass(frozen=True)
class Output:
    """Where a verb writes."""

    json: bool = False
    quiet: bool = False

    def emit(self, record: Mapping[str, Any], text: str) -> None:
        """One datum: the record as a JSON line, or the text."""
        print(_line(record) if self.json else text, file=sys.stdout, flush=True)

    def rows(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """A table: a JSON line a row (all of its fields), or the named columns, aligned."""
        if self.json:
            for row in rows:
                print(_line(row), flush=True)
        else:
            print("\n".join(aligned(rows, columns)), flush=True)

    def talk(self, text: str) -> None:
        """For the person watching; not with ``-q``, and not with ``-o json``."""
        if not self.quiet and not self.json:
            print(text, file=sys.stderr, flush=True)

    def note(self, record: Mapping[str, Any], text: str) -> None:
        """What the person watching is told, and a program reads as a JSON line."""
        if self.json:
            print(_line(record), flush=True)
        else:
            self.talk(text)

    def warn(self, record: Mapping[str, Any], text: str) -> None:
        """What the person should mend, beside the data: on stderr for both."""
        if self.json:
            print(_line({"warning": record}), file=sys.stderr, flush=True)
        else:
            self.talk(text)

    def record(self, record: Mapping[str, Any]) -> None:
        """A JSON line of what a person sees from the exit status and the rest."""
        if self.json:
            print(_line(record), flush=True)

    @property
    def lively(self) -> bool:
        """Whether progress bars have someone to look at them."""
        return not self.quiet and not self.json and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def report(problem: Problem, *, as_json: bool) -> None:
    """An error, on stderr, in the form that was asked for."""
    if as_json:
        print(_line(problem.as_json()), file=sys.stderr, flush=True)
    else:
        print(_red(problem.as_text(), sys.stderr), file=sys.stderr, flush=True)


def aligned(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """The columns' names in capitals, then a line a row; two spaces between."""
    table = [[column.upper().replace("_", " ") for column in columns]]
    table += [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[at]) for line in table) for at in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]


def _cell(value: Any) -> str:
    return "-" if value is None or value == "" else str(value)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, default=str, ensure_ascii=False)


def _red(text: str, stream: TextIO) -> str:
    if not coloured(stream):
        return text
    head, colon, rest = text.partition(":")
    return f"\x1b[1;31m{head}\x1b[0m{colon}{rest}"


def coloured(stream: TextIO) -> bool:
    """Colour on a terminal, unless NO_COLOR is set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
