"""The templates of rendered texts. In them every value goes through ``tojson``: nothing is pasted in as text."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_TEMPLATES = Environment(
    loader=PackageLoader("sites"),
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701 - YAML; all values through tojson
    trim_blocks=True,
    lstrip_blocks=True,
)


def text_of(template: str, **values: Any) -> str:
    return _TEMPLATES.get_template(template).render(values)
