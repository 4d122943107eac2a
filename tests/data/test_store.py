import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from building import SMALL, counting, entries, left_over, some_photos
from PIL import Image

from lesion_transfer.data import build as module
from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.data.build import build_store
from lesion_transfer.data.images import Pictures
from lesion_transfer.data.shards import rows_per_shard
from lesion_transfer.data.steps import prepare
from lesion_transfer.data.store import COLUMNS, ImageStore, open_store
from lesion_transfer.errors import UserError
from lesion_transfer.protocols import CentreCrop, Circle, Preparation


def test_a_store_has_pictures_index_and_manifest(tmp_path: Path) -> None:
    data = some_photos(tmp_path / "photos", good=12)
    seen: list[tuple[int, int]] = []
    progress = lambda done, total: seen.append((done, total))  # noqa: E731
    store = build_store(data, SMALL, tmp_path / "stores", progress=progress)
    assert store.images.shape == (12, 8, 8, 3)
    assert store.images.dtype == np.uint8
    assert isinstance(store.images, Pictures)
    assert not store.images[:3].flags.writeable
    assert tuple(store.index.columns) == COLUMNS
    assert store.index["image_id"].is_monotonic_increasing
    assert store.counts == {"melanoma": 4, "nevus": 8}
    assert store.size == 8
    assert store.dataset == "folder_photos"
    assert store.rejected.empty
    assert store.duplicates.empty
    assert store.fingerprints.hashes.shape == (12, 4)
    assert store.fingerprints.structures.shape == (12, 1764)
    assert seen[-1] == (12, 12)
    assert store.path.name.startswith("folder_photos-8px-")
    assert entries(store.path) == [
        "duplicates.csv",
        "hashes.npy",
        "images-00000.npy",
        "index.parquet",
        "manifest.json",
        "rejected.csv",
        "structures.npy",
    ]
    assert entries(tmp_path / "stores") == [store.path.name]
    assert left_over(tmp_path / "stores") == []


def test_a_manifest_says_what_the_store_is(tmp_path: Path) -> None:
    preparation = Preparation(size=8, lesion=(CentreCrop(keep=0.9),), retina=(Circle(),))
    store = build_store(some_photos(tmp_path / "photos", good=3), preparation, tmp_path)
    manifest = json.loads((store.path / "manifest.json").read_text())
    assert manifest == store.manifest
    assert manifest["preparation"] == {
        "size": 8,
        "steps": [{"step": "centre_crop", "keep": 0.9}],
    }
    assert {"simplejpeg", "pillow", "lesion_transfer"} <= set(manifest["versions"])
    assert set(manifest["files"]) == set(entries(store.path)) - {"manifest.json"}
    assert manifest["digest"] == store.digest


def test_a_store_is_built_once(tmp_path: Path) -> None:
    data = some_photos(tmp_path / "photos", good=6)
    first = build_store(data, SMALL, tmp_path)
    assert build_store(data, Preparation(size=9), tmp_path).path != first.path
    cropped = Preparation(size=8, lesion=(CentreCrop(keep=0.5),))
    assert build_store(data, cropped, tmp_path).path != first.path
    other = Preparation(size=8, retina=(Circle(),))  # which is not for these pictures
    shutil.rmtree(tmp_path / "photos")
    for preparation in (SMALL, other):
        again = build_store(data, preparation, tmp_path)
        assert (again.path, again.digest) == (first.path, first.digest)


def test_what_the_pictures_show_decides_the_steps(tmp_path: Path) -> None:
    preparation = Preparation(size=8, retina=(CentreCrop(keep=0.5),))
    photos = some_photos(tmp_path / "photos", good=3)
    skin = build_store(photos, preparation, tmp_path)
    retinas = build_store(replace(photos, shows="retina"), preparation, tmp_path)
    assert skin.digest == build_store(photos, SMALL, tmp_path).digest
    assert retinas.digest != skin.digest


