from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from networks import run
from numpy.testing import assert_allclose, assert_array_equal

from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import KerasFile, SmallVGG, transfer_weights
from lesion_transfer.models.fold_model import compose

SIZE = 8
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.float32)


def small(seed: int = 0, size: int = SIZE) -> keras.Model:
    return SmallVGG().build(size, imagenet=False, seed=seed)


def classifier(network: keras.Model) -> keras.Model:
    return keras.Model(network.input, layers.Dense(5, name="classes")(network.output))


def head(features: int = 128) -> keras.Model:
    given = keras.Input((features,))
    return keras.Model(given, layers.Dense(2)(layers.UnitNormalization()(given)), name="head")


@pytest.mark.parametrize(
    "around",
    [lambda network: network, classifier, lambda network: compose(network, head())],
    ids=["network", "with a classifier", "fold model"],
)
def test_all_weights_arrive(around, tmp_path: Path):
    source, target = small(1), small(2)
    path = tmp_path / "source.keras"
    around(source).save(path)
    transfer_weights(keras.models.load_model(path), target)
    assert_allclose(run(target, IMAGES), run(source, IMAGES), rtol=1e-5, atol=1e-5)


def test_a_network_inside_another_is_matched_too(tmp_path: Path):
    """A backbone made of a file nests the file's network; both hold batch normalisation."""
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3))
    inner = layers.BatchNormalization()(layers.Conv2D(4, 3)(image))
    keras.Model(image, inner).save(tmp_path / "net.keras")
    backbone = KerasFile(tmp_path / "net.keras", None, "unit")
    source, target = (backbone.build(SIZE, imagenet=False, seed=seed) for seed in (1, 2))
    source.set_weights([w + 0.1 for w in source.get_weights()])
    transfer_weights(source, target)
    assert_allclose(run(target, IMAGES), run(source, IMAGES), rtol=1e-5, atol=1e-5)


def test_what_does_not_fit_is_named_with_both_shapes_and_changes_nothing():
    source, target = small(1, size=16), small(1)
    before = target.get_weights()
    with pytest.raises(UserError, match="layer 'features' do not fit") as raised:
        transfer_weights(source, target)
    assert "kernel (256, 128), bias (128,)" in raised.value.problem
    assert "kernel (64, 128), bias (128,)" in raised.value.problem
    assert "image size" in raised.value.next_step
    for one, other in zip(before, target.get_weights(), strict=True):
        assert_array_equal(one, other)


def test_a_source_that_ends_early_is_refused():
    source, target = small(1), small(2)
    shorter = keras.Model(source.input, source.get_layer("conv2").output)
    with pytest.raises(UserError, match="no weights for layer 'conv3': it ends after 2 layers"):
        transfer_weights(shorter, target)


def test_a_head_alone_is_no_source():
    with pytest.raises(UserError, match=r"layer 'conv1' do not fit: .*\(128, 2\)"):
        transfer_weights(head(), small())


def scaled(*steps: layers.Layer, seed: int = 0) -> keras.Model:
    """A network that begins with these layers."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((SIZE, SIZE, 3))
    pictures = image
    for step in steps:
        pictures = step(pictures)
    return keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(pictures)))


def test_a_source_that_scales_otherwise_is_refused_and_changes_nothing():
    source, target = scaled(layers.Rescaling(1 / 255)), scaled(layers.Rescaling(1 / 99), seed=1)
    before = target.get_weights()
    with pytest.raises(
        UserError, match=r"by x·0\.0039216 \+0, the network by x·0\.010101 \+0"
    ) as e:
        transfer_weights(source, target)
    assert "input_scaling=" in e.value.next_step
    for weight, was in zip(target.get_weights(), before, strict=True):
        assert_array_equal(weight, was)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ([], [layers.Rescaling(1 / 255)]),
        ([layers.Rescaling(1.0, offset=[-9, -8, -7])], [layers.Rescaling([1, 1, 1], [-9, -8, -7])]),
    ],
    ids=["was given scaled pictures", "the same in other words"],
)
def test_a_source_that_need_not_scale_otherwise_is_taken(theirs, ours):
    source, target = scaled(*theirs), scaled(*ours, seed=1)
    transfer_weights(source, target)
    for weight, given in zip(target.get_weights(), source.get_weights(), strict=True):
        assert_array_equal(weight, given)


@pytest.mark.parametrize("frozen", [False, True])
def test_scaling_is_compared_in_order_and_not_behind_the_features(tmp_path: Path, frozen: bool):
    steps = layers.Rescaling(1 / 255), layers.Normalization(), layers.Rescaling([2.1, 2.2, 2.3])
    flat = scaled(*steps)
    flat.save(tmp_path / "net.keras")
    nested = KerasFile(tmp_path / "net.keras", None, "none").build(SIZE, imagenet=False, seed=1)
    logits = layers.Rescaling(0.5)(layers.Dense(2)(flat.output))
    source = keras.Model(flat.input, logits)
    source.trainable = not frozen
    transfer_weights(source, nested)
    assert_allclose(run(nested, IMAGES), run(flat, IMAGES), rtol=1e-5, atol=1e-5)
