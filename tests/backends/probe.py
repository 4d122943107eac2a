"""What one backend makes of the networks in a folder: ``KERAS_BACKEND=… python probe.py folder``.

Run by test_backends.py, in a process of its own, since Keras chooses its backend once.
"""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lesion_transfer.evaluation.svm import fit_head
from lesion_transfer.models.backbones import load_network
from lesion_transfer.models.fold_model import compose, head_model
from lesion_transfer.models.normalization import LocalResponseNormalization
from lesion_transfer.models.openvino import OpenVinoNetwork
from lesion_transfer.models.precision import in_precision
from lesion_transfer.models.views import viewed
from lesion_transfer.protocols import SVM, Augmentation, Training
from lesion_transfer.stages.features import read_features, write_features
from lesion_transfer.training.augment import draw
from lesion_transfer.training.augment_device import augmented, device_feed
from lesion_transfer.training.batches import Examples
from lesion_transfer.training.checkpoint import Checkpoint
from lesion_transfer.training.loop import Trainer
from lesion_transfer.training.predict import outputs, predict

TRAINED = ("small_vgg", "vgg_m")
AUGMENTATION = Augmentation(flip=True, rotation=360, zoom=1.2, contrast=0.1)
PLAIN = Training(
    epochs=2,
    batch_size=8,
    optimizer="sgd",
    learning_rate=0.01,
    momentum=0.9,
    weight_decay=0.01,
    layer_decay=0.7,
)
ALL = PLAIN.model_copy(
    update={
        "probe": True,
        "optimizer": "adamw",
        "dropout": 0.3,
        "ema": 0.9,
        "augmentation": AUGMENTATION,
    }
)
WEIGHED = PLAIN.model_copy(
    update={
        "ema": 0.5,
        "accumulate": 2,
        "balance": "weights",
        "augmentation": Augmentation(mixup=0.4),
    }
)


class KilledError(Exception):
    """Ends a training in its second epoch."""


def killed(epoch: int, metrics: dict[str, float]) -> None:
    if epoch > 1:
        raise KilledError


def fit(
    trainer: Trainer, start: list[np.ndarray], images: np.ndarray, **options: Any
) -> list[np.ndarray]:
    """Train on three quarters of the images; return the history, then all weights."""
    # Classes of one size, but where their weights are to matter.
    labels = np.arange(len(images)) % (3 if trainer.spec.balance == "weights" else 2) % 2
    rows = np.arange(len(images))
    cut = 3 * len(images) // 4
    parts = (Examples(images, part, labels[part]) for part in (rows[:cut], rows[cut:]))
    done = trainer.fit(start, *parts, 3, **options)
    return [done.history.to_numpy(), done.val_probabilities, *trainer.model.get_weights()]


def resumed(trainer: Trainer, start: list[np.ndarray], images: np.ndarray) -> list[np.ndarray]:
    """Train as :func:`fit` does, but killed in the second epoch and begun again."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder, "training.npz"), every_seconds=0)
        with suppress(KilledError):
            fit(trainer, start, images, on_epoch=killed, checkpoint=checkpoint)
        assert checkpoint.load() is not None
        return fit(trainer, start, images, checkpoint=checkpoint)


def equal(fits: list[list[np.ndarray]]) -> np.ndarray:
    return np.array(all(np.array_equal(one, two) for one, two in zip(*fits, strict=True)))


def pytorchs_normalisation() -> np.ndarray:
    """Return the largest difference to PyTorch's own layer, whose alpha is n times ours."""
    import torch

    x = np.random.default_rng(0).normal(0, 100, (2, 4, 3, 20)).astype(np.float32)
    theirs = torch.nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    expected = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    ours = keras.ops.convert_to_numpy(LocalResponseNormalization()(x))
    return np.abs(ours - expected).max() / np.abs(expected).max()


