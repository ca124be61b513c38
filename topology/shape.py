"""Shape: data -> frozen models. What does not fit is a finding; what fits goes on to the later stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from topology import document as doc
from topology.findings import Breach, Finding, suggest
from topology.model import Topology
from topology.schema import keys_at

TAGGED = frozenset(
    {"nodes", "trust", "gates"}
)  # sections whose items pydantic tells apart by a tag, which it puts in `loc`
NAME_HELP = "names are lower-case letters, digits and hyphens, at most 63: they become host names"
_ENVELOPE = {"apiVersion": "towpath/v1", "kind": "Topology", "metadata": {"name": "unnamed"}}


@dataclass(frozen=True)
class Shape:
    """``topology``: the whole file, when all of it fits. ``partial``: the declarations that fit. ``lost``: sections with
    declarations that do not. ``kept``: for each list section, the indexes in the file of what stayed."""

    topology: Topology | None
    partial: Topology
    findings: tuple[Finding, ...] = ()
    lost: frozenset[str] = frozenset()
    kept: dict[str, list[int]] = field(default_factory=dict)

    def in_file(self, breach: Breach) -> Breach:
        """The same breach with the indexes of the file."""
        if len(breach.path) < 2 or not isinstance(breach.path[1], int):
            return breach
        kept = self.kept.get(str(breach.path[0]))
        return replace(breach, path=(breach.path[0], kept[breach.path[1]], *breach.path[2:])) if kept else breach


def check_shape(document: doc.Document, base: Path, spared: Sequence[doc.Path] = ()) -> Shape:
    """``spared``: paths that already have a finding of their own (inline secrets)."""
    context = {"base": base}
    try:
        topology = Topology.model_validate(document.data, context=context)
        return Shape(topology, topology)
    except ValidationError as invalid:
        problems = invalid.errors(include_url=False, include_input=True)
    findings = tuple(
        document.breached(breach.code, breach)
        for breach in (_breach(problem, document.data) for problem in problems if not _follows(problem, problems))
        if not any(_touches(breach.path, path) for path in spared)
    )
    data, kept = _without(document.data, [_path(problem["loc"]) for problem in problems])
    try:
        partial = Topology.model_validate(data, context=context)
    except ValidationError:
        partial, kept = Topology.model_validate(_ENVELOPE, context=context), {}
    return Shape(
        None, partial, findings, frozenset(str(problem["loc"][0]) for problem in problems if problem["loc"]), kept
    )


def _follows(problem: ErrorDetails, problems: Sequence[ErrorDetails]) -> bool:
    """A list that seems too short only because its elements were refused."""
    loc = problem["loc"]
    return problem["type"] == "too_short" and any(
        len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in problems
    )


def _touches(path: doc.Path, other: doc.Path) -> bool:
    shorter = min(len(path), len(other))
    return shorter > 2 and path[:shorter] == other[:shorter]


def _path(loc: tuple[str | int, ...]) -> doc.Path:
    """pydantic's `loc` without the tags of unions."""
    return loc[:2] + loc[3:] if loc[:1] and loc[0] in TAGGED and len(loc) > 2 and loc[2] != "[key]" else loc


def _without(data: dict[str, Any], broken: list[doc.Path]) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """The data without the declarations that hold something broken, and what stayed of each list section."""
    whole_sections = {path[0] for path in broken if len(path) == 1}
    items = {path[:2] for path in broken if len(path) > 1}
    left: dict[str, Any] = {}
    kept: dict[str, list[int]] = {}
    for section, value in data.items():
        if section in whole_sections or section in _ENVELOPE:
            continue
        if isinstance(value, dict):
            left[section] = {key: each for key, each in value.items() if (section, key) not in items}
        elif isinstance(value, list):
            kept[section] = [index for index in range(len(value)) if (section, index) not in items]
            left[section] = [value[index] for index in kept[section]]
    if any(path[0] == "tls" for path in broken if path):
        left.pop("tls", None)
    return _ENVELOPE | left, kept


def _breach(problem: ErrorDetails, data: Any) -> Breach:
    path, kind = _path(problem["loc"]), problem["type"]
    where = _owner(path, data)
    last = str(path[-1]) if path else ""
    match kind:
        case "extra_forbidden":
            help = suggest(last, keys_at(path[:-1], problem["loc"]))
            return Breach(path, f"unknown key `{last[:80]}`{where}", help, at_key=True, code="T006")
        case "missing":
            return Breach(path[:-1], f"`{last}` is missing{where}", f"add `{last}: …`", at_key=True, code="T007")
        case "union_tag_not_found":
            key = "kind" if path[:1] == ("nodes",) else "type"
            missing = f"`{key}` is missing{_owner((*path, key), data)}"
            return Breach(path, missing, f"add `{key}: …`", at_key=True, code="T007")
        case "union_tag_invalid":
            return _bad_tag(problem, path, data)
    return _wrong_value(problem, path, data)


