import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from lesion_transfer.data import build as module
from lesion_transfer.data import shards
from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.data.build import BUILDING, build_store
from lesion_transfer.data.dataset import Dataset
from lesion_transfer.data.images import Pictures
from lesion_transfer.data.shards import rows_per_shard
from lesion_transfer.data.steps import prepare
from lesion_transfer.data.store import COLUMNS, ImageStore, open_store
from lesion_transfer.errors import UserError
from lesion_transfer.protocols import CentreCrop, Circle, Preparation

SMALL = Preparation(size=8)


def _photos(root: Path, good: int, bad: int = 0, format: str = "png") -> Dataset:
    rng = np.random.default_rng(0)
    for i in range(good):
        path = root / ("mel" if i % 3 == 0 else "nv") / f"{i:03d}.{format}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    for i in range(bad):
        (root / "nv" / f"bad{i}.jpg").write_bytes(b"" if i == 0 else b"nothing")
    return open_dataset("folder", str(root))


def _names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.name != BUILDING)


def _left_over(root: Path) -> list[str]:
    return sorted(path.name for path in (root / BUILDING).iterdir() if path.suffix != ".lock")


@pytest.fixture
def tiny_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_MOST_ROWS", 5)
    monkeypatch.setattr(module, "CHUNK", 2)


def test_a_store_has_pictures_index_and_manifest(tmp_path: Path) -> None:
    data = _photos(tmp_path / "photos", good=12)
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
    assert _names(store.path) == [
        "duplicates.csv",
        "hashes.npy",
        "images-00000.npy",
        "index.parquet",
        "manifest.json",
        "rejected.csv",
        "structures.npy",
    ]
    assert _names(tmp_path / "stores") == [store.path.name]
    assert _left_over(tmp_path / "stores") == []


def test_a_manifest_says_what_the_store_is(tmp_path: Path) -> None:
    preparation = Preparation(size=8, lesion=(CentreCrop(keep=0.9),), retina=(Circle(),))
    store = build_store(_photos(tmp_path / "photos", good=3), preparation, tmp_path)
    manifest = json.loads((store.path / "manifest.json").read_text())
    assert manifest == store.manifest
    assert manifest["preparation"] == {
        "size": 8,
        "steps": [{"step": "centre_crop", "keep": 0.9}],
    }
    assert {"simplejpeg", "pillow", "lesion_transfer"} <= set(manifest["versions"])
    assert set(manifest["files"]) == set(_names(store.path)) - {"manifest.json"}
    assert manifest["digest"] == store.digest


def test_a_store_is_built_once(tmp_path: Path) -> None:
    data = _photos(tmp_path / "photos", good=6)
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
    photos = _photos(tmp_path / "photos", good=3)
    skin = build_store(photos, preparation, tmp_path)
    retinas = build_store(replace(photos, shows="retina"), preparation, tmp_path)
    assert skin.digest == build_store(photos, SMALL, tmp_path).digest
    assert retinas.digest != skin.digest


@pytest.mark.parametrize("processes", [False, True])
def test_pixels_and_digest_do_not_depend_on_workers_place_or_time(
    tmp_path: Path, processes: bool, monkeypatch: pytest.MonkeyPatch, tiny_shards: None
) -> None:
    data = _photos(tmp_path / "photos", good=20, format="jpg")
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
    good = build_store(_photos(tmp_path / "photos", good=9), SMALL, tmp_path / "a")
    both = _photos(tmp_path / "photos", good=9, bad=3)
    assert build_store(both, SMALL, tmp_path / "b", max_rejected=1).digest == good.digest


@pytest.mark.usefixtures("tiny_shards")
def test_a_few_bad_images_are_listed_and_left_out(tmp_path: Path) -> None:
    data = _photos(tmp_path / "photos", good=8, bad=2)
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
    data = _photos(tmp_path / "photos", good=6, bad=0)
    for record in data.records[:5]:
        record.path.write_bytes(b"x")  # type: ignore[union-attr]
    store = build_store(data, SMALL, tmp_path, max_rejected=0.9)
    assert store.images.shape[0] == 1
    assert "images-00000.npy" not in _names(store.path)
    open_store(store.path, verify=True)


