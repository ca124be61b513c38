"""Verbs for who writes a topology: lint, schema, graph, explain. The work is done in ``topology``."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from towpath.exits import Exit
from towpath.output import PLAIN, Options
from towpath.problem import Problem
from towpath.workspace import DEFAULT_FILE, HERE, Where


def lint(
    *files: Annotated[Path, Parameter(help="Topology files; default: that of --file.")],
    strict: Annotated[bool, Parameter(negative="", help="Warnings fail too.")] = False,
    sarif: Annotated[bool, Parameter(negative="", help="Print SARIF 2.1.0, for code-scanning pages.")] = False,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Check a topology; every finding at once, each with its place and a fix."""
    from topology.findings import errors
    from topology.load import load
    from topology.report import as_records, as_sarif, as_text
    from towpath.not_acted_on import not_acted_on

    out, paths = options.open(), files or (_file(where),)
    loaded = [load(path) for path in paths]
    findings = tuple(finding for each in loaded for finding in each.findings)
    if sarif:
        print(as_sarif(findings, version("towpath")))
    elif options.output == "json":
        for record in as_records(findings):
            out.emit(record, "")
    elif findings:
        print(as_text(findings))
    for path, each in zip(paths, loaded, strict=True):
        if each.topology is not None and (unused := not_acted_on(each.topology)):
            out.talk(f"note: {path}: declared, not acted on yet: {', '.join(unused)}")
    wrong = len(errors(findings))
    out.talk(_summary(paths, wrong, len(findings) - wrong))
    return Exit.USAGE if wrong or (strict and findings) else Exit.DONE


def schema(
    *,
    workspace: Annotated[bool, Parameter(negative="", help="Also list the names that the topology declares.")] = False,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Print the JSON Schema of the topology language, for editors."""
    from topology.schema import json_schema, workspace_schema

    shown = workspace_schema(_data(_file(where))) if workspace else json_schema()
    print(json.dumps(shown, ensure_ascii=False, indent=None if options.output == "json" else 2))
    return Exit.DONE


def graph(
    *,
    form: Annotated[
        Literal["text", "mermaid", "svg"], Parameter(name=["--format", "-F"], help="What to draw with.")
    ] = "text",
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Draw how images may move. A topology that breaks a rule is still drawn; one that cannot be read is not."""
    from topology import draw
    from topology.load import load
    from topology.report import as_text

    out, loaded = options.open(), load(_file(where))
    if loaded.topology is None:
        print(as_text(loaded.errors), file=sys.stderr)
        return Exit.USAGE
    drawn = {"text": draw.text, "mermaid": draw.mermaid, "svg": draw.svg}[form](loaded.topology)
    out.emit({"format": form, "drawing": drawn}, drawn)
    if loaded.errors:
        out.talk(f"{len(loaded.errors)} errors: towpath lint lists them")
    return Exit.DONE


def explain(
    code: Annotated[
        str | None, Parameter(help="Such as T010 or G5; SCOPE@SITE for an endpoint; without one, all codes are listed.")
    ] = None,
    /,
    *,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Say what a finding's code means and how to fix it; of an endpoint, which node it is and what leads there."""
    from topology.explain import UnknownCode, as_record, as_text, every, explained

    out = options.open()
    if code is None:
        out.rows([as_record(about) for about in every().values()], ("code", "severity", "title"))
        return Exit.DONE
    if "@" in code:
        from towpath.endpoints import described, endpoint_named, in_words

        workspace = where.open()
        found = endpoint_named(workspace.topology, code)
        out.emit(described(workspace, found), in_words(workspace, found))
        return Exit.DONE
    try:
        about = explained(code)
    except UnknownCode as error:
        raise Problem("unknown-code", str(error), next="towpath explain lists all codes", exit=Exit.USAGE) from None
    out.emit(as_record(about), as_text(about))
    return Exit.DONE


def _data(path: Path) -> object:
    """What the file says, as far as it can be read: an editor wants names while the file is being written."""
    from topology.load import read

    try:
        return read(path.read_text(encoding="utf-8-sig"), str(path)).data
    except (OSError, UnicodeDecodeError) as error:
        next = "name a topology file: -f FILE"
        raise Problem("no-topology", f"{path} cannot be read: {error}", next=next, exit=Exit.USAGE) from None


def _file(where: Where) -> Path:
    return where.file or Path(os.environ.get("TOWPATH_FILE") or DEFAULT_FILE)


def _summary(paths: tuple[Path, ...], errors: int, warnings: int) -> str:
    names = ", ".join(map(str, paths))
    counted = [
        f"{count} {noun}{'s' * (count != 1)}" for count, noun in ((errors, "error"), (warnings, "warning")) if count
    ]
    return f"{names}: {', '.join(counted) or 'ok'}"