@pytest.mark.parametrize("processes", [False, True])
def test_pixels_and_digest_do_not_depend_on_workers_place_or_time(
    tmp_path: Path, processes: bool, monkeypatch: pytest.MonkeyPatch, tiny_shards: None
) -> None:
    data = some_photos(tmp_path / "photos", good=20, format="jpg")
    one = build_store(data, SMALL, tmp_path / "one", workers=1)
    os.utime(tmp_path / "photos" / "mel" / "000.jpg", ns=(5, 5))
    touched = open_dataset("folder", str(tmp_path / "photos"))
    if processes:
        monkeypatch.setattr(module, "PROCESSES_FROM", 1)
    many = build_store(touched, SMALL, tmp_path / "many", workers=3)
    assert one.path.name != many.path.name
    assert one.digest == many.digest
    np.testing.assert_array_equal(np.asarray(one.images), np.asarray(many.images))
    for first, second in zip(one.fingerprints, many.fingerprints, strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_digest_follows_labels_groups_and_pixels(tmp_path: Path) -> None:
    data = open_dataset("synthetic")
    data = replace(data, records=data.records[:4])
    first, *rest = data.records
    changed = [
        replace(data, listing_digest="1", records=(replace(first, **{field: "x"}), *rest))
        for field in ("group_id", "diagnosis")
    ]
    changed.append(replace(data, listing_digest="2", load=lambda record: 255 - data.load(record)))
    digests = {build_store(d, SMALL, tmp_path / str(i)).digest for i, d in enumerate(changed)}
    assert len(digests | {build_store(data, SMALL, tmp_path).digest}) == 4


def test_the_digest_does_not_depend_on_what_was_rejected(tmp_path: Path, tiny_shards: None) -> None:
    good = build_store(some_photos(tmp_path / "photos", good=9), SMALL, tmp_path / "a")
    both = some_photos(tmp_path / "photos", good=9, bad=3)
    assert build_store(both, SMALL, tmp_path / "b", max_rejected=1).digest == good.digest


@pytest.mark.usefixtures("tiny_shards")
def test_a_few_bad_images_are_listed_and_left_out(tmp_path: Path) -> None:
    data = some_photos(tmp_path / "photos", good=8, bad=2)
    store = build_store(data, SMALL, tmp_path, max_rejected=0.2)
    assert store.images.shape[0] == len(store.index) == 8
    assert store.rejected["image_id"].tolist() == ["nv/bad0.jpg", "nv/bad1.jpg"]
    assert store.rejected["reason"].tolist() == ["empty file", "not a picture of a known format"]
    assert (store.manifest["count"], store.manifest["rejected"]) == (8, 2)
    for row, path in enumerate(store.index["path"]):  # index and pictures stay side by side
        with Image.open(path) as image:
            np.testing.assert_array_equal(store.images[row], prepare(np.asarray(image), 8, ()))
    with pytest.raises(UserError, match="2 of 10 images cannot be used"):  # a stricter repeat
        build_store(data, SMALL, tmp_path, max_rejected=0.1)


@pytest.mark.usefixtures("tiny_shards")
def test_a_shard_without_one_good_image(tmp_path: Path) -> None:
    data = some_photos(tmp_path / "photos", good=6, bad=0)
    for record in data.records[:5]:
        record.path.write_bytes(b"x")  # type: ignore[union-attr]
    store = build_store(data, SMALL, tmp_path, max_rejected=0.9)
    assert store.images.shape[0] == 1
    assert "images-00000.npy" not in entries(store.path)
    open_store(store.path, verify=True)


def test_too_many_bad_images_stop_and_leave_their_list(tmp_path: Path) -> None:
    data = some_photos(tmp_path / "photos", good=8, bad=2)
    with pytest.raises(UserError) as error:
        build_store(data, SMALL, tmp_path / "stores")
    (listed,) = entries(tmp_path / "stores")
    assert (tmp_path / "stores" / listed).read_text().count("\n") == 3
    for text in ("2 of 10", "bad0.jpg: empty file", listed, "max_rejected"):
        assert text in str(error.value)


def test_what_was_wrong_for_a_while_is_read_again(tmp_path: Path) -> None:
    """A disk that was not mounted changes no listing; its pictures stay rejected by no store."""
    data = some_photos(tmp_path / "photos", good=8)
    (tmp_path / "photos").rename(tmp_path / "away")
    with pytest.raises(UserError, match="8 of 8"):
        build_store(data, SMALL, tmp_path / "stores")
    (tmp_path / "away").rename(tmp_path / "photos")
    assert len(build_store(data, SMALL, tmp_path / "stores").index) == 8
    assert len(entries(tmp_path / "stores")) == 1


def test_a_data_set_without_one_good_image_is_refused(tmp_path: Path) -> None:
    data = some_photos(tmp_path / "photos", good=1)
    data.records[0].path.write_bytes(b"x")  # type: ignore[union-attr]
    with pytest.raises(UserError, match="1 of 1"):
        build_store(data, SMALL, tmp_path, max_rejected=1)


def test_images_may_have_any_name(tmp_path: Path) -> None:
    some_photos(tmp_path / "photos", good=1)
    names = ["NA", "nan", "null", "1e5", "007", "None"]
    lines = [f"{name},mel/000.png,mel" for name in names]
    table = tmp_path / "photos" / "labels.csv"
    table.write_text("\n".join(["image_id,path,diagnosis", *lines]))
    store = build_store(open_dataset("csv", str(table)), SMALL, tmp_path / "stores")
    twice = store.duplicates[["image_id", "other_id"]]
    assert set(store.index["image_id"]) == set(names) == set(twice.to_numpy().ravel())


# --- stores that are not as they should be -------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["images-00000.npy", "manifest.json", "index.parquet", "rejected.csv", "hashes.npy"],
)
def test_a_damaged_store_is_refused(tmp_path: Path, name: str) -> None:
    store = build_store(some_photos(tmp_path / "photos", good=3), SMALL, tmp_path)
    content = (store.path / name).read_bytes()
    (store.path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="is not an image store that can be read"):
        open_store(store.path)
    (store.path / name).unlink()
    with pytest.raises(UserError, match="is not an image store that can be read"):
        open_store(store.path)


