"""Photographs to build stores of, and what a build leaves in its folder."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lesion_transfer.data import build, shards
from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.data.build import BUILDING
from lesion_transfer.data.dataset import Dataset
from lesion_transfer.protocols import Preparation

SMALL = Preparation(size=8)


def some_photos(root: Path, good: int, bad: int = 0, format: str = "png") -> Dataset:
    rng = np.random.default_rng(0)
    for i in range(good):
        path = root / ("mel" if i % 3 == 0 else "nv") / f"{i:03d}.{format}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    for i in range(bad):
        (root / "nv" / f"bad{i}.jpg").write_bytes(b"" if i == 0 else b"nothing")
    return open_dataset("folder", str(root))


def entries(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.name != BUILDING)


def left_over(root: Path) -> list[str]:
    return sorted(path.name for path in (root / BUILDING).iterdir() if path.suffix != ".lock")


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each piece of work has, in the order in which they are done."""
    filled: list[int] = []
    fill = shards.fill

    def counted(chunk: shards.Chunk) -> object:
        filled.append(len(chunk.records))
        return fill(chunk)

    monkeypatch.setattr(build, "fill", counted)
    return filled
