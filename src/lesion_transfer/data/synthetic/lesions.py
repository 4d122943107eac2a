"""Drawn skin lesions: 400 pictures of 380 lesions, 110 melanomas, 50 carcinomas and 240 benign.

Each lesion has the four signs dermatologists score, **asymmetry, border, colour and structure**,
as independent normal scores: mean 0 in benign lesions, :data:`SEPARATION` in melanomas. No sign
settles a case; together they leave an ideal reader with some errors, and colour alone tells
little. Benign diagnoses and carcinomas have looks of their own besides. Twenty lesions are
photographed twice, in another pose and light: one group.

Pictures are drawn as light passes skin: melanin and blood absorb, a veil scatters blue, scars
white; the lesion's layers come from the lesion's own stream of random numbers, pose, light, skin
noise and hair from the picture's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np

from lesion_transfer.data.decode import RGB
from lesion_transfer.data.synthetic import Planned, World
from lesion_transfer.data.synthetic import canvas as c

SEPARATION = 2.6
"""The difficulty: standard deviations between melanoma and benign in each of the four signs.

Higher is easier; 0 leaves nothing to learn."""

_WORLD = 1  # in every seed, so that worlds of one seed differ
_MELANIN = c.colour(95, 175, 240) * 1.15  # absorbance of one unit, per channel
_BLOOD = c.colour(30, 190, 150)


@dataclass(frozen=True)
class Look:
    """How a diagnosis looks, besides the four signs."""

    pictures: int
    twice: int = 0
    melanin: float = 1.0
    blood: float = 0.12
    softness: float = 0.16  # of the border
    net: float = 0.0  # strength of the pigment network
    radius: tuple[float, float] = (0.36, 0.68)
    signs: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    features: frozenset[str] = field(default_factory=frozenset)


LOOKS: dict[str, Look] = {
    "melanoma": Look(110, 6, net=0.30, radius=(0.38, 0.72), signs=(SEPARATION,) * 4),
    "basal_cell_carcinoma": Look(
        50,
        2,
        0.28,
        0.38,
        0.22,
        signs=(0.5, 0.2, 0.3, 0.0),
        features=frozenset({"vessels", "nests"}),
    ),
    "nevus": Look(150, 9, net=0.30),
    "seborrheic_keratosis": Look(
        45, 2, 0.85, 0.10, 0.05, signs=(0.2, 0.4, 0.2, 0.0), features=frozenset({"plugs", "milia"})
    ),
    "dermatofibroma": Look(
        20, 1, 0.55, 0.25, 0.30, net=0.20, radius=(0.32, 0.55), features=frozenset({"scar"})
    ),
    "lentigo": Look(15, 0, 0.60, 0.05, 0.08, net=0.15, signs=(0.0, 0.9, -0.6, 0.0)),
    "vascular_lesion": Look(
        10, 0, 0.15, 1.3, 0.12, radius=(0.3, 0.55), features=frozenset({"lacunes"})
    ),
}


@cache
def _cast(seed: int) -> tuple[tuple[int, str], ...]:
    """(lesion, diagnosis) of every picture, shuffled."""
    firsts = [
        diagnosis for diagnosis, look in LOOKS.items() for _ in range(look.pictures - look.twice)
    ]
    cast = list(enumerate(firsts))
    for diagnosis, look in LOOKS.items():
        start = firsts.index(diagnosis)
        cast += [(start + k, diagnosis) for k in range(look.twice)]
    order = np.random.default_rng([_WORLD, seed]).permutation(len(cast))
    return tuple(cast[k] for k in order)


def plan(seed: int) -> tuple[Planned, ...]:
    """Return what every picture shows; pictures of one lesion share their group."""
    return tuple(
        Planned(f"lesion_{i:04d}", f"case_{lesion:04d}", diagnosis)
        for i, (lesion, diagnosis) in enumerate(_cast(seed))
    )


def draw(seed: int, i: int) -> RGB:
    """Draw picture ``i``: (64, 64, 3) uint8."""
    lesion, diagnosis = _cast(seed)[i]
    layers = _posed(
        np.random.default_rng([_WORLD, seed, 1, i]),
        _layers(np.random.default_rng([_WORLD, seed, 0, lesion]), LOOKS[diagnosis]),
    )
    return _photograph(
        np.random.default_rng([_WORLD, seed, 2, i]),
        np.random.default_rng([_WORLD, seed, 3, lesion]).beta(2, 3),
        layers,
    )


def _layers(rng: c.Random, look: Look) -> c.Field:
    """Draw the lesion in its own frame: (SIZE, SIZE, 4) of melanin, blood, veil and scar."""
    signs = 1 / (1 + np.exp(-1.4 * (rng.normal(look.signs, 1.0) - 0.6)))
    asymmetry, border, colours, structure = signs.tolist()
    radius, stretch = rng.uniform(*look.radius), rng.uniform(0.85, 1.18)
    x, y = c.turned(rng.uniform(0, np.pi))
    distance = c.outline(rng, x, y, radius, stretch, 0.03 + 0.17 * border)
    lobe = c.outline(rng, *c.turned(0, radius * 0.75, 0.1), radius * 0.5, 1.0, 0.03 + 0.15 * border)
    distance = np.maximum(distance, lobe - np.float32(0.5 * radius * (1 - asymmetry)))
    softness = look.softness * rng.uniform(0.6, 1.5)
    body = c.step(distance, softness)
    depth = c.clip(distance / np.float32(radius), 0, 1)

    uneven = np.tanh(c.clouds(rng, 3, 2)) * (0.12 + 0.5 * colours)
    tilt = (x * np.cos(1.0) + y * np.sin(1.0)) / radius * (0.05 + 0.45 * asymmetry)
    melanin = body * look.melanin * rng.uniform(0.65, 1.25) * (0.65 + 0.4 * depth)
    melanin = melanin * c.clip(1 + uneven + tilt, 0.1, 2.2)
    blood = body * look.blood * rng.uniform(0.6, 1.5) * (1 + 0.4 * c.clouds(rng, 4))
    veil, scar = np.zeros_like(body), np.zeros_like(body)
    melanin = melanin * _pigment_structure(rng, look.net, structure)
    spots = c.inside_disc(
        rng, int(rng.poisson(3 + 14 * structure)), radius * (0.8 + 0.5 * structure)
    )
    sizes = rng.uniform(0.02, 0.035 + 0.05 * structure, len(spots))
    melanin = melanin + c.discs(spots, sizes) * c.step(distance + 0.12, 0.1) * 0.55 * look.melanin
    layers = np.stack([melanin, blood, veil, scar], axis=2).astype(np.float32)
    for threshold in (0.55, 0.75):  # further colours, one after the other
        if colours > threshold:
            _add_patch(rng, layers, body, radius)
    _add_features(rng, look, layers, body, radius)
    return layers


def _add_patch(rng: c.Random, layers: c.Field, body: c.Field, radius: float) -> None:
    """Add a patch of veil, of blood, or of regression."""
    x0, y0 = c.inside_disc(rng, 1, radius * 0.6)[0]
    distance = c.outline(rng, *c.turned(0, x0, y0), radius * 0.45, 1.1, 0.15)
    patch = c.step(distance, 0.2) * body * rng.uniform(0.35, 0.7)
    melanin, blood, veil, scar = (layers[:, :, k] for k in range(4))
    match rng.integers(3):
        case 0:
            veil += patch
        case 1:
            blood += 0.7 * patch
        case _:
            melanin *= 1 - 0.7 * patch
            scar += 0.3 * patch


def _pigment_structure(rng: c.Random, net: float, structure: float) -> c.Field:
    """Draw a factor for melanin: a network, even in quiet lesions, patchy and coarse in others."""
    strength = net * rng.uniform(0.3, 1.3)
    period = rng.uniform(0.16, 0.24) * (1 + 0.35 * structure)
    lines = c.network(rng, period, 0.06 + 0.35 * structure)
    patchy = c.clip(1 + 1.5 * structure * c.clouds(rng, 3), 0, 2.5)
    return c.clip(1 + strength * lines * patchy, 0.2, 2.5)


def _add_features(rng: c.Random, look: Look, layers: c.Field, body: c.Field, radius: float) -> None:
    """Add what only some diagnoses have."""
    melanin, blood, veil, scar = (layers[:, :, k] for k in range(4))
    if "vessels" in look.features:
        for _ in range(int(rng.integers(1, 4))):
            x, y = c.inside_disc(rng, 1, radius)[0]
            tree = c.branches(rng, (x, y), np.arctan2(-y, -x) + rng.normal(0, 0.4), radius, 2)
            blood += c.strokes(tree, 0.9) * body * 0.9
        scar += 0.2 * body
    if "nests" in look.features:
        n = int(rng.integers(0, 5))
        nests = c.discs(c.inside_disc(rng, n, radius * 0.8), rng.uniform(0.05, 0.14, n)) * body
        melanin += 0.5 * nests
        veil += 0.4 * nests
    if "plugs" in look.features:
        n = int(rng.integers(3, 11))
        melanin += c.discs(c.inside_disc(rng, n, radius * 0.8), rng.uniform(0.025, 0.06, n)) * body
    if "milia" in look.features:
        n = int(rng.integers(2, 8))
        scar += (
            c.discs(c.inside_disc(rng, n, radius * 0.8), rng.uniform(0.025, 0.05, n)) * body * 0.6
        )
    if "scar" in look.features:
        core = c.outline(rng, *c.axes(), radius * rng.uniform(0.3, 0.5), 1.0, 0.1)
        scar += c.step(core, 0.15) * rng.uniform(0.3, 0.6)
    if "lacunes" in look.features:
        n = int(rng.integers(5, 12))
        blood += (
            c.discs(c.inside_disc(rng, n, radius * 0.8), rng.uniform(0.05, 0.13, n)) * body * 0.9
        )


def _posed(rng: c.Random, layers: c.Field) -> c.Field:
    """Turn, zoom and shift the lesion, as the photographer happened to hold the camera."""
    middle = (c.SIZE - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), rng.uniform(0, 360), rng.uniform(0.85, 1.1))
    matrix[:, 2] = matrix[:, 2] + rng.normal(0, 0.05 * c.SIZE, 2)
    return np.asarray(cv2.warpAffine(layers, matrix, (c.SIZE, c.SIZE)), np.float32)


def _photograph(rng: c.Random, tan: float, layers: c.Field) -> RGB:
    """Skin, the lesion in it, hair on it, and the lamp's light over all."""
    skin = c.colour(243, 208, 190) + np.float32(tan) * (
        c.colour(190, 138, 108) - c.colour(243, 208, 190)
    )
    skin = skin + rng.normal(0, 0.015, 3).astype(np.float32)
    mottle = 0.03 * c.clouds(rng, 5, 3)
    absorbed = (layers[:, :, 0] * np.float32(0.9))[:, :, None] * _MELANIN
    absorbed = absorbed + np.maximum(layers[:, :, 1] + mottle, 0)[:, :, None] * _BLOOD
    picture = skin * np.exp(-absorbed)
    picture = c.lay(picture, c.colour(112, 118, 138), c.clip(layers[:, :, 2], 0, 0.8))
    picture = c.lay(picture, c.colour(246, 232, 226), c.clip(layers[:, :, 3], 0, 0.8))
    if rng.uniform() < 0.45:
        picture = c.lay(picture, c.colour(52, 38, 32), _hair(rng) * np.float32(0.75))
    u, _ = c.turned(rng.uniform(0, 2 * np.pi))
    x, y = c.axes()
    lamp = 1 + rng.uniform(0, 0.12) * u - rng.uniform(0, 0.16) * (x * x + y * y)
    white = (1 + rng.normal(0, 0.02, 3)).astype(np.float32) * np.float32(rng.uniform(0.88, 1.06))
    return c.finish(rng, picture * lamp[:, :, None].astype(np.float32) * white, 0.014)


def _hair(rng: c.Random) -> c.Field:
    heading = rng.uniform(0, 2 * np.pi)
    return c.strokes(
        [
            c.wander(rng, (x, y), heading + rng.normal(0, 0.35), rng.uniform(1.0, 2.4), 0.25)
            for x, y in rng.uniform(-1.1, 1.1, (int(rng.integers(1, 8)), 2))
        ],
        rng.uniform(0.5, 1.0),
    )


WORLD = World(plan, draw, {"separation": SEPARATION})
