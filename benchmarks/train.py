"""Training speed: the platform's `Trainer.fit` against the same network on arrays in memory.

    python benchmarks/train.py [--backbone vgg_m] [--size 224] [--batch 48] [--batches 4]

The platform reads a memory-mapped store, balances classes of two sizes, augments, validates, logs
to an MLflow database and writes a checkpoint. The bare loop and Keras' `fit` do none of that: they
take as many steps over float32 arrays. Images per second are medians of runs in turns, of images
stepped through: an epoch of the platform is longer than its training set.

An epoch of a few batches overstates what is done once an epoch, and more so what is done once a
fold, as is setting all weights. So the ratios are of the steps alone, with what prepares their
images and reads their losses, and then of an epoch of the paper's folds: with its share of the
checkpoints, and with its validation, which the others have not.
"""

import argparse
import os
import resource
from functools import partial
from pathlib import Path

from lesion_transfer.quiet import quiet_start

quiet_start()

import keras  # noqa: E402
import numpy as np  # noqa: E402
from measure import (  # noqa: E402
    Clock,
    alternately,
    forward_flops,
    matrix_peak,
    noise,
    report,
    tracked_fold,
)

from lesion_transfer.models.backbones import is_file, resolve_backbone  # noqa: E402
from lesion_transfer.protocols import Backbone, Training, load_protocol  # noqa: E402
from lesion_transfer.tracking import Run  # noqa: E402
from lesion_transfer.training import loop  # noqa: E402
from lesion_transfer.training.batches import Examples  # noqa: E402
from lesion_transfer.training.checkpoint import SPACING, Checkpoint  # noqa: E402
from lesion_transfer.training.optimizers import optimizer_for  # noqa: E402

PAPERS = 586  # images that an epoch steps through: 439 to train on, two thirds of one class


class Platform:
    """Trains for one epoch, and keeps the seconds of its steps, validation and saving."""

    def __init__(self, trainer: loop.Trainer, parts: list[Examples], path: Path, run: Run) -> None:
        self.trainer, self.parts, self.path, self.log = trainer, parts, path, run
        self.initial = trainer.network.get_weights()
        self.spent: list[tuple[float, float, float]] = []

    def fit(self) -> int:
        checkpoint = Checkpoint(self.path, every_seconds=0, before_saving=self.log.flush)
        checkpoint.offer = saving = Clock(checkpoint.offer)
        self.trainer._epoch = training = Clock(partial(loop.Trainer._epoch, self.trainer))
        predict, loop.predict = loop.predict, Clock(loop.predict)
        self.trainer.fit(
            self.initial,
            *self.parts,
            seed=0,
            on_epoch=lambda epoch, metrics: self.log.metrics(metrics, step=epoch),
            checkpoint=checkpoint,
        )
        self.spent.append((training.seconds, loop.predict.seconds, saving.seconds))
        loop.predict = predict
        checkpoint.remove()
        return int(self.trainer.optimizer.iterations) * self.trainer.spec.batch_size

    def seconds(self) -> list[float]:
        """Medians of the seconds of training, validation and saving, after the first time."""
        return [float(each) for each in np.median(self.spent[1:], axis=0)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default="vgg_m")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tracked_fold() as (folder, run):
        compare(given, folder, run)


def compare(given: argparse.Namespace, folder: Path, run: Run) -> None:
    count = given.batch * given.batches
    sizes = [count // 2, count // 4]  # the smaller class is seen twice
    labels, held_out = np.repeat([0, 1], sizes), np.arange(max(2, sum(sizes) // 9)) % 2
    pixels = noise(count, given.size)
    np.save(folder / "images.npy", pixels)
    stored = np.load(folder / "images.npy", mmap_mode="r")
    parts = [
        Examples(stored, np.arange(len(labels)), labels),
        Examples(stored, count - 1 - np.arange(len(held_out)), held_out),
    ]
    inputs, targets = pixels.astype(np.float32), np.eye(2, dtype=np.float32)[np.arange(count) % 2]
    # Noise has nothing to teach: at the rate of the recipe the loss would soon be infinite.
    recipe = load_protocol("paper").finetune.model_dump()
    recipe |= {"learning_rate": 1e-9, "epochs": 1, "batch_size": given.batch}

    def platform(precision: str) -> Platform:
        path = Path(given.backbone) if is_file(given.backbone) else None
        backbone = resolve_backbone(Backbone(name=given.backbone), path)
        network = backbone.build(given.size, imagenet=False, seed=0)
        trainer = loop.Trainer(network, 2, Training(**recipe | {"precision": precision}))
        return Platform(trainer, parts, folder / f"{precision}.npz", run)

    reference, mixed = platform("float32"), platform("bfloat16")

    def plain(made: loop.Trainer) -> keras.Model:
        """The same layers in a model of Keras' own, as anyone would train it."""
        model = keras.Model(made.model.input, made.model.output)
        optimizer = optimizer_for(made.spec, made.network)
        model.compile(optimizer, keras.losses.CategoricalCrossentropy())
        return model

    def bare(model: keras.Model) -> int:
        for start in range(0, count, given.batch):
            part = slice(start, start + given.batch)
            model.train_on_batch(inputs[part], targets[part])
        return count

    def fit(model: keras.Model) -> int:
        model.fit(inputs, targets, batch_size=given.batch, shuffle=False, verbose=0)
        return count

    model = plain(reference.trainer)
    bare_name, fit_name = "bare loop, float32", "keras fit, float32"
    speeds = alternately(
        {
            bare_name: partial(bare, model),
            fit_name: partial(fit, model),
            "platform, float32": reference.fit,
            "platform, bfloat16": mixed.fit,
        },
        given.repeats,
    )
    lines = []
    for name, made, other, goal in (
        ("platform, float32", reference, bare_name, 0.95),
        ("platform, bfloat16", mixed, fit_name, 1.8),
    ):
        training, validating, saving = made.seconds()
        speeds[f"{name}, the whole fit"] = speeds[name]
        speeds[name] = count / training
        epoch = training * PAPERS / count
        saving *= min(1, epoch / (SPACING * saving))  # not after each one, where that takes long
        lines += [
            f"{name} / {other}: {speeds[name] / speeds[other]:.2f} (goal {goal})",
            f"  an epoch of {PAPERS} images: {epoch:.1f} s, with its share of checkpoints, "
            f"{saving:.1f} s: {PAPERS / (epoch + saving) / speeds[other]:.2f}, "
            f"with validation too, {validating:.1f} s: "
            f"{PAPERS / (epoch + saving + validating) / speeds[other]:.2f}",
        ]
    flops = 3 * forward_flops(reference.trainer.network)
    report(speeds, bare_name, flops, matrix_peak())
    print(*lines, sep="\n")
    print(f"an epoch: {count} images stepped through, of {sizes[0]} + {sizes[1]} in two classes")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GiB; backend {os.environ['KERAS_BACKEND']}")


if __name__ == "__main__":
    main()
