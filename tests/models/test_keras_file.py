from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from networks import IMAGES, SIZE, run, same_weights, small_network
from numpy.testing import assert_allclose

from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import KerasFile, load_network
from lesion_transfer.models.precision import in_precision


def test_imagenet_keeps_the_files_weights(file: Path, model: keras.Model):
    for seed in (0, 1):
        network = KerasFile(file, None, None).build(SIZE, imagenet=True, seed=seed)
        assert same_weights(network, model)
        assert_allclose(run(network), run(model), atol=1e-5)


def test_without_imagenet_the_weights_are_new_and_the_seeds(file: Path, model: keras.Model):
    backbone = KerasFile(file, None, None)
    one, same, other = (backbone.build(SIZE, imagenet=False, seed=s) for s in (1, 1, 2))
    assert same_weights(one, same)
    for network in (one, other):
        kernels = [w for w in network.get_weights() if w.ndim > 1]
        theirs = [w for w in model.get_weights() if w.ndim > 1]
        assert len(kernels) == 3
        assert not any(np.array_equal(a, b) for a, b in zip(kernels, theirs, strict=True))
    assert not any(
        np.array_equal(a, b)
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True)
        if a.ndim > 1
    )


def test_a_feature_layer_is_chosen_by_name(file: Path, model: keras.Model):
    network = KerasFile(file, "hidden", None).build(SIZE, imagenet=True, seed=0)
    expected = keras.Model(model.input, model.get_layer("hidden").output)
    assert network.output_shape == (None, 6)
    assert_allclose(run(network), run(expected), atol=1e-5)


def test_a_map_is_averaged_over_its_pixels(file: Path, model: keras.Model):
    network = KerasFile(file, "maps", None).build(SIZE, imagenet=True, seed=0)
    maps = keras.Model(model.input, model.get_layer("maps").output)
    assert_allclose(run(network), run(maps).mean(axis=(1, 2)), rtol=1e-5)


def test_an_unknown_feature_layer_is_refused_with_the_last_ones(file: Path):
    with pytest.raises(UserError, match="feature_layer='fc7': the network has no such") as raised:
        KerasFile(file, "fc7", None).build(SIZE, imagenet=True, seed=0)
    for name in ("block", "norm", "maps", "pooled", "hidden", "top"):
        assert name in raised.value.expected


def test_another_image_size_is_refused(file: Path):
    with pytest.raises(UserError, match=r"my_net\.keras takes inputs of shape") as raised:
        KerasFile(file, None, None).build(16, imagenet=True, seed=0)
    assert str((None, SIZE, SIZE, 3)) in raised.value.problem
    assert "(batch, 16, 16, 3)" in raised.value.expected
    assert "image_size=" in raised.value.next_step


def test_a_network_of_any_size_takes_any_size(tmp_path: Path):
    image = keras.Input((None, None, 3))
    keras.Model(image, layers.Conv2D(2, 3)(image)).save(tmp_path / "any.keras")
    for size in (8, 13):
        network = KerasFile(tmp_path / "any.keras", None, None).build(size, imagenet=True, seed=0)
        assert all(None not in layer.output.shape[1:] for layer in network._flatten_layers(False))
        assert network.input_shape == (None, size, size, 3)


def test_a_copy_for_one_size_normalises_as_the_file_does(tmp_path: Path):
    image = keras.Input((None, None, 3))
    norm = layers.Normalization()
    norm.adapt(IMAGES)
    network = keras.Model([image], layers.GlobalAveragePooling2D()(norm(image)))
    network.save(tmp_path / "any.keras")
    ours = KerasFile(tmp_path / "any.keras", None, None).build(SIZE, imagenet=True, seed=0)
    expected = run(network)
    assert np.abs(expected).max() > 0
    assert_allclose(run(ours), expected, atol=1e-5)
    assert_allclose(run(in_precision(ours, "bfloat16")), expected, atol=0.05)


