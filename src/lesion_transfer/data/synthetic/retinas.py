"""Drawn retinas: 400 eyes of 200 patients, of level 0–4 as in diabetic retinopathy.

The disc, the vessel arcades, the macula and a round field on black are in every picture; with the
level come more microaneurysms (dark dots), haemorrhages (dark blots), exudates (yellow flecks) and,
last, new vessels. Counts overlap between levels, and the levels are imbalanced as in screening. The
two eyes of a patient are one group.
"""

from __future__ import annotations

import numpy as np

from lesion_transfer.data.decode import RGB
from lesion_transfer.data.synthetic import Planned, World
from lesion_transfer.data.synthetic import canvas as c

_WORLD = 2
PATIENTS = (134, 20, 30, 8, 8)
"""Patients of level 0 to 4; each has two eyes of that level."""

_RADIUS = 0.94  # of the round field
#                 aneurysms, haemorrhages, exudates: mean counts at level 0 to 4
_FINDINGS = np.array([(0.3, 0, 0), (4, 0.5, 0.3), (7, 3, 4), (10, 8, 7), (8, 9, 9)])


def _levels(seed: int) -> list[int]:
    levels = [level for level, count in enumerate(PATIENTS) for _ in range(count)]
    return list(np.random.default_rng([_WORLD, seed]).permutation(levels).tolist())


def plan(seed: int) -> tuple[Planned, ...]:
    """Return both eyes of every patient, the left eye first."""
    return tuple(
        Planned(f"{patient:03d}_{side}", f"patient_{patient:03d}", f"level_{level}")
        for patient, level in enumerate(_levels(seed))
        for side in ("left", "right")
    )


def draw(seed: int, i: int) -> RGB:
    """Draw picture ``i``: (64, 64, 3) uint8."""
    level = _levels(seed)[i // 2]
    rng = np.random.default_rng([_WORLD, seed, i])
    side = -1 if i % 2 == 0 else 1
    disc = (side * rng.uniform(0.45, 0.6), rng.normal(0, 0.06))
    picture = _fundus(rng, disc, side)
    dark = c.colour(98, 22, 16)
    picture = c.lay(picture, dark, _vessels(rng, disc, side) * np.float32(0.75))
    aneurysms, haemorrhages, exudates = rng.poisson(_FINDINGS[level] * rng.uniform(0.6, 1.4))
    for count, sizes, tint in (
        (aneurysms, (0.018, 0.032), dark),
        (haemorrhages, (0.03, 0.085), c.colour(86, 14, 12)),
        (exudates, (0.018, 0.05), c.colour(246, 222, 130)),
    ):
        spots = c.discs(c.inside_disc(rng, count, 0.8), rng.uniform(*sizes, count))
        picture = c.lay(picture, tint, spots * np.float32(0.9))
    if level == 4:
        picture = c.lay(picture, dark, _new_vessels(rng, disc))
    x, y = c.axes()
    field = c.step(np.float32(_RADIUS) - np.hypot(x, y), 0.05)
    return c.finish(rng, picture * field[:, :, None], 0.012)


def _fundus(rng: c.Random, disc: tuple[float, float], side: int) -> c.Field:
    """Draw the background with its shading, the bright disc and the dark macula."""
    x, y = c.axes()
    tone = c.colour(212, 106, 52) * rng.uniform(0.75, 1.08) + rng.normal(0, 0.025, 3)
    shade = 1 - rng.uniform(0.15, 0.35) * (x * x + y * y) + 0.06 * c.clouds(rng, 4, 2)
    macula = np.exp(-((x + side * 0.12) ** 2 + (y - 0.05) ** 2) / 0.05)
    picture = (tone * (shade - 0.3 * macula)[:, :, None]).astype(np.float32)
    far = np.hypot(x - np.float32(disc[0]), (y - np.float32(disc[1])) / np.float32(1.12))
    picture = c.lay(picture, c.colour(244, 196, 122), 0.9 * c.step(0.17 - far, 0.07))
    return c.lay(picture, c.colour(255, 236, 190), 0.8 * c.step(0.08 - far, 0.06))


def _vessels(rng: c.Random, disc: tuple[float, float], side: int) -> c.Field:
    """Two arcades that bow around the macula, and two short branches to the other side."""
    thick, thin = [], []
    for sign in (-1, 1):
        start = np.asarray(disc)
        end = np.array([-side * rng.uniform(0.5, 0.8), sign * rng.uniform(0.35, 0.6)])
        bow = np.array([disc[0] * 0.5, sign * rng.uniform(0.75, 0.95)])
        t = np.linspace(0, 1, 16)[:, None]
        arc = (1 - t) ** 2 * start + 2 * t * (1 - t) * bow + t**2 * end
        thick.append(arc + np.cumsum(rng.normal(0, 0.012, arc.shape), axis=0))
        for k in rng.integers(4, 14, 4):
            inwards = np.arctan2(-arc[k, 1], -side - arc[k, 0]) + rng.normal(0, 0.5)
            thin += c.branches(rng, (arc[k, 0], arc[k, 1]), inwards, rng.uniform(0.35, 0.6), 1)
        outwards = np.arctan2(sign * 0.8, side * 0.5)
        thin += c.branches(rng, disc, outwards, 0.5, 1)
    fine = c.strokes(thin, 0.7) * np.float32(0.8)
    return np.asarray(np.maximum(c.strokes(thick, 1.4), fine), np.float32)


def _new_vessels(rng: c.Random, disc: tuple[float, float]) -> c.Field:
    """Draw a tangle at the disc or elsewhere."""
    x, y = disc if rng.uniform() < 0.5 else c.inside_disc(rng, 1, 0.5)[0]
    return c.strokes(
        [c.wander(rng, (x, y), a, rng.uniform(0.3, 0.5), 1.6) for a in rng.uniform(0, 6.28, 9)], 0.7
    ) * np.float32(0.85)


WORLD = World(plan, draw)
