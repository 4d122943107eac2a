"""Preprocessing against the original's way, in the same run: images/s, peak memory, difference.

    python benchmarks/preprocess.py [--pictures ../shared/data] [--seconds 20] [--files 20000]

The original decodes every picture in full with Pillow, resizes it with LANCZOS and saves it.
Both sides prepare the same JPEGs to 224 px with the same number of processes, 1 and 2, in turns,
and the better of two rounds counts. Rates are taken from the first finished pictures to the end,
so that the start of processes is in neither. The JPEGs are real pictures enlarged, with the noise
of a sensor; without --pictures, drawn ones. At last, stores of --files files and of a quarter of
them show how memory grows with the data set.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.data.build import build_store
from lesion_transfer.data.store import open_store
from lesion_transfer.protocols import Preparation

SIDE = 224
SIZES = {"4288×2848": (4288, 2848, "eyepacs"), "1022×767": (1022, 767, "isic2017")}
TARGETS = {"4288×2848": (6.0, 0.7), "1022×767": (1.7, 1.5)}  # times as fast, difference
MEMORY_LIMIT = 600
DISTINCT = 8
ROUNDS = 2


# --- pictures ------------------------------------------------------------------------------------


def write_pictures(folder: Path, size: str, count: int, pictures: Path) -> None:
    """Write ``count`` JPEGs, a few different ones under many names."""
    width, height, name = SIZES[size]
    real = name if (pictures / name).is_dir() else "synthetic"
    data = open_dataset(real, str(pictures))
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        path, first = folder / f"{number:05}.jpg", folder / f"{number % DISTINCT:05}.jpg"
        if number >= DISTINCT:
            path.hardlink_to(first)
            continue
        small = data.load(data.records[number * 37 % len(data.records)])
        large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        large += rng.normal(0, 4, (height, width, 1))
        coarse = rng.normal(0, 6, (height // 2, width // 2, 3)).astype(np.float32)
        large += cv2.resize(coarse, (width, height))
        Image.fromarray(np.clip(large, 0, 255).astype(np.uint8)).save(path, quality=90)


def write_many(folder: Path, count: int) -> None:
    """Write small JPEGs, all different."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
        picture = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
        Image.fromarray(picture).save(folder / f"{number:06}.jpg", quality=85)


# --- the two sides, each measured in a process of its own ----------------------------------------


def originals_way(path: Path) -> None:
    with Image.open(path) as image:
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    small.save(path.parent.with_name("resized") / path.name, quality=95)


def measure(side: str, folder: Path, processes: int) -> dict[str, float]:
    paths = sorted(folder.glob("class/*.jpg"))
    times: list[tuple[float, int]] = []
    began = time.perf_counter()
    if side == "original":
        (folder / "resized").mkdir(exist_ok=True)
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            for done, _ in enumerate(pool.map(originals_way, paths, chunksize=8), 1):
                times.append((time.perf_counter(), done))
    else:
        data = open_dataset("folder", str(folder))
        stores = folder.with_name(f"store-{folder.name}-{processes}")
        shutil.rmtree(stores, ignore_errors=True)
        build_store(
            data,
            Preparation(size=SIDE),
            stores,
            progress=lambda done, _: times.append((time.perf_counter(), done)),
            workers=processes,
        )
    ended = time.perf_counter()
    first, before = times[0]
    return {
        "rate": (len(paths) - before) / (ended - first),
        "seconds": ended - began,
        "parent": own_peak(),
        "worker": peak(resource.RUSAGE_CHILDREN),
    }


def own_peak() -> float:
    """Megabytes; Linux' ``getrusage`` would count what the process that started this one had."""
    status = Path("/proc/self/status")
    if not status.exists():
        return peak(resource.RUSAGE_SELF)
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10


def peak(who: int) -> float:
    """Megabytes."""
    return resource.getrusage(who).ru_maxrss / (2**10 if sys.platform != "darwin" else 2**20)


def apart(work: str, *arguments: object) -> dict[str, float]:
    """Do a part of the work in a process of its own, whose memory is measured from nothing."""
    command = [sys.executable, __file__, work, *map(str, arguments)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(output.splitlines()[-1])) if output else {}


