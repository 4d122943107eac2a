"""Time of the whole paper protocol: models A, C, E, F × 3 designs × 10 folds, VGG-M, 60 epochs.

    KERAS_BACKEND=jax python benchmarks/paper_protocol.py [--precision bfloat16]

975 images of random pixels at 224 px, a third of them in the smaller class. One fold is trained and
its features extracted, as the platform does it, and its time is multiplied. On an accelerator the
fold is a whole one; without one it is one epoch of few images, and the rest is extrapolated.

Each epoch is logged to an MLflow database and may be saved in a checkpoint, both in a temporary
folder. On an accelerator that is when a study would; without one it is after every epoch, and no
more of it is counted than the share that a study gives to it. The training of sources, the
SVMs and the logging of models and results are not in it.
"""

import argparse
import os
import time
from collections.abc import Iterator

from lesion_transfer.quiet import quiet_start

quiet_start()

import numpy as np  # noqa: E402
from measure import Clock, device_memory, noise, tracked_fold  # noqa: E402

from lesion_transfer.models.vgg_m import VGGM  # noqa: E402
from lesion_transfer.protocols import load_protocol  # noqa: E402
from lesion_transfer.training import loop  # noqa: E402
from lesion_transfer.training.augment_device import on_accelerator  # noqa: E402
from lesion_transfer.training.batches import Batch, Examples, epoch_batches  # noqa: E402
from lesion_transfer.training.checkpoint import SPACING, Checkpoint  # noqa: E402
from lesion_transfer.training.predict import predict  # noqa: E402

IMAGES, EPOCHS, SIZE = 975, 60, 224
FOLDS = 4 * 3 * 10


class Waiting:
    """Counts the seconds that the loop waits for its batches."""

    seconds = 0.0

    def batches(self, *given: object) -> Iterator[Batch]:
        batches = epoch_batches(*given)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self.seconds += time.perf_counter() - began
            if batch is None:
                return
            yield batch


def main() -> None:
    accelerator = on_accelerator()
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=IMAGES if accelerator else 192)
    parser.add_argument("--epochs", type=int, default=EPOCHS if accelerator else 1)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    given = parser.parse_args()
    # Noise has nothing to teach: at the rate of the recipe the loss would soon be infinite.
    changed = {"learning_rate": 1e-9, "epochs": given.epochs, "precision": given.precision}
    spec = load_protocol("reimplementation").finetune.model_copy(update=changed)
    images, rows = noise(given.images, SIZE), np.random.default_rng(0).permutation(given.images)
    half = rows[: given.images // 2]
    cut = round(spec.validation_share * len(half))
    validation, training = (Examples(images, r, r % 3 // 2) for r in (half[:cut], half[cut:]))

    trainer = loop.Trainer(VGGM().build(SIZE, imagenet=False, seed=0), 2, spec)
    initial = trainer.network.get_weights()
    began = time.perf_counter()
    trainer.spec = spec.model_copy(update={"epochs": 1})
    trainer.fit(initial, training, validation, seed=0)
    predict(trainer.network, images, rows[:1])
    compiled = time.perf_counter() - began

    trainer.spec, waiting = spec, Waiting()
    loop.epoch_batches = waiting.batches
    with tracked_fold() as (folder, run):
        every = {} if accelerator else {"every_seconds": 0}
        checkpoint = Checkpoint(folder / "fold.npz", before_saving=run.flush, **every)
        checkpoint.offer = saving = Clock(checkpoint.offer)
        began = time.perf_counter()
        trainer.fit(
            initial,
            training,
            validation,
            seed=1,
            on_epoch=lambda epoch, metrics: run.metrics(metrics, step=epoch),
            checkpoint=checkpoint,
        )
        trained = time.perf_counter() - began - saving.seconds
    began = time.perf_counter()
    predict(trainer.network, images, rows)
    extracted = time.perf_counter() - began

    times = IMAGES / given.images
    training_all = trained * times * EPOCHS / given.epochs
    saving_all = saving.seconds * EPOCHS / given.epochs
    if not accelerator:
        saving_all = min(saving_all, training_all / SPACING)
    fold = training_all + saving_all + extracted * times
    measured = (given.images, given.epochs) == (IMAGES, EPOCHS)
    where = "an accelerator" if accelerator else "no accelerator"
    print(
        f"{os.environ['KERAS_BACKEND']}, {given.precision}, {where}: measured {given.epochs} "
        f"epoch(s) of a fold of {given.images} images; {compiled:.0f} s before them to compile"
    )
    print(f"training {trained:.1f} s, {waiting.seconds / trained:.1%} of it waiting for input")
    print(f"checkpoints {saving.seconds:.1f} s")
    print(f"features of all images {extracted:.1f} s")
    how = "measured" if measured else "extrapolated"
    print(f"a fold of {IMAGES} images and {EPOCHS} epochs: {fold:,.0f} s ({how})")
    whole = (FOLDS * fold + compiled) / 60
    print(f"the paper's {FOLDS} folds: {whole:,.0f} minutes (extrapolated; goal 30 on one H200)")
    print(f"peak device memory: {device_memory()}")


if __name__ == "__main__":
    main()
