"""The JSON Schema of the language (2020-12), for editors; ``--workspace`` adds the declared names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from identity.grants import ANYBODY, AUTHENTICATED
from topology.model import Topology
from topology.values import NAMES_OF

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


@lru_cache(maxsize=1)
def _base() -> Schema:
    return Topology.model_json_schema(by_alias=True)


def json_schema() -> Schema:
    """The schema of the language itself."""
    return _titled("Towpath topology", {})


def workspace_schema(data: Any) -> Schema:
    """The schema with the names that a topology declares (``data``: the file's, whole or not) as enums."""
    return _titled("Towpath topology, with the names of this workspace", declared_names(data))


def _titled(title: str, names: dict[str, list[str]]) -> Schema:
    body = {key: _plain(value, names) for key, value in _base().items() if key != "title"}
    return {"$schema": DIALECT, "title": title, **body}


def declared_names(data: Any) -> dict[str, list[str]]:
    """The declared names of each section; ``hosts``: of all sites; ``words``: what the language itself names."""
    sections = data if isinstance(data, dict) else {}
    names = {str(section): _names_in(value) for section, value in sections.items()}
    sites = sections.get("sites")
    hosts = (
        [_names_in(site.get("hosts")) for site in sites.values() if isinstance(site, dict)]
        if isinstance(sites, dict)
        else []
    )
    return {**names, "hosts": sorted({name for each in hosts for name in each}), "words": [ANYBODY, AUTHENTICATED]}


def _names_in(section: Any) -> list[str]:
    if isinstance(section, dict):
        return list(section)
    if isinstance(section, list):
        return [str(item["id"]) for item in section if isinstance(item, dict) and "id" in item]
    return []


def _plain(schema: Any, names: dict[str, list[str]]) -> Any:
    """A copy without our own marks: where a name is used, the declared ones are listed (when ``names`` has any)."""
    if isinstance(schema, list):
        return [_plain(each, names) for each in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: _plain(value, names) for key, value in schema.items() if key != NAMES_OF}
    known = [name for section in schema.get(NAMES_OF, ()) for name in names.get(section, ())]
    return {"type": "string", "enum": list(dict.fromkeys(known))} if known and "properties" not in schema else copy


def keys_at(path: tuple[str | int, ...], loc: tuple[str | int, ...] = ()) -> set[str]:
    """The keys that a mapping at this place may have; ``loc``: pydantic's, whose tags choose among kinds."""
    found: set[str] = set()
    schemas = [_base()]
    for segment in path:
        schemas = [below for schema in schemas for below in _below(schema, segment)]
    for schema in schemas:
        for each in _alternatives(schema):
            tag = _tag(each)
            if tag is None or len(loc) < 3 or tag == loc[2]:
                found |= set(each.get("properties", {}))
    return found


def _alternatives(schema: Schema) -> Iterator[Schema]:
    """The schema itself with its references followed, or each branch of its union."""
    if "$ref" in schema:
        yield from _alternatives(_base()["$defs"][schema["$ref"].rpartition("/")[2]])
        return
    branches = schema.get("anyOf") or schema.get("oneOf")
    if not branches:
        yield schema
        return
    for branch in branches:
        yield from _alternatives(branch)


def _tag(schema: Schema) -> str | None:
    for key in ("kind", "type"):
        constant = schema.get("properties", {}).get(key, {}).get("const")
        if isinstance(constant, str):
            return constant
    return None


def _below(schema: Schema, segment: str | int) -> Iterator[Schema]:
    for each in _alternatives(schema):
        if isinstance(segment, int):
            if isinstance(each.get("items"), dict):
                yield each["items"]
        elif segment in each.get("properties", {}):
            yield each["properties"][segment]
        elif isinstance(each.get("additionalProperties"), dict):
            yield each["additionalProperties"]
        else:
            yield from list(each.get("patternProperties", {}).values())[:1]
