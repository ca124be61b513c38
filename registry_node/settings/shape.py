"""What all parts of a settings file share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]


class Strict(BaseModel):
    """Made ready when first used, so that a part of the file is not made ready twice: alone, and in the whole."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
