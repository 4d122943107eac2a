"""The accelerator's augmentation against OpenCV's, on whatever the backend computes."""

import cv2
import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_checkpoint import KilledError, killed_after
from test_loop import data, network, same, spec

from lesion_transfer.protocols import Augmentation
from lesion_transfer.training import augment_device
from lesion_transfer.training.augment import change, draw
from lesion_transfer.training.augment_device import augmented, device_feed, on_accelerator
from lesion_transfer.training.batches import Examples
from lesion_transfer.training.checkpoint import Checkpoint
from lesion_transfer.training.loop import Trainer

COUNT, SIDE = 24, 64
SPECS = {
    "nothing": Augmentation(),
    "affine": Augmentation(zoom=1.3, rotation=360, shear=30, translation=0.134, flip=True),
    "shift": Augmentation(translation=0.4),
    "blur": Augmentation(blur=0.05),
    "colour": Augmentation(brightness=0.3, contrast=0.4, colour=0.3),
    "cutout": Augmentation(cutout=0.3),
    "mixup": Augmentation(mixup=0.4),
}
SPECS["all"] = Augmentation(
    **{name: value for one in SPECS.values() for name, value in one.model_dump().items() if value}
    | SPECS["affine"].model_dump(include={"zoom", "translation"})
)


@pytest.fixture(scope="module")
def examples() -> Examples:
    """Smooth pictures: on rough ones, a 32nd of a pixel is many grey levels."""
    rough = np.random.default_rng(0).integers(0, 256, (COUNT, 6, 6, 3), dtype=np.uint8)
    images = np.stack(
        [cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for one in rough]
    )
    return Examples(images, np.random.default_rng(1).permutation(COUNT), np.arange(COUNT) % 2)


def on_device(examples: Examples, given: Augmentation, chosen: np.ndarray, seed: int) -> np.ndarray:
    image = keras.Input((SIDE, SIDE, 3))
    model = augmented(keras.Model(image, keras.layers.Identity()(image)), given)
    changes = draw(COUNT, SIDE, given, np.random.default_rng(seed))
    return model.predict_on_batch(device_feed(examples, given)(chosen, changes))


@pytest.mark.parametrize("given", SPECS)
def test_it_is_opencvs_to_a_grey_level_and_a_half(examples: Examples, given: str):
    chosen = np.random.default_rng(2).permutation(COUNT)
    ours = on_device(examples, SPECS[given], chosen, 3)
    changes = draw(COUNT, SIDE, SPECS[given], np.random.default_rng(3))
    theirs = change(examples.images[examples.rows[chosen]], SPECS[given], changes).astype(float)
    assert ours.dtype == np.float32
    difference = np.abs(ours - theirs)
    # A square of cut-out is filled with a mean: OpenCV's side cuts its fraction off.
    assert difference.mean() < 0.6
    assert np.quantile(difference, 0.999) < 3.5
    if given != "nothing":
        untouched = np.abs(examples.images[examples.rows[chosen]] - theirs)
        assert untouched.mean() > 10 * difference.mean()


def test_the_generator_decides(examples: Examples):
    chosen = np.arange(COUNT)
    first = on_device(examples, SPECS["all"], chosen, 1)
    assert_array_equal(first, on_device(examples, SPECS["all"], chosen, 1))
    assert np.abs(first - on_device(examples, SPECS["all"], chosen, 2)).mean() > 5


def test_pictures_too_many_to_keep_there_are_sent(
    examples: Examples, monkeypatch: pytest.MonkeyPatch
):
    chosen = np.random.default_rng(2).permutation(COUNT)
    kept = on_device(examples, SPECS["all"], chosen, 1)
    read: list[int] = []

    class Watched(np.ndarray):
        """Pictures that tell how many of them are read at a time."""

        def __getitem__(self, key):
            read.append(len(key))
            return np.asarray(self)[key]

    watched = Examples(examples.images.view(Watched), examples.rows, examples.labels)
    monkeypatch.setattr(augment_device, "RESIDENT_BYTES", examples.images.nbytes - 1)
    assert_array_equal(on_device(watched, SPECS["all"], chosen, 1), kept)
    assert read == [COUNT]  # by the batch, and not before
    assert_array_equal(on_device(examples, SPECS["all"], chosen, 1), kept)


def test_a_processor_is_no_accelerator():
    assert not on_accelerator()  # these tests run without one


# --- in training ---------------------------------------------------------------------------------

STRONG = Augmentation(flip=True, brightness=0.05, rotation=20, mixup=0.2, cutout=0.2, blur=0.1)


def trainer(**options) -> Trainer:
    return Trainer(network(), 2, spec(augmentation=STRONG, **options), device=True)


def test_training_learns_and_is_equal_bit_for_bit():
    fits, weights = [], []
    for _ in range(2):
        made = trainer(epochs=8)
        fits.append(made.fit(network().get_weights(), *data(), 3))
        weights.append(made.model.get_weights())
    assert fits[0].history["val_auc"].max() > 0.9
    assert fits[0].history.equals(fits[1].history)
    assert same(*weights)


def test_without_augmentation_it_is_the_processors_training():
    histories = [
        Trainer(network(), 2, spec(augmentation=Augmentation()), device=device)
        .fit(network().get_weights(), *data(), 3)
        .history
        for device in (True, False)
    ]
    assert_allclose(*histories, rtol=1e-5)


def test_a_killed_training_ends_the_same(tmp_path):
    start, path = network().get_weights(), tmp_path / "training.npz"
    expected = trainer().fit(start, *data(), 3)
    with pytest.raises(KilledError):
        trainer().fit(start, *data(), 3, killed_after(2), Checkpoint(path, every_seconds=0))
    done = trainer().fit(start, *data(), 3, checkpoint=Checkpoint(path, every_seconds=0))
    assert done.history.equals(expected.history)
