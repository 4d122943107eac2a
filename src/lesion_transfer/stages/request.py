"""What the parameters of every stage have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Request(BaseModel):
    """What every stage accepts."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    summary: ClassVar[str]
    """The sentence that heads ``--help``."""

    cache: Path = Field(
        Path("~/.cache/lesion_transfer"),
        description="folder for image stores and networks; safe to delete",
    )
    force: bool = Field(False, description="compute anew, even where a complete run has the result")
    debug: bool = Field(False, description="show tracebacks of errors")

    @model_validator(mode="before")
    @classmethod
    def _empty_means_not_given(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if value != ""}

    @field_validator("cache")
    @classmethod
    def _expand_home(cls, path: Path) -> Path:
        return path.expanduser().absolute()


def comma_list(allowed: tuple[str, ...], text: str) -> str:
    """Check a comma-separated list and put it in the order of what is allowed."""
    parts = [part.strip() for part in text.split(",")]
    wrong = [part for part in parts if part not in allowed]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not one of {', '.join(allowed)}")
    return ",".join(part for part in allowed if part in parts)
