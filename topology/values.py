"""The typed values of the language: names, durations, sizes, percentages, cron lines, globs, expressions.

Each is written as text, read by a well-kept library, and carries the pattern that editors check (``towpath schema``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import durationpy
from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    StrictBool,
    StrictInt,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo
from wcmatch import glob

from identity import expressions

NAME = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d|w))+$"
SIZE = r"^[0-9]+(\.[0-9]+)?([KMGTP]i?)?B$"
RATE = r"^[0-9]+(\.[0-9]+)?([KMGTkmgt]i?)?(bit|B/s)$"
REQUEST_RATE = r"^[0-9]+(\.[0-9]+)?/[smh]$"
PERCENT = r"^[0-9]+(\.[0-9]+)?%$"
EXPRESSION_LIMIT = 1000
NAMES_OF = "x-towpath-names-of"
_LONGEST = timedelta(days=36_525)  # a century; more is a slip, and overflows what clocks hold
_BYTES = TypeAdapter(ByteSize)


def _text(value: Any, example: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"should be text such as {example}")
    return value


def _duration(value: Any) -> timedelta:
    text = _text(value, "15m, 1h30m or 7d")
    if not re.fullmatch(DURATION, text):
        raise ValueError("should be a duration such as 300ms, 15m, 1h30m or 7d")
    try:
        duration: timedelta = durationpy.from_str(text)
    except (OverflowError, ValueError, durationpy.DurationError):
        duration = _LONGEST * 2
    if not timedelta(0) < duration <= _LONGEST:
        raise ValueError("should be a duration above zero and below a hundred years")
    return duration


def _duration_or_none(value: Any) -> timedelta:
    return timedelta(0) if value == "none" else _duration(value)


def _size(value: Any) -> int:
    text = _text(value, "500GiB")
    if not re.fullmatch(SIZE, text):
        raise ValueError("should be a size with its unit, such as 500GiB, 20MiB or 1.5TB")
    return int(_BYTES.validate_python(text))


def _rate(value: Any) -> int:
    text = _text(value, "400Mbit or 50MiB/s")
    if not re.fullmatch(RATE, text):
        raise ValueError("should be a rate such as 400Mbit or 50MiB/s")
    if text.endswith("/s"):
        return int(_BYTES.validate_python(text.removesuffix("/s"))) * 8
    return int(_BYTES.validate_python(text.removesuffix("bit") + "B"))


def _request_rate(value: Any) -> float:
    number, slash, unit = _text(value, "50/s or 10/m").partition("/")
    if not re.fullmatch(REQUEST_RATE, f"{number}{slash}{unit}") or not 0 < float(number) <= 1_000_000:
        raise ValueError("should be a number of requests in a time above zero, such as 50/s, 10/m or 100/h")
    return float(number) / {"s": 1, "m": 60, "h": 3600}[unit]


def _percent(value: Any) -> float:
    if isinstance(value, str) and re.fullmatch(PERCENT, value):
        value = float(value.removesuffix("%"))
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise ValueError("should be a percentage such as 80% or 99.95")
    return float(value)


def _cron(text: str) -> str:
    if len(text.split()) != 5:
        raise ValueError("should be a cron line of five fields, such as '0 3 * * *'")
    try:
        next(CronSim(text, datetime(2024, 1, 1)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"is not a cron line that ever comes due ({error or 'no such date'})") from None
    return text


def _timezone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("should be a time zone of the IANA database, such as Europe/Berlin or UTC") from None
    return text


def _glob(text: str) -> str:
    if not text or len(text) > 255 or text.startswith("/") or text.endswith("/") or "//" in text:
        raise ValueError("should be a pattern such as apps/** (1 to 255 characters, no / at its ends, no //)")
    if text.count("[") != text.count("]"):
        raise ValueError("has a [ without its ]")
    try:
        for expression in glob.translate(text, flags=glob.GLOBSTAR | glob.DOTGLOB)[0]:
            re.compile(expression)
    except (re.error, ValueError) as error:
        raise ValueError(f"is not a pattern: {error}") from None
    return text


def _expression(text: str) -> str:
    if len(text) > EXPRESSION_LIMIT:
        raise ValueError(f"is longer than {EXPRESSION_LIMIT} characters")
    try:
        expressions.Expression.compile(text)  # what the nodes match with
    except ValueError as error:
        raise ValueError(f"is not a regular expression that nodes match: {error}") from None
    return text


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise ValueError("should be an address such as https://registry.example (no query)")
    return text.rstrip("/")


def _file(value: Any) -> Path:
    if isinstance(value, Path):
        return value
    text = _text(value, "trust/release.pub")
    if not text or "\0" in text or text.startswith("~"):
        raise ValueError("should be a file path, relative to the topology file or absolute")
    return Path(text)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _one_or_many(item: Any) -> BeforeValidator:
    return BeforeValidator(_listed, json_schema_input_type=item | list[item])


def _written(read: Callable[[Any], Any], pattern: str, example: str) -> tuple[BeforeValidator, WithJsonSchema]:
    schema = {"type": "string", "pattern": pattern, "examples": [example]}
    return BeforeValidator(read), WithJsonSchema(schema)


Name = Annotated[str, Field(min_length=1, max_length=63, pattern=NAME)]
Duration = Annotated[timedelta, *_written(_duration, DURATION, "1h30m")]
DurationOrNone = Annotated[timedelta, *_written(_duration_or_none, f"{DURATION}|^none$", "1h")]  # none: zero
Size = Annotated[int, *_written(_size, SIZE, "500GiB")]  # bytes
Rate = Annotated[int, *_written(_rate, RATE, "400Mbit")]  # bits per second
RequestRate = Annotated[float, *_written(_request_rate, REQUEST_RATE, "50/s")]  # requests per second
Percent = Annotated[
    float,
    BeforeValidator(_percent),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0, "maximum": 100}, {"type": "string", "pattern": PERCENT}]}
    ),
]
Cron = Annotated[str, AfterValidator(_cron), Field(json_schema_extra={"examples": ["0 3 * * *"]})]
Timezone = Annotated[str, AfterValidator(_timezone), Field(json_schema_extra={"examples": ["Europe/Berlin"]})]
Glob = Annotated[str, AfterValidator(_glob)]
Expression = Annotated[str, AfterValidator(_expression)]  # always matched against the whole string
WebAddress = Annotated[str, AfterValidator(_web_address)]
FilePath = Annotated[Path, BeforeValidator(_file), WithJsonSchema({"type": "string", "minLength": 1})]
Flag = StrictBool
Count = Annotated[StrictInt, Field(ge=1, le=1_000_000)]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]


def _name_of(*sections: str) -> FieldInfo:
    """Marks the name of something declared: `towpath schema --workspace` lists the names of these sections."""
    marked: FieldInfo = Field(json_schema_extra={NAMES_OF: list(sections)})
    return marked


SiteName = Annotated[Name, _name_of("sites")]
HostName = Annotated[Name, _name_of("hosts")]
UserName = Annotated[Name, _name_of("users")]
Who = Annotated[Name, _name_of("users", "groups", "words")]
IssuerName = Annotated[Name, _name_of("issuers")]
SlaName = Annotated[Name, _name_of("slas")]
ScopeName = Annotated[Name, _name_of("scopes")]
NodeName = Annotated[Name, _name_of("nodes")]
TrustName = Annotated[Name, _name_of("trust")]
GateName = Annotated[Name, _name_of("gates")]
EdgeName = Annotated[Name, _name_of("promotions", "replications")]
_SOME = Field(min_length=1)
WhoAll = Annotated[tuple[Who, ...], _SOME, _one_or_many(Who)]
Signers = Annotated[tuple[TrustName, ...], _SOME, _one_or_many(TrustName)]
Targets = Annotated[tuple[NodeName, ...], _SOME, _one_or_many(NodeName)]
Globs = Annotated[tuple[Glob, ...], Field(min_length=1)]
EVERYTHING: tuple[str, ...] = ("**",)