def test_too_many_bad_images_stop_and_leave_their_list(tmp_path: Path) -> None:
    data = _photos(tmp_path / "photos", good=8, bad=2)
    with pytest.raises(UserError) as error:
        build_store(data, SMALL, tmp_path / "stores")
    (listed,) = _names(tmp_path / "stores")
    assert (tmp_path / "stores" / listed).read_text().count("\n") == 3
    for text in ("2 of 10", "bad0.jpg: empty file", listed, "max_rejected"):
        assert text in str(error.value)


def test_what_was_wrong_for_a_while_is_read_again(tmp_path: Path) -> None:
    """A disk that was not mounted changes no listing; its pictures stay rejected by no store."""
    data = _photos(tmp_path / "photos", good=8)
    (tmp_path / "photos").rename(tmp_path / "away")
    with pytest.raises(UserError, match="8 of 8"):
        build_store(data, SMALL, tmp_path / "stores")
    (tmp_path / "away").rename(tmp_path / "photos")
    assert len(build_store(data, SMALL, tmp_path / "stores").index) == 8
    assert len(_names(tmp_path / "stores")) == 1


def test_a_data_set_without_one_good_image_is_refused(tmp_path: Path) -> None:
    data = _photos(tmp_path / "photos", good=1)
    data.records[0].path.write_bytes(b"x")  # type: ignore[union-attr]
    with pytest.raises(UserError, match="1 of 1"):
        build_store(data, SMALL, tmp_path, max_rejected=1)


# --- builds that end early -----------------------------------------------------------------------


def _counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    filled: list[int] = []
    fill = shards.fill

    def counted(chunk: shards.Chunk) -> object:
        filled.append(len(chunk.records))
        return fill(chunk)

    monkeypatch.setattr(module, "fill", counted)
    return filled


