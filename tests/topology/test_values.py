"""Durations, sizes, rates and the rest: what they take, what they mean, and that schema and reader agree."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jsonschema
import pytest
from pydantic import TypeAdapter, ValidationError

from topology import values
from topology.nodes import ForeignLayers

GOOD = [
    (values.Duration, "300ms", timedelta(milliseconds=300)),
    (values.Duration, "1h30m", timedelta(hours=1, minutes=30)),
    (values.Duration, "14d", timedelta(days=14)),
    (values.Duration, "2w", timedelta(weeks=2)),
    (values.Duration, "1.5h", timedelta(minutes=90)),
    (values.Size, "500GiB", 500 * 1024**3),
    (values.Size, "1.5TB", 1_500_000_000_000),
    (values.Size, "12B", 12),
    (values.Rate, "400Mbit", 400_000_000),
    (values.Rate, "50MiB/s", 50 * 1024 * 1024 * 8),
    (values.Percent, "80%", 80.0),
    (values.Percent, 99.95, 99.95),
    (values.Percent, 100, 100.0),
    (values.Cron, "0 3 * * *", "0 3 * * *"),
    (values.Timezone, "Europe/Berlin", "Europe/Berlin"),
    (values.Glob, "apps/**", "apps/**"),
    (values.Glob, "[0-9]*", "[0-9]*"),
    (values.WebAddress, "https://registry.example:5000/base/", "https://registry.example:5000/base"),
]
BAD = [
    *(
        (values.Duration, text)
        for text in ("", "5", 5, "-3d", "0s", "1y", "1mm", "d", "1 h", "9" * 40 + "d", "200000d")
    ),
    *((values.Size, text) for text in ("", 500, "500", "GiB", "-1GiB", "5 GiB", "5XB", True)),
    *((values.Rate, text) for text in ("400", "400MB", "Mbit", 400)),
    *((values.Percent, text) for text in ("101%", -1, 100.1, True, "x", "80 %", float("nan"), float("inf"), None)),
    *((values.Cron, text) for text in ("", "* * * *", "* * * * * *", "61 * * * *", "0 0 31 2 *", "@daily", 5)),
    *((values.Timezone, text) for text in ("", "Mars/Base", "../../etc/passwd", "/etc/passwd")),
    *((values.Glob, text) for text in ("", "/abs", "[a", "x" * 256, 5)),
    *((values.Expression, text) for text in ("(", "[", "x" * 1001, "a{99999999999}")),
    *(
        (values.WebAddress, text)
        for text in ("ftp://x", "https://", "x", "https://a?b", "http://a:99999", "http://[::1")
    ),
    *((values.FilePath, text) for text in ("", "a\0b", "~/x", 5)),
]


@pytest.mark.parametrize(("kind", "text", "meaning"), GOOD)
def test_what_is_taken(kind: Any, text: Any, meaning: Any) -> None:
    adapter = TypeAdapter(kind)
    assert adapter.validate_python(text) == meaning
    jsonschema.validate(text, adapter.json_schema())


@pytest.mark.parametrize(("kind", "text"), BAD)
def test_what_is_refused(kind: Any, text: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(text)


@pytest.mark.parametrize("text", ["5", "1 h", "-3d", "1mm", "500", "5 GiB"])
def test_editors_see_slips_of_durations_and_sizes(text: str) -> None:
    for kind in (values.Duration, values.Size):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(text, TypeAdapter(kind).json_schema())


def test_what_is_no_pattern_of_addresses_is_told_how_one_is_written() -> None:
    assert ForeignLayers.model_validate({"allow": ["https://**.example.com/layers/**"]}).allow
    for text in ("layers.example.com", "https://user@example.com/**", "https://example.com"):
        with pytest.raises(ValidationError, match=r"write https://HOST/PATH|end it with /\*\*"):
            ForeignLayers.model_validate({"allow": [text]})
