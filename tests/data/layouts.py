"""Small pictures and tables, and what has been read of them."""

from pathlib import Path

from PIL import Image

from lesion_transfer.data.dataset import Dataset


def a_picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (100, 0, 0)).save(path)
    return path


def a_table(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def summary(data: Dataset) -> list[tuple[str, str, str, str]]:
    return [(r.image_id, r.group_id, r.diagnosis, r.split) for r in data.records]


def all_load(data: Dataset) -> bool:
    return all(data.load(record).shape == (8, 8, 3) for record in data.records)
