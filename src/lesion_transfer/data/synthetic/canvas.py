"""What the worlds draw with: fields and masks over one square, from −1 to 1 on both axes."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lesion_transfer.data.decode import RGB

SIZE = 64
"""Side of every drawn picture, pixels."""

Field = NDArray[np.floating[Any]]
"""(SIZE, SIZE) reals; with colours (SIZE, SIZE, 3)."""
Points = NDArray[np.float64]
"""(n, 2) float64: x to the right and y down, from −1 to 1."""

Random = np.random.Generator


@cache
def axes() -> tuple[Field, Field]:
    """Return x and y of every pixel's centre."""
    line = ((np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE) * 2 - 1
    x, y = np.meshgrid(line, line)
    return x, y


def turned(angle: float, x0: float = 0.0, y0: float = 0.0) -> tuple[Field, Field]:
    """Return the coordinates about (x0, y0) along axes turned by ``angle``, radians."""
    x, y = axes()
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    dx, dy = x - np.float32(x0), y - np.float32(y0)
    return dx * cos + dy * sin, dy * cos - dx * sin


def clouds(rng: Random, cells: int, octaves: int = 1) -> Field:
    """Smooth noise of mean 0 and standard deviation near 1; ``cells`` blotches to a side."""
    total = np.zeros((SIZE, SIZE), np.float32)
    for octave in range(octaves):
        n = cells * 2**octave + 2
        grid = rng.standard_normal((n, n)).astype(np.float32)
        total += cv2.resize(grid, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) / 2**octave
    total -= total.mean()
    total /= total.std() + np.float32(1e-6)
    return total


def clip(values: Field, low: float, high: float) -> Field:
    """Bring values into low–high, as float32."""
    return np.asarray(np.clip(values, low, high), np.float32)


def step(distance: Field, softness: float) -> Field:
    """Return 1 where ``distance`` is positive, 0 where negative, over a ramp of ``softness``."""
    return clip(distance / np.float32(softness) + np.float32(0.5), 0, 1)


def outline(
    rng: Random, x: Field, y: Field, radius: float, stretch: float, raggedness: float
) -> Field:
    """Signed distance (roughly; positive inside) to a closed curve about the origin of (x, y).

    The curve is an ellipse of axes ``radius``·``stretch`` and ``radius``/``stretch``, its radius
    modulated by harmonics 2–7 of random phase and its line by finer noise, both in proportion to
    ``raggedness``.
    """
    u, v = x / np.float32(stretch), y * np.float32(stretch)
    angle = np.arctan2(v, u)
    order = np.arange(2, 8, dtype=np.float32)
    amplitude = rng.standard_normal(6).astype(np.float32) / order * 2
    phase = rng.uniform(0, 2 * np.pi, 6).astype(np.float32)
    lobes = np.tensordot(
        amplitude, np.cos(np.multiply.outer(order, angle) + phase[:, None, None]), 1
    )
    uneven = np.float32(raggedness) * (lobes * np.float32(0.6) + clouds(rng, 9) * np.float32(0.7))
    return np.asarray(radius * (1 + uneven) - np.hypot(u, v), np.float32)


def network(rng: Random, period: float, disorder: float) -> Field:
    """Draw a net of lines ``period`` apart and warped: −1 in the meshes to 1 on the lines."""
    u, v = turned(rng.uniform(0, np.pi))
    bend = np.float32(disorder * period)
    u, v = u + bend * clouds(rng, 5), v + bend * clouds(rng, 5)
    frequency = np.float32(2 * np.pi / period)
    return np.asarray(np.maximum(np.cos(frequency * u), np.cos(frequency * v)), np.float32)


def strokes(lines: list[Points], width: float = 1.0) -> Field:
    """Coverage 0–1 of smooth lines ``width`` pixels wide."""
    canvas = np.zeros((_FINE, _FINE), np.uint8)
    thickness = max(1, round(width * _FINE / SIZE))
    cv2.polylines(canvas, [_fine(line) for line in lines], False, 255, thickness)
    return _coverage(canvas)


def discs(centres: Points, radii: NDArray[np.float64]) -> Field:
    """Coverage 0–1 of filled circles; ``radii`` (n,) on the scale of the coordinates."""
    canvas = np.zeros((_FINE, _FINE), np.uint8)
    for (x, y), radius in zip(_fine(centres).tolist(), radii.tolist(), strict=True):
        cv2.circle(canvas, (x, y), max(1, round(radius * _FINE / 2)), 255, cv2.FILLED)
    return _coverage(canvas)


def wander(
    rng: Random, start: tuple[float, float], heading: float, length: float, bend: float
) -> Points:
    """Draw a path: 13 points from ``start``, its heading drifting by some ``bend`` radians."""
    steps = 12
    drift = np.cumsum(rng.normal(0, bend / steps**0.5, steps))
    drift += rng.normal(0, bend) * np.linspace(0, 1, steps)
    angles = heading + drift
    moves = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (length / steps)
    return np.concatenate([[start], start + np.cumsum(moves, axis=0)])


def branches(
    rng: Random, start: tuple[float, float], heading: float, length: float, depth: int
) -> list[Points]:
    """Draw a tree of paths, as vessels branch; the trunk first."""
    trunk = wander(rng, start, heading, length, 0.5)
    paths = [trunk]
    if depth:
        for sign in (-1, 1):
            at = trunk[int(rng.integers(5, 12))]
            turn = heading + sign * rng.uniform(0.4, 0.9)
            paths += branches(rng, (at[0], at[1]), turn, length * 0.6, depth - 1)
    return paths


def inside_disc(rng: Random, n: int, radius: float) -> Points:
    """``n`` points, uniform in the disc about the origin."""
    distance = radius * np.sqrt(rng.uniform(0, 1, n))
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)


def colour(*rgb: float) -> Field:
    """Return a colour of 0–255 as 0–1, to broadcast over a picture."""
    return np.asarray(rgb, np.float32) / 255


def lay(picture: Field, over: Field, alpha: Field) -> Field:
    """Lay a colour or picture over another, (SIZE, SIZE) ``alpha`` of it."""
    return picture + alpha[:, :, None] * (over - picture)


def finish(rng: Random, picture: Field, noise: float) -> RGB:
    """Add a sensor's noise and round 0–1 to 0–255."""
    grain = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(noise)
    return np.asarray(np.rint(clip(picture + grain, 0, 1) * 255), np.uint8)


_FINE = 4 * SIZE  # thin things are drawn at this size and averaged down


def _fine(points: Points) -> NDArray[np.int32]:
    return np.rint((points + 1) * (_FINE / 2) - 0.5).astype(np.int32)


def _coverage(canvas: NDArray[np.uint8]) -> Field:
    small = cv2.resize(canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255
