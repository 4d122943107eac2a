from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.data.build import build_store
from lesion_transfer.data.duplicates import find_duplicates, merged_groups
from lesion_transfer.data.fingerprints import Fingerprints, collect, fingerprint, similar_pairs
from lesion_transfer.data.overlap import find_overlap, refuse
from lesion_transfer.data.steps import prepare
from lesion_transfer.data.store import ImageStore
from lesion_transfer.errors import UserError
from lesion_transfer.protocols import Preparation, load_protocol

SIZE = 96


def _world(name: str, count: int) -> list[Image.Image]:
    data = open_dataset(name)
    return [Image.fromarray(data.load(record)) for record in data.records[:count]]


def _print(image: Image.Image) -> bytes:
    return fingerprint(prepare(np.asarray(image), SIZE, ()))


def _changed(image: Image.Image) -> Iterator[Image.Image]:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=70)
    yield Image.open(buffer).convert("RGB")
    yield image.resize((image.width * 3 // 4, image.height // 2), Image.Resampling.LANCZOS)
    yield image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC)
    yield ImageEnhance.Brightness(image).enhance(0.85)
    yield ImageEnhance.Contrast(image).enhance(1.15)


@pytest.mark.parametrize("name", ["synthetic", "synthetic_retinas"])
def test_a_changed_picture_is_recognised_and_another_is_not(name: str) -> None:
    images = _world(name, 60)
    originals = collect([_print(image) for image in images])
    assert len(similar_pairs(originals)) == 0
    found = total = 0
    for number, image in enumerate(images[:20]):
        changed = collect([_print(other) for other in _changed(image)])
        pairs = similar_pairs(changed, originals)
        assert set(pairs[:, 1]) <= {number}
        found, total = found + len(pairs), total + len(changed.hashes)
    assert found > 0.9 * total


def test_flat_pictures_are_not_similar() -> None:
    flat = [np.full((SIZE, SIZE, 3), value, np.uint8) for value in (0, 90, 91, 255)]
    assert len(similar_pairs(collect([fingerprint(picture) for picture in flat]))) == 0


def test_pairs_are_found_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    images = _world("synthetic", 12)
    prints = collect([_print(image) for image in [*images, images[0], images[5]]])
    expected = [[0, 12], [5, 13]]
    assert similar_pairs(prints).tolist() == expected
    monkeypatch.setattr("lesion_transfer.data.fingerprints._PAIRS_AT_ONCE", 20)
    assert similar_pairs(prints).tolist() == expected
    one, none = (Fingerprints(*(array[:count] for array in prints)) for count in (1, 0))
    assert similar_pairs(one, prints).tolist() == [[0, 0], [0, 12]]
    assert similar_pairs(none).shape == (0, 2)


def _index(groups: list[str], files: str, pixels: str) -> pd.DataFrame:
    ids = [f"i{number}" for number in range(len(groups))]
    return pd.DataFrame(
        {
            "image_id": ids,
            "group_id": groups,
            "diagnosis": "nevus",
            "file_sha256": list(files),
            "pixels_sha256": list(pixels),
        }
    )


def test_duplicates_are_listed_with_their_kind() -> None:
    images = _world("synthetic", 4)
    pictures = [images[0], images[1], images[0], images[0], next(_changed(images[1]))]
    prints = collect([_print(image) for image in pictures])
    index = _index(["a", "b", "c", "d", "b"], "abacd", "abaad")
    table = find_duplicates(index, prints)
    rows = table[["image_id", "other_id", "kind", "same_group"]].to_numpy().tolist()
    assert rows == [
        ["i0", "i2", "same file", False],
        ["i0", "i3", "same pixels", False],
        ["i1", "i4", "similar", True],
    ]
    assert merged_groups(index, table).tolist() == ["a", "b", "a", "a", "b"]


def test_groups_merge_through_one_another() -> None:
    index = _index(["z", "y", "y", "x", "w"], "abcde", "abcde")
    pairs = pd.DataFrame({"image_id": ["i0", "i2"], "other_id": ["i1", "i3"]})
    assert merged_groups(index, pairs).tolist() == ["x", "x", "x", "x", "w"]
    assert merged_groups(index, pairs[:0]).tolist() == index["group_id"].tolist()


def _store(folder: Path, images: list[Image.Image], **options: object) -> ImageStore:
    (folder / "nv").mkdir(parents=True)
    for number, image in enumerate(images):
        image.save(folder / "nv" / f"{number:02}.png", **options)
    return build_store(open_dataset("folder", str(folder)), Preparation(size=SIZE), folder / "s")


def test_a_store_keeps_duplicates_in_one_group(tmp_path: Path) -> None:
    images = _world("synthetic", 3)
    store = _store(tmp_path / "a", [*images, images[1], *_changed(images[2])])
    assert store.index["original_group"].nunique() == 9
    groups = store.index["group_id"].tolist()
    assert groups[1] == groups[3] == "nv/01.png"
    assert set(groups) == {"nv/00.png", "nv/01.png", "nv/02.png"}
    assert len(store.duplicates) == store.manifest["duplicates"] >= 6


def test_training_images_in_a_test_set_are_refused(tmp_path: Path) -> None:
    images = _world("synthetic", 8)
    train = _store(tmp_path / "train", images[:4])
    clean = _store(tmp_path / "clean", images[4:])
    leaking = _store(tmp_path / "leaking", [*images[4:], images[2], next(_changed(images[3]))])
    refuse(find_overlap(train, clean), train.dataset, clean)
    overlap = find_overlap(train, leaking)
    assert overlap.to_numpy().tolist() == [
        ["nv/02.png", "nv/04.png", "same file"],
        ["nv/03.png", "nv/05.png", "similar"],
    ]
    with pytest.raises(UserError, match="2 of 6 test images") as error:
        refuse(overlap, train.dataset, leaking)
    assert "nv/05.png of folder_leaking: similar as nv/03.png of folder_train" in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("synthetic", 0),
        ("synthetic_retinas", 0),
        ("eyepacs", 0),
        ("isic2017", 7),  # looked at: the same photograph each time, twice in other colours
    ],
)
def test_pairs_of_real_and_drawn_data_sets(
    shared: Path, tmp_path: Path, name: str, known: int
) -> None:
    """False positives are rare: none among half a million pairs of retinas, two million of skin."""
    preparation = load_protocol("paper", {"preparation": {"size": SIZE}}).preparation
    data = open_dataset(name, None if name.startswith("synthetic") else str(shared / "data"))
    store = build_store(data, preparation, tmp_path)
    assert abs(len(store.duplicates) - known) <= 2
