"""The JSON Schema of the language (2020-12), for editors; ``--workspace`` adds the declared names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from topology.model import Topology

Schema = dict[str, Any]


@lru_cache(maxsize=1)
def _base() -> Schema:
    return Topology.model_json_schema(by_alias=True)


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
