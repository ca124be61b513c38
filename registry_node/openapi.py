"""An OpenAPI 3.1 document out of a table of operations and the pydantic types that they take and give."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from registry_node.exchange import Exchange
from registry_node.extension_routes import ExtensionRoute
from registry_node.messages import Response

Schema = dict[str, Any]
Content = type[BaseModel] | Schema | str | None
"""What an answer holds: JSON of a type or a schema, text of a media type, or nothing."""
OperationHandler = Callable[[Exchange, ExtensionRoute], Awaitable[Response]]
_REFERENCE = "#/components/schemas/{model}"
_ERROR: Schema = {
    "type": "object",
    "description": "The error body of the distribution-spec 1.1.",
    "required": ["errors"],
    "properties": {
        "errors": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {"code": {"type": "string"}, "message": {"type": "string"}, "detail": {}},
            },
        }
    },
}
_REASONS = {
    400: "The request cannot be read: the error says which part and why.",
    401: "Sign in; WWW-Authenticate says where.",
    403: "The caller lacks the grant.",
    404: "It is not here, or not for this caller.",
    405: "The method is not one of this URL; Allow names those that are.",
    409: "Somebody else's lease, another use of this id, or it has landed.",
    410: "It has ended, or is no longer kept.",
    412: "A tag is not what was expected; detail names what it is.",
    422: "A target of the transaction is not here.",
    429: "Too many requests; Retry-After says when to come back.",
    502: "An upstream of this mirror failed or sent what was not asked for; detail names it.",
    503: "Not now; Retry-After says when to come back.",
    504: "An upstream of this mirror did not answer in time; detail names it.",
    507: "A quota or the disk is full.",
    508: "The request has come through this node before: registries ask each other in a circle.",
}
_ALWAYS = (400, 405, 429, 503)  # whatever is asked
_SIGNED_IN = (401, 403, 508)  # of whoever must say who is asking, and through whom


@dataclass(frozen=True, slots=True)
class Parameter:
    """``place``: path, query or header."""

    name: str
    schema: Schema
    description: str = ""
    place: str = "query"

    def described(self) -> Schema:
        text = {"description": self.description} if self.description else {}
        return {"name": self.name, "in": self.place, "required": self.place == "path", "schema": self.schema, **text}


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of one path does. ``answers``: status -> content; ``refuses``: statuses of errors besides those
    that every operation knows; ``form``: the body is a form of this schema; ``open``: it needs no credentials."""

    summary: str
    answers: Mapping[int, Content]
    handler: OperationHandler | None = None
    refuses: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    form: Schema = field(default_factory=dict)
    open: bool = False

    def described(self) -> Schema:
        found: Schema = {"summary": self.summary}
        if self.parameters:
            found["parameters"] = [each.described() for each in self.parameters]
        if self.body is not None:
            found["requestBody"] = {"required": True, "content": _content(self.body)}
        if self.form:
            content = {"application/x-www-form-urlencoded": {"schema": self.form}}
            found["requestBody"] = {"required": True, "content": content}
        taken = {str(status): _answer(status, content) for status, content in self.answers.items()}
        refused = sorted({*_ALWAYS, *self.refuses, *(() if self.open else _SIGNED_IN)} - set(self.answers))
        found["responses"] = taken | {str(status): _refusal(status) for status in refused}
        found["security"] = [{"basic": []}, {"bearer": []}] if not self.open else [{}, {"basic": []}]
        return found


def _answer(status: int, content: Content) -> Schema:
    described = {"description": "Done." if status < 300 else "Nothing has changed." if status == 304 else "Not now."}
    return described if content is None else {**described, "content": _content(content)}


def _content(content: type[BaseModel] | Schema | str) -> Schema:
    if isinstance(content, str):
        return {content: {"schema": {"type": "string"}}}
    if isinstance(content, dict):
        return {"application/json": {"schema": content}}
    return {"application/json": {"schema": {"$ref": _REFERENCE.format(model=content.__name__)}}}


def _refusal(status: int) -> Schema:
    return {
        "description": _REASONS[status],
        "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(model="Errors")}}},
    }


def document(title: str, version: str, operations: Iterable[tuple[str, str, Operation]]) -> Schema:
    """``operations``: path, method and operation."""
    paths: dict[str, Schema] = {}
    taken, given = set[type[BaseModel]](), set[type[BaseModel]]()
    for path, method, operation in operations:
        paths.setdefault(path, {})[method.lower()] = operation.described()
        taken |= {operation.body} if operation.body else set()
        given |= {each for each in operation.answers.values() if isinstance(each, type)}
    wanted = [*_named(taken, "validation"), *_named(given - taken, "serialization")]
    _, schemas = models_json_schema(wanted, ref_template=_REFERENCE)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": {**schemas["$defs"], "Errors": _ERROR},
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _named(models: set[type[BaseModel]], mode: Any) -> list[tuple[type[BaseModel], Any]]:
    return [(each, mode) for each in sorted(models, key=lambda model: model.__name__)]
