import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.data.dataset import Dataset
from lesion_transfer.data.store import COLUMNS, build_store, open_store
from lesion_transfer.errors import UserError
from lesion_transfer.protocols import Preparation

SMALL = Preparation(size=8)


def _photos(root: Path, good: int, bad: int = 0) -> Dataset:
    rng = np.random.default_rng(0)
    for i in range(good):
        path = root / ("mel" if i % 3 == 0 else "nv") / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    for i in range(bad):
        (root / "nv" / f"bad{i}.jpg").write_bytes(b"" if i == 0 else b"nothing")
    return open_dataset("folder", str(root))


def _never(record: object) -> np.ndarray:
    raise AssertionError("read again")


def test_a_store_has_pictures_index_and_manifest(tmp_path: Path) -> None:
    data = _photos(tmp_path / "photos", good=12)
    seen: list[tuple[int, int]] = []
    progress = lambda done, total: seen.append((done, total))  # noqa: E731
    store = build_store(data, SMALL, tmp_path / "stores", progress=progress)
    assert store.images.shape == (12, 8, 8, 3)
    assert store.images.dtype == np.uint8
    assert isinstance(store.images, np.memmap)
    assert not store.images.flags.writeable
    assert tuple(store.index.columns) == COLUMNS
    assert store.index["image_id"].is_monotonic_increasing
    assert store.counts == {"melanoma": 4, "nevus": 8}
    assert store.size == 8
    assert store.dataset == "folder_photos"
    assert store.rejected.empty
    assert seen[-1] == (12, 12)
    assert store.path.name.startswith("folder_photos-8px-")
    assert {path.name for path in store.path.iterdir()} == {
        "images.npy",
        "index.parquet",
        "rejected.csv",
        "manifest.json",
    }
    assert [path.name for path in (tmp_path / "stores").iterdir()] == [store.path.name]


def test_a_store_is_built_once(tmp_path: Path) -> None:
    data = _photos(tmp_path / "photos", good=6)
    first = build_store(data, SMALL, tmp_path)
    again = build_store(replace(data, load=_never), SMALL, tmp_path)
    assert again.path == first.path
    assert again.digest == first.digest
    assert build_store(data, Preparation(size=9), tmp_path).path != first.path
    assert build_store(data, Preparation(size=8, crop=0.5), tmp_path).path != first.path


def test_pixels_and_digest_do_not_depend_on_workers_place_or_time(tmp_path: Path) -> None:
    data = _photos(tmp_path / "photos", good=20)
    one = build_store(data, SMALL, tmp_path / "one", workers=1)
    os.utime(tmp_path / "photos" / "mel" / "000.png", ns=(5, 5))
    touched = open_dataset("folder", str(tmp_path / "photos"))
    many = build_store(touched, SMALL, tmp_path / "many", workers=7)
    assert one.path.name != many.path.name
    assert one.digest == many.digest
    np.testing.assert_array_equal(one.images, many.images)


def test_the_digest_follows_labels_groups_and_pixels(tmp_path: Path) -> None:
    data = _photos(tmp_path / "photos", good=4)
    first, *rest = data.records
    changed = [
        replace(data, listing_digest="1", records=(replace(first, **{field: "x"}), *rest))
        for field in ("group_id", "diagnosis")
    ]
    changed.append(replace(data, listing_digest="2", load=lambda record: 255 - data.load(record)))
    digests = {build_store(d, SMALL, tmp_path / str(i)).digest for i, d in enumerate(changed)}
    assert len(digests | {build_store(data, SMALL, tmp_path).digest}) == 4


def test_a_few_bad_images_are_listed_and_left_out(tmp_path: Path) -> None:
    data = _photos(tmp_path / "photos", good=8, bad=2)
    store = build_store(data, SMALL, tmp_path, max_rejected=0.2)
    assert store.images.shape[0] == len(store.index) == 8
    assert store.rejected["image_id"].tolist() == ["nv/bad0.jpg", "nv/bad1.jpg"]
    assert store.rejected["reason"].tolist() == ["empty file", "not a picture of a known format"]
    manifest = json.loads((store.path / "manifest.json").read_text())
    assert (manifest["count"], manifest["rejected"]) == (8, 2)
    for row in (0, 7):  # index and pictures stay side by side
        alone = build_store(
            replace(data, records=(data.records[row],), listing_digest=str(row)), SMALL, tmp_path
        )
        np.testing.assert_array_equal(store.images[row], alone.images[0])
    with pytest.raises(UserError, match="2 of 10 images cannot be used"):  # a stricter repeat
        build_store(data, SMALL, tmp_path, max_rejected=0.1)


