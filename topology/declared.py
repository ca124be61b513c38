"""The base of every declaration: frozen, closed, written in camelCase."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from topology.values import FilePath


class Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, strict=False)


class Owned(Declared):
    """What people may label and put their name to."""

    owner: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)


class SecretRef(Declared):
    """Where a secret lies; never the secret. Files are relative to the topology file."""

    env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    file: FilePath | None = None

    @model_validator(mode="after")
    def _names_one_place(self) -> SecretRef:
        if (self.env is None) == (self.file is None):
            raise ValueError("should name one place: {env: NAME} or {file: path}")
        return self

    def __str__(self) -> str:
        return f"env {self.env}" if self.env else f"file {self.file}"
