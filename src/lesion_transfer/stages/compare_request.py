"""Which arms a results table is made of."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from pathlib import Path

from pydantic import Field, field_validator

from lesion_transfer.stages.request import Request, comma_list
from lesion_transfer.study import MODELS, Design

SELECTING = "design", "dataset", "models", "backbone", "protocol", "since", "seed", "image_size"
"""The parameters that choose among the runs."""


class CompareRequest(Request):
    """Which runs the table is made of."""

    summary = "Query the tracking server and rebuild the results table."

    design: Design | None = Field(None, description="only this design")
    dataset: str | None = Field(None, description="only these data sets, comma-separated")
    models: str | None = Field(None, description="only these letters, comma-separated")
    backbone: str | None = Field(None, description="only these backbones, comma-separated")
    protocol: str | None = Field(None, description="only these protocols, comma-separated")
    reference: str | None = Field(
        None, description="compare every model with this one; not given: the paper's six questions"
    )
    since: date | None = Field(
        None, description="only folds begun on or after this day (UTC), as 2026-01-31"
    )
    seed: int | None = Field(None, ge=0, description="only this seed")
    image_size: int | None = Field(None, description="only this image size, pixels")
    out: Path = Field(Path("comparison"), description="folder the table and figures are written to")

    @field_validator("models")
    @classmethod
    def _known_models(cls, text: str | None) -> str | None:
        return text and comma_list(tuple(MODELS), text)

    @property
    def selection(self) -> dict[str, tuple[str, ...]]:
        """The allowed values of each tag that is restricted."""
        given = {
            "design": self.design.value if self.design else None,
            "dataset": self.dataset,
            "model": self.models,
            "backbone": self.backbone,
            "protocol": self.protocol,
            "seed": None if self.seed is None else str(self.seed),
            "image_size": None if self.image_size is None else str(self.image_size),
        }
        return {
            name: tuple(part.strip() for part in text.split(","))
            for name, text in given.items()
            if text is not None
        }

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters the table is of."""
        return tuple((self.models or ",".join(MODELS)).split(","))

    @property
    def asked(self) -> str:
        """What was asked for, as it is typed; empty where nothing is restricted."""
        names = [name for name in SELECTING if getattr(self, name) is not None]
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)

    @property
    def since_ms(self) -> int:
        """The earliest start of a fold, milliseconds since 1970."""
        if self.since is None:
            return 0
        return int(datetime.combine(self.since, time.min, UTC).timestamp() * 1000)
