"""The URLs of ``/_towpath/v1``, read: which kind of thing, of which repository, and the part after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import unquote

from pydantic import TypeAdapter, ValidationError

from oci_wire.digest import Digest, looks_like_digest
from oci_wire.errors import RequestInvalid
from oci_wire.extension import EVENTS, ROOT, VERSION, Name
from oci_wire.reference import check_repository, check_tag
from oci_wire.routes import parse_query

T = TypeVar("T")
OPENAPI = f"{ROOT}{VERSION}/openapi.json"
_REPOSITORIES = f"{ROOT}{VERSION}/r/"
_OF_REPOSITORIES = ("leases", "holds", "transactions", "tags", "closure", "why")
_OF_THE_NODE = {ROOT: "features", EVENTS: "events", OPENAPI: "openapi"}
_SAID = 10  # problems told at once
_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True, slots=True)
class ExtensionRoute:
    """``kind``: features, events, openapi, leases, holds, transactions, tags, closure or why; ``target``: the part after
    it."""

    kind: str
    repository: str = ""
    target: str = ""
    query: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """A parameter. Raises RequestInvalid when it came twice: readers differ on which one counts."""
        found = [value for key, value in self.query if key == name]
        if len(found) > 1:
            raise RequestInvalid(f"the parameter {name} came twice")
        return found[0] if found else None


def parse(target: str) -> ExtensionRoute | None:
    """Reads a request target; None when it is no URL of the extension. Raises NameInvalid, RequestInvalid."""
    path, _, query = target.partition("?")
    pairs = parse_query(query)
    if path in _OF_THE_NODE:
        return ExtensionRoute(_OF_THE_NODE[path], query=pairs)
    name, marker, rest = path.removeprefix(_REPOSITORIES).rpartition("/_/")
    if not path.startswith(_REPOSITORIES) or not marker:
        return None
    kind, _, part = rest.partition("/")
    if kind not in _OF_REPOSITORIES or (kind == "tags" and part):
        return None
    return ExtensionRoute(kind, check_repository(name), _part(kind, unquote(part)), pairs)


def _part(kind: str, text: str) -> str:
    if kind == "closure":
        return str(Digest.parse(text))
    if kind == "why":
        return str(Digest.parse(text)) if looks_like_digest(text) else check_tag(text)
    if text or kind in ("holds", "transactions"):
        return validated(lambda: _NAME.validate_python(text))
    return ""


def template(kind: str, part: bool) -> str:
    """The path of an operation as OpenAPI writes it."""
    for path, name in _OF_THE_NODE.items():
        if name == kind:
            return path
    names = {"leases": "id", "holds": "owner", "transactions": "txid", "closure": "digest", "why": "reference"}
    return f"{_REPOSITORIES}{{repository}}/_/{kind}" + (f"/{{{names[kind]}}}" if part else "")


def validated(read: Callable[[], T]) -> T:
    """What ``read`` gives. Raises RequestInvalid with each field that pydantic refuses."""
    try:
        return read()
    except ValidationError as error:
        found = [{"field": ".".join(map(str, each["loc"])), "problem": each["msg"]} for each in error.errors()]
        said = "; ".join(f"{each['field'] or 'value'}: {each['problem']}" for each in found[:_SAID])
        raise RequestInvalid(said, detail=found[:_SAID]) from None