def test_an_interrupted_build_goes_on_at_its_finished_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_shards: None
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 17:  # in the fourth shard; three are finished
            raise KeyboardInterrupt

    data, stores = _photos(tmp_path / "photos", good=23, bad=1), tmp_path / "stores"
    whole = build_store(data, SMALL, tmp_path / "whole", max_rejected=0.1)
    with pytest.raises(KeyboardInterrupt):
        build_store(data, SMALL, stores, max_rejected=0.1, progress=interrupt, workers=1)
    assert _names(stores) == []
    filled = _counting(monkeypatch)
    seen: list[tuple[int, int]] = []
    again = build_store(data, SMALL, stores, 0.1, lambda done, all: seen.append((done, all)))
    assert sum(filled) == 24 - 15
    assert (seen[0], seen[-1]) == ((17, 24), (24, 24))
    assert again.digest == whole.digest
    np.testing.assert_array_equal(np.asarray(again.images), np.asarray(whole.images))
    assert _left_over(stores) == []
    open_store(again.path, verify=True)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: path.unlink(),
        lambda path: path.with_suffix(".rows").write_bytes(b"PAR1 not quite PAR1"),
        lambda path: path.with_suffix(".rows").unlink(),
    ],
)
def test_a_damaged_shard_of_an_earlier_build_is_made_again(
    tmp_path: Path,
    harm: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    tiny_shards: None,
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    data = _photos(tmp_path / "photos", good=12)
    with pytest.raises(KeyboardInterrupt):
        build_store(data, SMALL, tmp_path / "stores", progress=interrupt)
    (folder,) = [path for path in (tmp_path / "stores" / BUILDING).iterdir() if path.is_dir()]
    harm(folder / "images-00001.npy")
    filled = _counting(monkeypatch)
    again = build_store(data, SMALL, tmp_path / "stores")
    assert sum(filled) == 5 + 2  # the damaged shard, and the one that was not finished
    assert again.digest == build_store(data, SMALL, tmp_path / "whole").digest


_KILLED = """
import sys, time
from pathlib import Path
from lesion_transfer.data import build, shards
from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.protocols import Preparation

if __name__ == "__main__":
    shards._MOST_ROWS = 64
    build.PROCESSES_FROM = 1
    def progress(done, total):
        print(done, flush=True)
        time.sleep(0.05)
    data = open_dataset("folder", sys.argv[1])
    build.build_store(data, Preparation(size=8), Path(sys.argv[2]), progress=progress, workers=2)
"""


def test_a_killed_build_leaves_no_store_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, stores = _photos(tmp_path / "photos", good=500), tmp_path / "stores"
    script = tmp_path / "killed.py"
    script.write_text(_KILLED)
    command = [sys.executable, str(script), str(tmp_path / "photos"), str(stores)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 200:
                workers = psutil.Process(process.pid).children(recursive=True)
                process.send_signal(signal.SIGKILL)
                break
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert workers
    assert not alive
    assert _names(stores) == []
    monkeypatch.setattr(shards, "_MOST_ROWS", 64)
    monkeypatch.setattr(module, "PROCESSES_FROM", 1000)  # threads, to count in
    filled = _counting(monkeypatch)
    store = build_store(data, SMALL, stores)
    assert len(store.index) == 500
    assert 0 < sum(filled) <= 500 - 128
    open_store(store.path, verify=True)


def test_what_builders_left_goes_after_a_week(tmp_path: Path) -> None:
    data = _photos(tmp_path / "photos", good=3)
    fresh, old = tmp_path / BUILDING / "a", tmp_path / BUILDING / "b"
    for folder in (fresh, old):
        folder.mkdir(parents=True)
        (folder / "images-00000.npy").write_bytes(b"half")
    for path in (old / "images-00000.npy", old):
        os.utime(path, (0, 0))
    assert len(build_store(data, SMALL, tmp_path).index) == 3
    assert fresh.exists()  # perhaps to go on
    assert not old.exists()


def test_what_another_builder_moves_away_meanwhile_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _photos(tmp_path / "photos", good=3)
    (tmp_path / BUILDING / "other").mkdir(parents=True)
    glob = Path.glob

    def moving(self: Path, pattern: str) -> list[Path]:
        found = list(glob(self, pattern))
        for path in found:
            if self.name == BUILDING and path.is_dir():
                path.rmdir()
        return found

    monkeypatch.setattr(Path, "glob", moving)
    assert len(build_store(data, SMALL, tmp_path).index) == 3


def test_a_disk_without_room_is_found_out_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _photos(tmp_path / "photos", good=10)
    filled = _counting(monkeypatch)
    usage = shutil.disk_usage(tmp_path)._replace(free=10 * 8 * 8 * 3 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match=r"store of folder_photos needs 1.92e-06 GB"):
        build_store(data, SMALL, tmp_path / "stores")
    assert not filled


@pytest.mark.skipif(sys.platform == "darwin", reason="has no posix_fallocate")
def test_a_shard_has_its_room_on_the_disk_before_it_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "images-00000.npy"
    shards.create_shard(path, rows=100, size=100)
    assert path.stat().st_blocks * 512 >= path.stat().st_size > 3_000_000


def test_builders_at_once_end_with_one_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _photos(tmp_path / "photos", good=30)
    filled = _counting(monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        stores = list(
            pool.map(lambda _: build_store(data, SMALL, tmp_path / "stores", workers=2), range(4))
        )
    assert len({store.digest for store in stores}) == 1
    assert _names(tmp_path / "stores") == [stores[0].path.name]
    assert sum(filled) == 30  # one built, the others waited


def test_a_killed_worker_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _photos(tmp_path / "photos", good=3)
    monkeypatch.setattr(module, "PROCESSES_FROM", 1)
    monkeypatch.setattr(module, "fill", _die)
    with pytest.raises(UserError, match="was killed"):
        build_store(data, SMALL, tmp_path / "stores", workers=1)
    assert _names(tmp_path / "stores") == []


def _die(chunk: shards.Chunk) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_images_may_have_any_name(tmp_path: Path) -> None:
    _photos(tmp_path / "photos", good=1)
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
    store = build_store(_photos(tmp_path / "photos", good=3), SMALL, tmp_path)
    content = (store.path / name).read_bytes()
    (store.path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="is not an image store that can be read"):
        open_store(store.path)
    (store.path / name).unlink()
    with pytest.raises(UserError, match="is not an image store that can be read"):
        open_store(store.path)


def test_a_changed_byte_is_found_by_verifying(tmp_path: Path) -> None:
    store = build_store(_photos(tmp_path / "photos", good=3), SMALL, tmp_path)
    path = store.path / "images-00000.npy"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    open_store(store.path)
    with pytest.raises(UserError, match=r"images-00000\.npy has another SHA-256"):
        open_store(store.path, verify=True)


def test_a_changed_manifest_is_found(tmp_path: Path) -> None:
    store = build_store(_photos(tmp_path / "photos", good=3), SMALL, tmp_path)
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
    filled = _counting(monkeypatch)
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
    _photos(tmp_path, good=2)
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
