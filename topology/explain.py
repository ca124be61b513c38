"""What each code means: ``towpath explain CODE``."""

from __future__ import annotations

from dataclasses import dataclass

from topology.findings import Severity, suggest
from topology.rules import RULES


@dataclass(frozen=True, slots=True)
class Explained:
    """``checked`` False: the rule has its place in the table, but nothing checks it yet."""

    code: str
    severity: Severity
    title: str
    text: str
    checked: bool = True


class UnknownCode(LookupError):
    """No finding has this code; the message names the nearest one."""


_LOADING = (
    (
        "T001",
        "syntax",
        "The text is not YAML. The finding stands where the parser stopped; the cause is often on the line\n"
        "before: a bracket or quote that is not closed, a missing space after a colon, a tab. Nothing after\n"
        "it could be read: correct it and run again.",
    ),
    (
        "T002",
        "a key given twice",
        "A mapping holds the same key twice. YAML readers disagree about which one counts, so neither is\n"
        "taken for granted: keep one.",
    ),
    (
        "T003",
        "too large",
        "A topology is read whole. Limits: 10 MB, 1,000,000 values, 64 levels, 100,000 values added by\n"
        "aliases. Beyond them a file is a mistake or an attack.",
    ),
    (
        "T004",
        "unreadable",
        "The file does not exist, may not be read by this user, or is not UTF-8 text.",
    ),
    (
        "T005",
        "not a topology",
        "The file is empty, holds a list or a plain value, or holds several documents. A topology is one\n"
        "mapping that begins with `apiVersion: towpath/v1` and `kind: Topology`.",
    ),
    (
        "T006",
        "unknown key",
        "The language has no such key at this place. Keys are written in camelCase. A key that nobody reads\n"
        "would be a rule that nobody keeps, so it is an error. `towpath schema` gives editors the full list.",
    ),
    (
        "T007",
        "missing key",
        "This declaration cannot do without the key.",
    ),
    (
        "T008",
        "wrong value",
        "The value is not of the kind that this key takes. Scalars are those of YAML 1.2: `no`, `on` and\n"
        "`12:30` are text, `0755` is 755. Durations: 300ms, 15m, 1h30m, 7d. Sizes: 500GiB, 1.5TB. Rates:\n"
        "400Mbit, 50MiB/s. Patterns: `**` crosses `/`, `*` does not. Regular expressions always match the\n"
        "whole string.",
    ),
    (
        "T009",
        "not in YAML's core schema",
        "Tags such as `!custom` or `!!python/…`, merge keys (`<<`) and keys that are lists or mappings are\n"
        "not read: nothing in a topology is ever executed, and it should read the same to every tool.",
    ),
    (
        "T010",
        "unknown name",
        "A declaration uses a name that is declared nowhere in the file. The help names the nearest declared\none.",
    ),
    (
        "T011",
        "one name for two things",
        "Users and groups share one namespace (a grant says `to: name`), and so do promotions and\n"
        "replications (a freeze says `edges: [id]`). `everyone` and `authenticated` are words of the\n"
        "language.",
    ),
    (
        "T012",
        "not a name",
        "Names are lower-case letters, digits and hyphens, begin and end with a letter or digit, and have at\n"
        "most 63 characters: names of nodes and scopes become host names, and clients refuse underscores and\n"
        "upper case there.",
    ),
    (
        "T020",
        "a secret is missing",
        "The topology names a secret (`{env: NAME}` or `{file: path}`, relative to the topology file) that is\n"
        "not there or cannot be read. Checked before anything starts. `towpath up --create-secrets` makes\n"
        "missing files for a try-out on this machine.",
    ),
    (
        "T021",
        "a secret that others can read",
        "The file's mode lets its group or everyone read it. chmod 0600.",
    ),
    (
        "T022",
        "no public key",
        "A trust entry of type key names a PEM file that begins with `BEGIN PUBLIC KEY`. A certificate is not\n"
        "taken for a key, and a private key does not belong there.",
    ),
)
_WARNINGS = frozenset({"T021"})
_NOT_YET = "This rule is part of the language but is not checked yet."


def every() -> dict[str, Explained]:
    """All codes, in the order of their tables."""
    found = {
        code: Explained(code, Severity.WARNING if code in _WARNINGS else Severity.ERROR, title, text)
        for code, title, text in _LOADING
    }
    for rule in RULES:
        checked = bool(rule.stage)
        found[rule.code] = Explained(rule.code, rule.severity, rule.title, rule.explanation or _NOT_YET, checked)
    return found


def explained(code: str) -> Explained:
    """Raises UnknownCode."""
    known = every()
    about = known.get(code.upper())
    if about is None:
        raise UnknownCode(f"no finding has the code {code!r}; {suggest(code.upper(), known)}")
    return about


def as_text(about: Explained) -> str:
    severity = about.severity if about.checked else "not checked yet"
    return f"{about.code} ({severity}): {about.title}\n\n{about.text}"


def as_record(about: Explained) -> dict[str, str]:
    """``{code, severity, title, text}``; severity: error, warning or ``not checked yet``."""
    severity = str(about.severity) if about.checked else "not checked yet"
    return {"code": about.code, "severity": severity, "title": about.title, "text": about.text}
