"""Training speed: the platform's loop against the same network on arrays already in memory.

    python benchmarks/train.py [--backbone vgg_m] [--size 224] [--batch 48] [--batches 4]

The platform reads a store, balances, augments and logs; the bare loops do none of that. Images per
second, medians of runs in turns, and ratios to the bare loop and to Keras' `fit`, in one run.
"""

import argparse
import os
import resource
from pathlib import Path

from lesion_transfer.quiet import quiet_start

quiet_start()

import keras  # noqa: E402
import numpy as np  # noqa: E402
from measure import alternately, forward_flops, matrix_peak, noise, report  # noqa: E402

from lesion_transfer.models.backbones import is_file, resolve_backbone  # noqa: E402
from lesion_transfer.protocols import Backbone, Training, load_protocol  # noqa: E402
from lesion_transfer.training.batches import Examples, opencv_feed  # noqa: E402
from lesion_transfer.training.loop import Trainer  # noqa: E402
from lesion_transfer.training.optimizers import optimizer_for  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default="vgg_m")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    count = given.batch * given.batches
    images, labels = noise(count, given.size), np.arange(count) % 2
    examples = Examples(images, np.arange(count), labels)
    inputs, targets = images.astype(np.float32), np.eye(2, dtype=np.float32)[labels]
    # Noise has nothing to teach: at the rate of the recipe the loss would soon be infinite.
    recipe = load_protocol("paper").finetune.model_copy(update={"learning_rate": 1e-9})

    def trainer(**changes: object) -> Trainer:
        spec = Training(**(recipe.model_dump() | {"batch_size": given.batch} | changes))
        path = Path(given.backbone) if is_file(given.backbone) else None
        backbone = resolve_backbone(Backbone(name=given.backbone), path)
        return Trainer(backbone.build(given.size, imagenet=False, seed=0), 2, spec)

    def platform(made: Trainer) -> int:
        made._epoch(1, examples, 0, opencv_feed(examples, made.spec.augmentation))
        return count

    def plain(made: Trainer) -> keras.Model:
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

    reference, mixed = trainer(), trainer(precision="bfloat16")
    plain_reference, plain_mixed = plain(reference), plain(mixed)
    speeds = alternately(
        {
            "bare loop, float32": lambda: bare(plain_reference),
            "keras fit, float32": lambda: fit(plain_reference),
            "platform, float32": lambda: platform(reference),
            "bare loop, bfloat16": lambda: bare(plain_mixed),
            "platform, bfloat16": lambda: platform(mixed),
        },
        given.repeats,
    )
    flops = 3 * forward_flops(reference.network)
    report(speeds, "bare loop, float32", flops, matrix_peak())
    for precision in ("float32", "bfloat16"):
        share = speeds[f"platform, {precision}"] / speeds[f"bare loop, {precision}"]
        print(f"platform / bare loop, {precision}: {share:.2f} (goal 0.95)")
    gain = speeds["platform, bfloat16"] / speeds["keras fit, float32"]
    print(f"platform bfloat16 / keras fit float32: {gain:.2f} (goal 1.8)")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GiB; backend {os.environ['KERAS_BACKEND']}")


if __name__ == "__main__":
    main()
