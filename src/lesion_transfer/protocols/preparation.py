"""How pictures are prepared: the part of a protocol that decides what an image store holds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lesion_transfer.study import Frozen


class TrimBorder(Frozen):
    """Cut off the dark frame: edge rows and columns in which next to nothing is bright."""

    step: Literal["trim_border"] = "trim_border"
    fuzz: float = Field(
        0.2, gt=0, lt=1, description="a pixel is dark where no channel is above this share of 255"
    )


class CentreCrop(Frozen):
    """Keep the middle."""

    step: Literal["centre_crop"] = "centre_crop"
    keep: float = Field(gt=0, le=1, description="share of each side that is kept")


class Circle(Frozen):
    """Crop to the lit disc of a fundus photograph (rule of the Kaggle competition's winner)."""

    step: Literal["circle"] = "circle"


Step = Annotated[TrimBorder | CentreCrop | Circle, Field(discriminator="step")]

Shows = Literal["lesion", "retina", "other"]
"""What the pictures of a data set show; it decides which steps prepare them."""


class Preparation(Frozen):
    """How a picture becomes the fixed-size RGB of the image store.

    It is decoded, turned as its EXIF orientation says, cropped by the steps, and resized.
    """

    size: int = Field(ge=8, le=2048, description="side of the stored square image, pixels")
    lesion: tuple[Step, ...] = Field((), description="steps for pictures of skin, in order")
    retina: tuple[Step, ...] = Field((), description="steps for pictures of retinas, in order")

    def steps(self, shows: Shows) -> tuple[Step, ...]:
        """Return the steps for pictures of this kind; there are none for kinds without a list."""
        return {"lesion": self.lesion, "retina": self.retina, "other": ()}[shows]
