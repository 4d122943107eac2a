import keras
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from lesion_transfer.models.backbones import SmallVGG
from lesion_transfer.models.precision import in_precision
from lesion_transfer.protocols import Training
from lesion_transfer.training.batches import Examples
from lesion_transfer.training.loop import Trainer


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.float32)


def test_float32_is_the_network_itself():
    network = SmallVGG().build(16, imagenet=False, seed=0)
    assert in_precision(network, "float32") is network


def test_bfloat16_computes_nearly_the_same_with_float32_weights():
    network = SmallVGG().build(16, imagenet=False, seed=0)
    mixed = in_precision(network, "bfloat16")
    assert keras.backend.standardize_dtype(mixed.output.dtype) == "bfloat16"
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    for ours, theirs in zip(mixed.get_weights(), network.get_weights(), strict=True):
        assert_array_equal(ours, theirs)
    reference = keras.ops.convert_to_numpy(network(images()))
    found = keras.ops.convert_to_numpy(keras.ops.cast(mixed(images()), "float32"))
    assert_allclose(found, reference, atol=0.02 * np.abs(reference).max())
    assert not np.array_equal(found, reference)


def test_training_in_bfloat16_leaves_its_weights_in_the_float32_network():
    network = SmallVGG().build(16, imagenet=False, seed=0)
    before = network.get_weights()
    spec = Training(
        epochs=1, batch_size=4, optimizer="sgd", learning_rate=0.01, precision="bfloat16"
    )
    trainer = Trainer(network, 2, spec)
    pixels = images().astype(np.uint8).repeat(4, axis=0)
    part = Examples(pixels, np.arange(8), np.arange(8) % 2)
    rest = Examples(pixels, np.arange(8, 16), np.arange(8) % 2)
    trainer.fit(before, part, rest, seed=0)
    assert any(not np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))
    assert keras.backend.standardize_dtype(network.output.dtype) == "float32"