def extracted(network: keras.Model, images: np.ndarray, precision: str) -> np.ndarray:
    """Features as the extraction writes them to a table and reads them again."""
    blocks = outputs(in_precision(network, precision), images, np.arange(len(images)), 16)
    names = [str(row) for row in range(len(images))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "features.parquet")
        write_features(path, names, names, names, blocks)
        return read_features(path)[1]


def changed_on_device(images: np.ndarray) -> np.ndarray:
    """Return the images as an accelerator augments them."""
    count, side = images.shape[:2]
    spec = AUGMENTATION.model_copy(update={"blur": 0.1, "cutout": 0.3, "mixup": 0.4})
    image = keras.Input((side, side, 3))
    model = augmented(keras.Model(image, keras.layers.Identity()(image)), spec)
    feed = device_feed(Examples(images, np.arange(count), np.zeros(count, int)), spec)
    return model.predict_on_batch(
        feed(np.arange(count), draw(count, side, spec, np.random.default_rng(0)))
    )


def normalised() -> keras.Model:
    """Return a small network with the normalisation whose gradient is our own."""
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3)(keras.layers.Rescaling(1 / 64, -2.0)(image))
    x = LocalResponseNormalization(alpha=0.5, n=4)(x)
    network = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    rng = np.random.default_rng(0)
    network.set_weights([rng.normal(0, 0.3, weight.shape) for weight in network.weights])
    return network


def main(folder: Path) -> None:
    found: dict[str, np.ndarray] = {}
    if keras.backend.backend() == "torch":
        found["pytorch's normalisation"] = pytorchs_normalisation()
    for path in sorted(folder.glob("*.keras")):
        images = np.load(path.with_suffix(".npy"))
        network = load_network(path)
        features = extracted(network, images, "float32")
        found[f"features {path.stem}"] = features
        found[f"bfloat16 {path.stem}"] = extracted(network, images, "bfloat16")
        if keras.backend.backend() != "jax":
            compiled = OpenVinoNetwork(network, "float32", 16)
            found[f"openvino {path.stem}"] = predict(compiled, images, np.arange(len(images)), 16)

        labels = np.arange(len(images)) % 3
        head = fit_head(features, labels, ("a", "b", "c"), SVM(C=(1.0,), shuffles=1), seed=0)
        saved = folder / f"fold_model_{path.stem}.{keras.backend.backend()}"
        compose(network, head_model(head)).save(f"{saved}.tmp.keras")
        again = load_network(Path(f"{saved}.tmp.keras"))
        Path(f"{saved}.tmp.keras").unlink()
        ours = keras.ops.convert_to_numpy(again(images.astype(np.float32), training=False))
        gap = np.abs(ours - head.probabilities(features)).max()
        found[f"fold model {path.stem}"] = np.array(gap)

        found[f"augmented {path.stem}"] = np.asarray(changed_on_device(images))

        if path.stem not in TRAINED:
            continue
        start = network.get_weights()
        trainer = Trainer(load_network(path), 2, ALL)
        fits = [fit(trainer, start, images) for _ in range(2)]
        found[f"equal {path.stem}"] = equal(fits)
        found[f"moved {path.stem}"] = np.array(
            any(not np.array_equal(one, two) for one, two in zip(start, fits[0][2:], strict=False))
        )
        found[f"history {path.stem}"] = fits[0][0]
        if path.stem == "small_vgg":
            found["views"] = extracted(viewed(network, 8), images, "float32")
            for precision in ("float32", "bfloat16"):
                spec = WEIGHED.model_copy(update={"precision": precision})
                trainer = Trainer(load_network(path), 2, spec)
                whole = fit(trainer, start, images)
                found[f"weighed {precision}"] = whole[0]
                found[f"resumed {precision}"] = equal([whole, resumed(trainer, start, images)])
            found["plain"] = fit(Trainer(load_network(path), 2, PLAIN), start, images)[0]
            start = normalised().get_weights()
            end = fit(Trainer(normalised(), 2, PLAIN), start, images)
            found["plain normalised"] = end[0]
            found["moved normalised"] = np.abs(end[2] - start[0])
    np.savez(folder / f"{keras.backend.backend()}.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