def test_too_many_bad_images_stop_and_leave_their_list(tmp_path: Path) -> None:
    data = _photos(tmp_path / "photos", good=8, bad=2)
    with pytest.raises(UserError) as error:
        build_store(data, SMALL, tmp_path / "stores")
    (listed,) = (tmp_path / "stores").iterdir()
    assert listed.read_text().count("\n") == 3
    for text in ("2 of 10", "bad0.jpg: empty file", str(listed), "max_rejected"):
        assert text in str(error.value)


def test_a_data_set_without_one_good_image_is_refused(tmp_path: Path) -> None:
    data = _photos(tmp_path / "photos", good=1)
    data.records[0].path.write_bytes(b"x")  # type: ignore[union-attr]
    with pytest.raises(UserError, match="1 of 1"):
        build_store(data, SMALL, tmp_path, max_rejected=1)


def test_what_a_killed_builder_left_is_never_read_and_goes_after_a_day(tmp_path: Path) -> None:
    data = _photos(tmp_path / "photos", good=3)
    fresh, old = tmp_path / ".folder_photos-8px-a.part", tmp_path / ".folder_photos-8px-b.part"
    for folder in (fresh, old):
        folder.mkdir()
        (folder / "images.npy").write_bytes(b"half")
    for path in (old / "images.npy", old):
        os.utime(path, (0, 0))
    assert len(build_store(data, SMALL, tmp_path).index) == 3
    assert fresh.exists()  # perhaps another process is at work there
    assert not old.exists()


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    data = _photos(tmp_path / "photos", good=9)
    with pytest.raises(KeyboardInterrupt):
        build_store(data, SMALL, tmp_path / "stores", progress=interrupt)
    assert list((tmp_path / "stores").iterdir()) == []
    assert len(build_store(data, SMALL, tmp_path / "stores").index) == 9


def test_builders_at_once_end_with_one_store(tmp_path: Path) -> None:
    data = _photos(tmp_path / "photos", good=30)
    with ThreadPoolExecutor(4) as pool:
        stores = list(
            pool.map(lambda _: build_store(data, SMALL, tmp_path / "stores", workers=2), range(4))
        )
    assert len({store.digest for store in stores}) == 1
    assert [path.name for path in (tmp_path / "stores").iterdir()] == [stores[0].path.name]


@pytest.mark.parametrize("name", ["images.npy", "manifest.json", "index.parquet", "rejected.csv"])
def test_a_damaged_store_is_refused(tmp_path: Path, name: str) -> None:
    store = build_store(_photos(tmp_path / "photos", good=3), SMALL, tmp_path)
    content = (store.path / name).read_bytes()
    (store.path / name).write_bytes(content[: len(content) // 2])
    if name == "rejected.csv":
        (store.path / name).unlink()
    with pytest.raises(UserError, match="is not an image store that can be read"):
        open_store(store.path)


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """No more pictures are in flight than a few per worker."""
    data = _photos(tmp_path / "photos", good=40)
    started: list[object] = []
    ahead: list[int] = []

    def load(record: object) -> np.ndarray:
        started.append(record)
        return np.zeros((9, 9, 3), np.uint8)

    build_store(
        replace(data, load=load),
        SMALL,
        tmp_path,
        workers=2,
        progress=lambda done, _: ahead.append(len(started) - done),
    )
    assert max(ahead) <= 6


def test_the_synthetic_store(tmp_path: Path) -> None:
    store = build_store(open_dataset("synthetic"), Preparation(size=32), tmp_path)
    assert store.images.shape == (400, 32, 32, 3)
    assert store.counts["melanoma"] == 110
    assert set(store.index["path"]) == {""}
    assert 100 < store.images.mean() < 200


@pytest.mark.slow
def test_real_data(shared: Path, tmp_path: Path) -> None:
    store = build_store(
        open_dataset("isic2017", str(shared / "data")), Preparation(size=64), tmp_path
    )
    assert store.counts == {"melanoma": 404, "nevus": 1450, "seborrheic_keratosis": 296}
    assert store.rejected.empty
