"""Extraction: from a store on disk to a table on disk, against `model.predict` in memory.

    python benchmarks/extract.py [--backbone vgg_m] [--size 224] [--batch 32] [--images 256]

Images per second, medians of runs in turns, ratios to `predict`, all in one run. Each arithmetic's
features are compared with those in float32. Rows of OpenVINO that cannot be had are left out, with
the reason.
"""

import argparse
import os
import resource
import tempfile
from functools import partial
from pathlib import Path

from lesion_transfer.quiet import quiet_start

quiet_start()

import keras  # noqa: E402
import numpy as np  # noqa: E402
from measure import alternately, forward_flops, matrix_peak, noise, report  # noqa: E402

from lesion_transfer.errors import UserError  # noqa: E402
from lesion_transfer.models.backbones import is_file, resolve_backbone  # noqa: E402
from lesion_transfer.models.openvino import OpenVinoNetwork  # noqa: E402
from lesion_transfer.models.precision import in_precision  # noqa: E402
from lesion_transfer.protocols import Backbone  # noqa: E402
from lesion_transfer.stages.features import write_features  # noqa: E402
from lesion_transfer.training.predict import Network, outputs, predict  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default="vgg_m")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    path = Path(given.backbone) if is_file(given.backbone) else None
    backbone = resolve_backbone(Backbone(name=given.backbone), path)
    network = backbone.build(given.size, imagenet=path is not None, seed=0)
    networks = {
        "float32": network,
        "bfloat16": in_precision(network, "bfloat16"),
    }
    for precision in ("float32", "bfloat16"):
        try:
            compiled = OpenVinoNetwork(network, precision, given.batch)
        except UserError as error:
            print(error)
        else:
            networks[f"{precision}, openvino"] = compiled
    pixels = noise(given.images, given.size)
    inputs, rows = pixels.astype(np.float32), np.arange(given.images)
    names = rows.astype(str).tolist()
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "images.npy"), pixels)
        stored = np.load(Path(folder, "images.npy"), mmap_mode="r")

        def bare(model: keras.Model) -> int:
            model.predict(inputs, batch_size=given.batch, verbose=0)
            return given.images

        def platform(model: Network) -> int:
            blocks = outputs(model, stored, rows, given.batch)
            write_features(Path(folder, "features.parquet"), names, names, names, blocks)
            return given.images

        runs = {
            f"keras predict, {precision}": partial(bare, networks[precision])
            for precision in ("float32", "bfloat16")
        }
        runs |= {f"platform, {name}": partial(platform, each) for name, each in networks.items()}
        speeds = alternately(runs, given.repeats)
        found = {
            name: predict(each, stored, rows[:32], given.batch) for name, each in networks.items()
        }
    report(speeds, "keras predict, float32", forward_flops(network), matrix_peak())
    reference = found.pop("float32")
    print("features differ from float32's by, of their length (median and worst picture):")
    for name, features in found.items():
        error = np.linalg.norm(features - reference, axis=1) / np.linalg.norm(reference, axis=1)
        print(f"  {name:20} {np.median(error):.1e}  {error.max():.1e}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GiB; backend {os.environ['KERAS_BACKEND']}")


if __name__ == "__main__":
    main()
