"""Drawn things in general: 1,200 pictures of twelve classes of shape, border and texture.

The demo's counterpart of ImageNet: larger than the target, and not of it. Colours, sizes, places
and light say nothing about the class, so that what is learned is edges, raggedness, patchiness,
lines, nets and dots, which is what tells the lesions apart too. Every picture is its own group.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lesion_transfer.data.decode import RGB
from lesion_transfer.data.synthetic import Planned, World
from lesion_transfer.data.synthetic import canvas as c

_WORLD = 3
PER_CLASS = 100

Pattern = Callable[[c.Random], c.Field]


def _blob(rng: c.Random, raggedness: float) -> c.Field:
    x, y = c.turned(rng.uniform(0, np.pi), *rng.uniform(-0.25, 0.25, 2))
    radius, stretch = rng.uniform(0.3, 0.65), rng.uniform(0.8, 1.25)
    return c.step(c.outline(rng, x, y, radius, stretch, raggedness), rng.uniform(0.04, 0.15))


def _smooth(rng: c.Random) -> c.Field:
    return _blob(rng, rng.uniform(0, 0.05))


def _ragged(rng: c.Random) -> c.Field:
    return _blob(rng, rng.uniform(0.13, 0.25))


def _two_tone(rng: c.Random) -> c.Field:
    u, _ = c.turned(rng.uniform(0, 2 * np.pi))
    dark = c.step(u + 0.15 * c.clouds(rng, 3), rng.uniform(0.05, 0.3))
    return _blob(rng, rng.uniform(0, 0.2)) * (0.35 + 0.65 * dark)


def _mottled(rng: c.Random) -> c.Field:
    return _blob(rng, rng.uniform(0, 0.2)) * c.clip(0.55 + 0.4 * c.clouds(rng, 5, 2), 0, 1)


def _ring(rng: c.Random) -> c.Field:
    x, y = c.turned(rng.uniform(0, np.pi), *rng.uniform(-0.2, 0.2, 2))
    distance = c.outline(rng, x, y, rng.uniform(0.35, 0.65), 1.0, rng.uniform(0, 0.1))
    return c.step(rng.uniform(0.06, 0.14) - np.abs(distance), 0.08)


def _square(rng: c.Random) -> c.Field:
    x, y = c.turned(rng.uniform(0, np.pi), *rng.uniform(-0.25, 0.25, 2))
    half, stretch = rng.uniform(0.25, 0.5), rng.uniform(0.75, 1.3)
    return c.step(half - np.maximum(np.abs(x) / stretch, np.abs(y) * stretch), 0.07)


def _stripes(rng: c.Random) -> c.Field:
    u, _ = c.turned(rng.uniform(0, np.pi))
    u = u + 0.08 * c.clouds(rng, 2)
    waves = np.cos(2 * np.pi * u / rng.uniform(0.2, 0.45))
    return np.asarray(0.5 + 0.5 * waves, np.float32)


def _checks(rng: c.Random) -> c.Field:
    u, v = c.turned(rng.uniform(0, np.pi))
    k = np.float32(2 * np.pi / rng.uniform(0.4, 0.8))
    return c.step(np.cos(k * u) * np.cos(k * v), 0.4)


def _net(rng: c.Random) -> c.Field:
    return 0.5 + 0.5 * c.network(rng, rng.uniform(0.18, 0.35), rng.uniform(0.03, 0.3))


def _dots(rng: c.Random) -> c.Field:
    n = int(rng.integers(12, 45))
    return c.discs(rng.uniform(-1, 1, (n, 2)), rng.uniform(0.025, 0.09, n))


def _branches(rng: c.Random) -> c.Field:
    x, y = rng.uniform(-0.8, 0.8, 2)
    heading = np.arctan2(-y, -x)
    trees = [c.branches(rng, (x, y), heading + rng.normal(0, 0.6), 1.2, 3) for _ in range(2)]
    return c.strokes([path for tree in trees for path in tree], rng.uniform(0.8, 2.0))


def _cloud(rng: c.Random) -> c.Field:
    return c.clip(0.5 + 0.3 * c.clouds(rng, int(rng.integers(2, 6)), 3), 0, 1)


PATTERNS: dict[str, Pattern] = {
    "smooth_blob": _smooth,
    "ragged_blob": _ragged,
    "two_tone_blob": _two_tone,
    "mottled_blob": _mottled,
    "ring": _ring,
    "square": _square,
    "stripes": _stripes,
    "checks": _checks,
    "net": _net,
    "dots": _dots,
    "branches": _branches,
    "cloud": _cloud,
}


def plan(seed: int) -> tuple[Planned, ...]:
    """Return the classes in turn; ``seed`` changes the pictures, not the plan."""
    names = tuple(PATTERNS)
    ids = (f"generic_{i:04d}" for i in range(PER_CLASS * len(names)))
    return tuple(Planned(name, name, names[i % len(names)]) for i, name in enumerate(ids))


def draw(seed: int, i: int) -> RGB:
    """Draw picture ``i``: (64, 64, 3) uint8."""
    rng = np.random.default_rng([_WORLD, seed, i])
    pattern = tuple(PATTERNS.values())[i % len(PATTERNS)](rng)
    ground, figure = _two_colours(rng)
    picture = ground * (1 + 0.05 * c.clouds(rng, 4, 2))[:, :, None]
    picture = c.lay(picture, figure, pattern.astype(np.float32))
    u, _ = c.turned(rng.uniform(0, 2 * np.pi))
    lamp = (1 + rng.uniform(0, 0.2) * u)[:, :, None].astype(np.float32)
    return c.finish(rng, picture * lamp, rng.uniform(0.01, 0.03))


def _two_colours(rng: c.Random) -> tuple[c.Field, c.Field]:
    """Two colours that can be told apart, in any brightness and hue."""
    while True:
        pair = rng.uniform(0.08, 0.95, (2, 3)).astype(np.float32)
        if abs(float(pair[0].mean() - pair[1].mean())) > 0.2:
            return pair[0], pair[1]


WORLD = World(plan, draw)
