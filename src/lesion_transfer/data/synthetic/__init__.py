"""Three worlds of drawn pictures, so that the whole study runs anywhere, at once, with no data.

A stand-in made for the demo and the tests: **not medical data**, and no result on it says anything
about medicine. What it keeps of the real thing is the shape of the problem: a small target whose
classes overlap in asymmetry, border, colour and structure (:mod:`.lesions`), a related source of
another look (:mod:`.retinas`), and a large general source of shapes and textures (:mod:`.generic`)
whose features are of use on both.

Picture ``i`` depends only on (world, seed, ``i``), so any worker can draw any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lesion_transfer.data.decode import RGB

VERSION = 1
"""Part of every listing's digest. Raise it when a world would be drawn differently."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A picture that can be drawn: its label, and whatever its world needs to know."""

    image_id: str
    group_id: str
    diagnosis: str


@dataclass(frozen=True)
class World:
    """A plan of labelled pictures, and the means to draw each.

    Attributes
    ----------
    plan
        From a seed, what each picture shows.
    draw
        From a seed and a picture's place in the plan, (64, 64, 3) uint8 RGB.
    parameters
        Whatever else decides the pictures; plain JSON values.
    """

    plan: Callable[[int], tuple[Planned, ...]]
    draw: Callable[[int, int], RGB]
    parameters: Mapping[str, float] = field(default_factory=dict)