@pytest.mark.parametrize("kind", ["flat", "two inputs", "grey"])
def test_a_network_of_something_else_is_refused(tmp_path: Path, kind: str):
    flat, grey = keras.Input((4,)), keras.Input((SIZE, SIZE, 1))
    image = keras.Input((SIZE, SIZE, 3))
    network = {
        "flat": lambda: keras.Model(flat, layers.Dense(2)(flat)),
        "two inputs": lambda: keras.Model([image, grey], layers.Concatenate()([image, grey])),
        "grey": lambda: keras.Model(grey, layers.Conv2D(2, 3)(grey)),
    }[kind]()
    path = tmp_path / "other.keras"
    network.save(path)
    with pytest.raises(UserError, match="takes inputs of shape"):
        KerasFile(path, None, None).build(SIZE, imagenet=True, seed=0)


def test_features_of_three_axes_are_refused(tmp_path: Path):
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.Reshape((SIZE * SIZE, 3), name="tokens")(image)
    keras.Model(image, x).save(tmp_path / "tokens.keras")
    with pytest.raises(UserError, match="the feature layer's output has shape") as raised:
        KerasFile(tmp_path / "tokens.keras", None, None).build(SIZE, imagenet=True, seed=0)
    assert "feature_layer=" in raised.value.next_step


@pytest.mark.parametrize("outputs", [list, lambda each: dict(zip("ab", each, strict=True))])
def test_a_network_of_several_outputs_needs_a_feature_layer(tmp_path: Path, outputs):
    image = keras.Input((SIZE, SIZE, 3))
    each = [layers.Conv2D(n, 3, name=f"maps{n}")(image) for n in (2, 5)]
    keras.Model(image, outputs(each)).save(tmp_path / "two.keras")
    with pytest.raises(UserError, match="backbone=two: the network has 2 outputs") as raised:
        KerasFile(tmp_path / "two.keras", None, None).build(SIZE, imagenet=True, seed=0)
    assert "feature_layer=" in raised.value.next_step
    network = KerasFile(tmp_path / "two.keras", "maps5", None).build(SIZE, imagenet=True, seed=0)
    assert network.output_shape == (None, 5)
    keras.Model(image, outputs(each)[:1] if outputs is list else {"a": each[1]}).save(
        tmp_path / "one.keras"
    )
    network = KerasFile(tmp_path / "one.keras", None, None).build(SIZE, imagenet=True, seed=0)
    assert network.output_shape == (None, 2 if outputs is list else 5)


def test_a_file_of_a_mixed_training_computes_in_float32(
    file: Path, model: keras.Model, tmp_path: Path
):
    in_precision(model, "bfloat16").save(tmp_path / "mixed.keras")
    network = KerasFile(tmp_path / "mixed.keras", None, None).build(SIZE, imagenet=True, seed=0)
    assert same_weights(network, model)
    assert_allclose(run(network), run(model), atol=1e-5)


def test_the_scaling_asked_for_is_applied(file: Path, model: keras.Model):
    network = KerasFile(file, None, "unit").build(SIZE, imagenet=True, seed=0)
    assert_allclose(run(network), run(model, IMAGES / 255), atol=1e-5)


def test_all_that_decides_the_network_is_its_identity(file: Path, tmp_path: Path):
    other = tmp_path / "other.keras"
    small_network().save(other)
    made = [
        KerasFile(file, None, None),
        KerasFile(file, "hidden", None),
        KerasFile(file, None, "unit"),
        KerasFile(other, None, None),
    ]
    assert len({backbone.identity for backbone in made}) == 4
    copy = tmp_path / "copy.keras"
    copy.write_bytes(file.read_bytes())
    assert KerasFile(copy, None, None).identity == made[0].identity


@pytest.mark.slow
def test_efficientnet_lite0_scales_as_it_was_trained(shared: Path):
    path = shared / "weights" / "efficientnet_lite0_imagenet.keras"
    raw = load_network(path)
    size = raw.input_shape[1] or 64
    network = KerasFile(path, None, "symmetric").build(size, imagenet=True, seed=0)
    images = np.random.default_rng(1).integers(0, 256, (2, size, size, 3)).astype(np.float32)
    features = run(network, images)
    assert features.shape == (2, 1280)
    assert_allclose(features, run(raw, images / 127.5 - 1), rtol=1e-4, atol=1e-4)
    assert np.abs(features - run(raw, images)).max() > 0.1