def test_a_changed_byte_is_found_by_verifying(tmp_path: Path) -> None:
    store = build_store(some_photos(tmp_path / "photos", good=3), SMALL, tmp_path)
    path = store.path / "images-00000.npy"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    open_store(store.path)
    with pytest.raises(UserError, match=r"images-00000\.npy has another SHA-256"):
        open_store(store.path, verify=True)


def test_a_changed_manifest_is_found(tmp_path: Path) -> None:
    store = build_store(some_photos(tmp_path / "photos", good=3), SMALL, tmp_path)
    manifest = store.path / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace(store.digest, "0" * 64))
    with pytest.raises(UserError, match="digest"):
        open_store(store.path, verify=True)
    manifest.write_text(text.replace("index.parquet", "../index.parquet"))
    with pytest.raises(UserError, match="names a file"):
        open_store(store.path)
    manifest.write_text(text.replace('"format": 3', '"format": 1'))
    with pytest.raises(UserError, match="format 1"):
        open_store(store.path)


# --- size ----------------------------------------------------------------------------------------


def test_shards_are_of_bounded_size() -> None:
    assert rows_per_shard(32) == 4096
    assert rows_per_shard(224) == 891
    assert rows_per_shard(2048) == 10


def test_no_more_is_under_way_than_can_be_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_shards: None
) -> None:
    monkeypatch.setattr(module, "_AHEAD", 3)
    data = replace(open_dataset("synthetic"), load=lambda record: np.zeros((9, 9, 3), np.uint8))
    filled = counting(monkeypatch)
    ahead: list[int] = []
    build_store(
        replace(data, records=data.records[:40]),
        SMALL,
        tmp_path,
        progress=lambda done, _: ahead.append(sum(filled) - done),
        workers=2,
    )
    assert max(ahead) <= 8


def test_the_synthetic_store(tmp_path: Path) -> None:
    store = build_store(open_dataset("synthetic"), Preparation(size=32), tmp_path)
    assert store.images.shape == (400, 32, 32, 3)
    assert store.counts["melanoma"] == 110
    assert set(store.index["path"]) == {""}
    assert store.duplicates.empty
    assert 100 < np.asarray(store.images).mean() < 200


@pytest.mark.slow
def test_real_data(shared: Path, tmp_path: Path) -> None:
    store = build_store(
        open_dataset("isic2017", str(shared / "data")), Preparation(size=64), tmp_path
    )
    assert store.counts == {"melanoma": 404, "nevus": 1450, "seborrheic_keratosis": 296}
    assert store.rejected.empty


def test_what_is_stated_of_patients_is_kept_beside_the_content(tmp_path: Path) -> None:
    some_photos(tmp_path, good=2)
    table = tmp_path / "labels.csv"

    def store(header: str, *said: str) -> ImageStore:
        named = zip(("mel/000.png", "nv/001.png"), said, strict=True)
        lines = [f"{number},{path},nevus{more}" for number, (path, more) in enumerate(named)]
        table.write_text("\n".join([f"image_id,path,diagnosis{header}", *lines]))
        return build_store(open_dataset("csv", str(table)), SMALL, tmp_path / "stores")

    plain, described = store("", "", ""), store(",age,sex,site", ",61,f,unknown", ",,,")
    assert set(described.index) - set(plain.index) == {"age", "sex"}  # no site is stated
    assert described.index["age"].fillna(-1).tolist() == [61, -1]
    assert described.index["sex"].tolist() == ["female", ""]
    assert described.digest == plain.digest
    assert described.path != plain.path
