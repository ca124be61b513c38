"""The templates of rendered texts (sites/templates).

Nothing of a topology is pasted in as it is: in YAML and JSON every value goes through ``tojson``; in texts of other forms
values are of grammars that need no quoting, as each of these templates says.
"""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_TEMPLATES = Environment(
    loader=PackageLoader("sites"),
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701 - no HTML
    trim_blocks=True,
    lstrip_blocks=True,
)


def text_of(template: str, **values: Any) -> str:
    return _TEMPLATES.get_template(template).render(values)