def _wrong_value(problem: ErrorDetails, path: doc.Path, data: Any) -> Breach:
    if path and path[-1] == "[key]":
        return Breach(path[:-1], f"`{str(path[-2])[:80]}` {_said(problem)}", NAME_HELP, at_key=True, code="T012")
    subject = _declaration(path, data) if len(path) == 2 else f"`{_label(path)}`{_owner(path, data)}"
    if problem["type"] == "string_pattern_mismatch" and _is_name(problem):
        return Breach(path, f"{subject} {_said(problem)}", NAME_HELP, code="T012")
    return Breach(path, f"{subject} {_said(problem)}", _help(problem), code="T008")


def _bad_tag(problem: ErrorDetails, path: doc.Path, data: Any) -> Breach:
    context = problem.get("ctx", {})
    key = str(context.get("discriminator", "kind")).strip("'")
    known = [word.strip(" '") for word in str(context.get("expected_tags", "")).split(",")]
    help = suggest(str(context.get("tag", "")), known)
    message = f"`{key}`{_owner((*path, key), data)} should be one of {', '.join(known)}"
    return Breach((*path, key), message, help, code="T008")


def _label(path: doc.Path) -> str:
    """The key that a value stands under: `tags` for an element of a list too."""
    names = [str(segment) for segment in path if not isinstance(segment, int)]
    return names[-1] if names else "document"


def _owner(path: doc.Path, data: Any) -> str:
    """`` in node `prod-eu` ``: whose key it is."""
    if len(path) > 2 and path[0] in _NOUNS:
        return f" in {_declaration(path, data)}"
    return f" in `{path[0]}`" if len(path) > 1 else ""


def _declaration(path: doc.Path, data: Any) -> str:
    """``node `prod-eu```, ``promotion `to-prod```: what a path of two or more segments is about."""
    section, name = path[0], path[1]
    if isinstance(name, int):
        item = data[section][name] if isinstance(data.get(section), list) else None
        id = (item.get("id") or item.get("name")) if isinstance(item, dict) else None
        name = id if isinstance(id, str) else f"number {name + 1}"
    return f"{_NOUNS.get(str(section), str(section))} `{name[:80]}`"


_NOUNS = {
    "sites": "site",
    "users": "user",
    "issuers": "issuer",
    "groups": "group",
    "slas": "SLA",
    "scopes": "scope",
    "nodes": "node",
    "trust": "trust entry",
    "gates": "gate",
    "freezes": "freeze",
    "promotions": "promotion",
    "replications": "replication",
    "backups": "backup",
}


def _is_name(problem: ErrorDetails) -> bool:
    return "a-z0-9-" in str(problem.get("ctx", {}).get("pattern", ""))


_SHOULD = {
    "string_type": "should be text",
    "bool_type": "should be true or false",
    "int_type": "should be a whole number",
    "dict_type": "should be a mapping",
    "model_type": "should be a mapping",
    "model_attributes_type": "should be a mapping",
    "tuple_type": "should be a list",
    "string_pattern_mismatch": "is not written as it should be",
    "string_too_short": "should not be empty",
    "too_short": "should not be empty",
}


def _said(problem: ErrorDetails) -> str:
    """What is wrong, without the value: it may be a secret put in the wrong place."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "value_error":
        return str(context.get("error", problem["msg"]))
    if kind in ("literal_error", "enum"):
        return "should be " + str(context.get("expected", "")).replace("'", "`")
    if kind == "string_pattern_mismatch" and _is_name(problem):
        return "is not a name"
    said = problem["msg"].removeprefix("Input ")
    return _SHOULD.get(kind, said[:1].lower() + said[1:])


def _help(problem: ErrorDetails) -> str:
    given, context = problem.get("input"), problem.get("ctx", {})
    match problem["type"]:
        case "string_type" if isinstance(given, int | float):
            return "put it in quotes: it reads as a number or a truth value"
        case "bool_type" if isinstance(given, str) and given.lower() in ("yes", "no", "on", "off"):
            return "in YAML 1.2 yes, no, on and off are text: write true or false"
        case "literal_error" | "enum":
            known = [word.strip(" '") for word in str(context.get("expected", "")).replace(" or ", ",").split(",")]
            near = suggest(str(given), known)
            return near if near.startswith("did") else ""
        case "string_pattern_mismatch":
            return f"it has to match {context.get('pattern')}"
    return ""
