"""Builds of a store that end early, or meet another: nothing half is ever taken for whole."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from building import SMALL, counting, entries, left_over, some_photos

from lesion_transfer.data import build as module
from lesion_transfer.data import shards
from lesion_transfer.data.build import BUILDING, build_store
from lesion_transfer.data.store import open_store
from lesion_transfer.errors import UserError


def test_an_interrupted_build_goes_on_at_its_finished_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_shards: None
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 17:  # in the fourth shard; three are finished
            raise KeyboardInterrupt

    data, stores = some_photos(tmp_path / "photos", good=23, bad=1), tmp_path / "stores"
    whole = build_store(data, SMALL, tmp_path / "whole", max_rejected=0.1)
    with pytest.raises(KeyboardInterrupt):
        build_store(data, SMALL, stores, max_rejected=0.1, progress=interrupt, workers=1)
    assert entries(stores) == []
    filled = counting(monkeypatch)
    seen: list[tuple[int, int]] = []
    again = build_store(data, SMALL, stores, 0.1, lambda done, all: seen.append((done, all)))
    assert sum(filled) == 24 - 15
    assert (seen[0], seen[-1]) == ((17, 24), (24, 24))
    assert again.digest == whole.digest
    np.testing.assert_array_equal(np.asarray(again.images), np.asarray(whole.images))
    assert left_over(stores) == []
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

    data = some_photos(tmp_path / "photos", good=12)
    with pytest.raises(KeyboardInterrupt):
        build_store(data, SMALL, tmp_path / "stores", progress=interrupt)
    (folder,) = [path for path in (tmp_path / "stores" / BUILDING).iterdir() if path.is_dir()]
    harm(folder / "images-00001.npy")
    filled = counting(monkeypatch)
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


@pytest.mark.slow
def test_a_killed_build_leaves_no_store_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, stores = some_photos(tmp_path / "photos", good=500), tmp_path / "stores"
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
    assert entries(stores) == []
    monkeypatch.setattr(shards, "_MOST_ROWS", 64)
    monkeypatch.setattr(module, "PROCESSES_FROM", 1000)  # threads, to count in
    filled = counting(monkeypatch)
    store = build_store(data, SMALL, stores)
    assert len(store.index) == 500
    assert 0 < sum(filled) <= 500 - 128
    open_store(store.path, verify=True)


def test_what_builders_left_goes_after_a_week(tmp_path: Path) -> None:
    data = some_photos(tmp_path / "photos", good=3)
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
    data = some_photos(tmp_path / "photos", good=3)
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
    data = some_photos(tmp_path / "photos", good=10)
    filled = counting(monkeypatch)
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
    data = some_photos(tmp_path / "photos", good=30)
    filled = counting(monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        stores = list(
            pool.map(lambda _: build_store(data, SMALL, tmp_path / "stores", workers=2), range(4))
        )
    assert len({store.digest for store in stores}) == 1
    assert entries(tmp_path / "stores") == [stores[0].path.name]
    assert sum(filled) == 30  # one built, the others waited


def test_a_killed_worker_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = some_photos(tmp_path / "photos", good=3)
    monkeypatch.setattr(module, "PROCESSES_FROM", 1)
    monkeypatch.setattr(module, "fill", _die)
    with pytest.raises(UserError, match="was killed"):
        build_store(data, SMALL, tmp_path / "stores", workers=1)
    assert entries(tmp_path / "stores") == []


def _die(chunk: shards.Chunk) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