def difference(folder: Path) -> float:
    """Mean absolute difference to full decoding and LANCZOS, of 255."""
    (path,) = folder.with_name(f"store-{folder.name}-1").glob("folder_*")
    store = open_store(path)
    differences = []
    for number in range(DISTINCT):
        with Image.open(store.index["path"][number]) as image:
            reference = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        stored = store.images[number].astype(np.float64)
        differences.append(np.abs(stored - np.asarray(reference)).mean())
    return float(np.mean(differences))


# --- the report ----------------------------------------------------------------------------------


def compare(size: str, work: Path, pictures: Path, seconds: float) -> bool:
    pixels = SIZES[size][0] * SIZES[size][1]
    folder = work / size.replace("×", "x")
    folder.mkdir()
    count = max(256, int(seconds * 65e6 / pixels))  # the original prepares some 65 Mpixel/s
    apart("--write", folder / "class", size, count, pictures)
    wanted, allowed = TARGETS[size]
    holds = True
    for processes in (1, 2):
        sides: dict[str, dict[str, float]] = {}
        for side in ("original", "ours") * ROUNDS:
            result = apart("--measure", side, folder, processes)
            if side not in sides or result["rate"] > sides[side]["rate"]:
                sides[side] = result
        for side, result in sides.items():
            print(
                f"{size}  {processes} process(es)  {side:9}{result['rate']:8.1f} images/s, "
                f"{result['seconds']:.1f} s in all; peak memory {result['worker']:.0f} MB a "
                f"worker, {result['parent']:.0f} MB the parent"
            )
        ratio = sides["ours"]["rate"] / sides["original"]["rate"]
        holds &= verdict(f"  {ratio:.2f} times as fast", ratio >= wanted, f"at least {wanted}")
        holds &= memory(sides["ours"])
    found = difference(folder)
    return (
        verdict(f"  difference {found:.2f} of 255", found < allowed, f"under {allowed}") and holds
    )


def memory(result: dict[str, float]) -> bool:
    most = max(result["worker"], result["parent"])
    return verdict(f"  peak memory {most:.0f} MB", most < MEMORY_LIMIT, f"under {MEMORY_LIMIT}")


def many_files(work: Path, files: int) -> bool:
    """Measure the memory of a quarter of the files, and of all: what a file adds to it."""
    parents = []
    for count in (files // 4, files):
        folder = work / f"many-{count}"
        folder.mkdir()
        apart("--write", folder / "class", "many", count, "")
        result = apart("--measure", "ours", folder, 2)
        print(
            f"{count:,} files: {result['rate']:.0f} images/s; peak memory "
            f"{result['worker']:.0f} MB a worker, {result['parent']:.0f} MB the parent"
        )
        parents.append(result["parent"])
        shutil.rmtree(folder)
        shutil.rmtree(folder.with_name(f"store-{folder.name}-2"))
    each = (parents[1] - parents[0]) / (files - files // 4)
    print(f"  {each * 2**10:.2f} KB a file in the parent")
    return memory(result)


def verdict(text: str, holds: bool, target: str) -> bool:
    print(f"{text}  (target: {target}: {'holds' if holds else 'MISSED'})", flush=True)
    return holds


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    shared = Path(__file__).parents[2] / "shared" / "data"
    parser.add_argument("--pictures", type=Path, default=shared, help="folder of isic2017, eyepacs")
    parser.add_argument("--seconds", type=float, default=20, help="of the original, one process")
    parser.add_argument("--files", type=int, default=20_000, help="of the test of memory; 0: none")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--write", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        folder, size, count, pictures = options.write
        if size == "many":
            write_many(Path(folder), int(count))
        else:
            write_pictures(Path(folder), size, int(count), Path(pictures))
        return 0
    if options.measure:
        side, folder, processes = options.measure
        print(json.dumps(measure(side, Path(folder), int(processes))))
        return 0
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f} before the start; to {SIDE} px")
    with tempfile.TemporaryDirectory() as name:
        holds = [compare(size, Path(name), options.pictures, options.seconds) for size in SIZES]
        if options.files:
            holds.append(many_files(Path(name), options.files))
    return 0 if all(holds) else 1


if __name__ == "__main__":
    sys.exit(main())
