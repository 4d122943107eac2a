import io
import json
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from keras import layers
from numpy.testing import assert_allclose

from lesion_transfer import protocols
from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import (
    Application,
    KerasFile,
    SmallVGG,
    is_file,
    load_network,
    resolve_backbone,
)
from lesion_transfer.models.precision import in_precision

SIZE = 12
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.float32)


def run(network: keras.Model, images: np.ndarray = IMAGES) -> np.ndarray:
    return keras.ops.convert_to_numpy(network(images, training=False))


def same_weights(one: keras.Model, other: keras.Model) -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def small_network(units: int = 6) -> keras.Model:
    """A network with a nested block, 4-D and 2-D layers, and batch normalisation."""
    inner_in = keras.Input((SIZE, SIZE, 3))
    inner = keras.Model(
        inner_in, layers.Conv2D(4, 3, padding="same", name="inner_conv")(inner_in), name="block"
    )
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.BatchNormalization(name="norm")(inner(image))
    x = layers.Activation("relu", name="maps")(x)
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    x = layers.Dense(units, name="hidden")(x)
    return keras.Model(image, layers.Dense(2, name="top")(x))


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(99)
    return small_network()


@pytest.fixture(scope="module")
def file(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "my_net.keras"
    model.save(path)
    return path


# --- the small VGG -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 15, 32])
def test_small_vgg_turns_pictures_into_128_features(size: int):
    network = SmallVGG().build(size, imagenet=False, seed=0)
    assert network.output_shape == (None, 128)
    images = np.zeros((2, size, size, 3), np.float32)
    assert run(network, images).shape == (2, 128)
    assert run(network, images).dtype == np.float32


def test_seeds_decide_the_weights():
    one, same, other = (SmallVGG().build(8, imagenet=False, seed=s) for s in (1, 1, 2))
    assert same_weights(one, same)
    assert not same_weights(one, other)


def test_small_vgg_takes_raw_pixels():
    network = SmallVGG().build(8, imagenet=False, seed=0)
    grey = np.full((1, 8, 8, 3), 127.5, np.float32)  # zero after scaling; biases start at zero
    assert_allclose(run(network, grey), 0, atol=1e-5)


def test_small_vgg_has_no_imagenet():
    with pytest.raises(UserError, match="backbone=small_vgg comes with no ImageNet") as raised:
        SmallVGG().build(8, imagenet=True, seed=0)
    assert "weights=" in raised.value.expected
    assert raised.value.next_step


# --- a Keras file --------------------------------------------------------------------------------


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


# --- files that cannot be used -------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: b"this is no model",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-30],
        lambda content: content[len(content) // 2 :],
    ],
    ids=["empty", "text", "first half", "end cut off", "second half"],
)
def test_a_damaged_file_is_refused_by_name(file: Path, tmp_path: Path, spoil):
    path = tmp_path / "damaged.keras"
    path.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(UserError, match=r"damaged\.keras cannot be used") as raised:
        load_network(path)
    assert raised.value.next_step


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@example(place=0.9964202767757971, flip=1)  # the compression method of the last member
def test_a_flipped_byte_is_a_user_error_or_harmless(
    file: Path, model: keras.Model, tmp_path: Path, place: float, flip: int
):
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= flip
    path = tmp_path / "flipped.keras"
    path.write_bytes(content)
    try:
        loaded = load_network(path)
    except UserError as error:
        assert "flipped.keras cannot be used" in error.problem  # noqa: PT017
    else:
        assert same_weights(loaded, model)


def rewritten(file: Path, path: Path, **members: bytes) -> Path:
    """Copy a model file with members replaced, or left out where they are empty."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = members.get(name.partition(".")[0], old.read(name))
            if content:
                new.writestr(name, content)
    return path


@pytest.mark.parametrize("member", ["config", "model"])
def test_a_file_that_lacks_a_member_is_refused(file: Path, tmp_path: Path, member: str):
    path = rewritten(file, tmp_path / "lacking.keras", **{member: b""})
    with pytest.raises(UserError, match=r"lacking\.keras cannot be used"):
        load_network(path)


@pytest.mark.parametrize(
    "config", [b"{", b"[]", b"{}", b'{"module": "os", "class_name": "system"}']
)
def test_a_file_whose_architecture_is_nonsense_is_refused(
    file: Path, tmp_path: Path, config: bytes
):
    path = rewritten(file, tmp_path / "odd.keras", config=config)
    with pytest.raises(UserError, match=r"odd\.keras cannot be used"):
        load_network(path)


def test_weights_that_do_not_fit_are_refused_with_the_layer_and_both_shapes(
    file: Path, tmp_path: Path
):
    other = tmp_path / "other.keras"
    small_network(units=9).save(other)
    with zipfile.ZipFile(other) as archive:
        weights = archive.read("model.weights.h5")
    path = rewritten(file, tmp_path / "misfit.keras", model=weights)
    with pytest.raises(UserError, match=r"misfit\.keras cannot be used") as raised:
        load_network(path)
    for words in ("hidden", "(4, 6)", "(4, 9)"):
        assert words in raised.value.problem
    assert "0." not in raised.value.problem  # Keras adds the weights' values: screens of them


def test_no_weight_is_ever_missing_unnoticed(file: Path, model: keras.Model, tmp_path: Path):
    """Whatever the weights lack, the file is refused, or none of the network's were lacking."""
    with zipfile.ZipFile(file) as archive:
        content = archive.read("model.weights.h5")
    names: list[str] = []
    with h5py.File(io.BytesIO(content)) as weights:
        weights.visit(names.append)
    refused = 0
    for name in names:
        spoilt = io.BytesIO(content)
        with h5py.File(spoilt, "r+") as weights:
            del weights[name]
        path = rewritten(file, tmp_path / "bare.keras", model=spoilt.getvalue())
        try:
            assert same_weights(load_network(path), model), name
        except UserError:
            refused += 1
    assert refused >= len(model.weights)


def test_a_file_cannot_run_code(tmp_path: Path):
    image = keras.Input((SIZE, SIZE, 3))
    path = tmp_path / "lambda.keras"
    keras.Model(image, layers.Lambda(lambda x: x * 2, output_shape=(SIZE, SIZE, 3))(image)).save(
        path
    )
    with pytest.raises(UserError, match=r"lambda\.keras cannot be used.*[Ll]ambda"):
        load_network(path)


def test_a_class_from_anywhere_is_not_imported(file: Path, tmp_path: Path):
    with zipfile.ZipFile(file) as archive:
        config = json.loads(archive.read("config.json"))
    config["config"]["layers"][1] |= {
        "module": "subprocess",
        "class_name": "Popen",
        "registered_name": None,
        "config": {"args": ["touch", str(tmp_path / "witness")]},
    }
    path = rewritten(file, tmp_path / "evil.keras", config=json.dumps(config).encode())
    with pytest.raises(UserError, match=r"evil\.keras cannot be used"):
        load_network(path)
    assert not (tmp_path / "witness").exists()


# --- keras.applications --------------------------------------------------------------------------


def test_an_application_with_random_weights_gives_pooled_features():
    network = Application("MobileNetV3Small", None).build(32, imagenet=False, seed=0)
    assert network.output_shape == (None, 576)
    assert np.isfinite(run(network, np.full((1, 32, 32, 3), 200, np.float32))).all()


def test_an_application_that_does_not_take_the_size_is_refused():
    with pytest.raises(UserError, match="InceptionV3 could not be made at 32 px") as raised:
        Application("InceptionV3", None).build(32, imagenet=False, seed=0)
    assert "image_size=" in raised.value.next_step


FAMILIES = {
    "ConvNeXtTiny": None,
    "EfficientNetV2B0": None,
    "ResNet50V2": None,
    "MobileNetV3Small": None,
    "DenseNet121": None,
    "VGG16": "fc2",
    "VGG19": "fc2",
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layer"), FAMILIES.items())
def test_a_familys_features_are_those_of_its_own_preprocessing(name: str, layer: str | None):
    """Keras' network on Keras' preprocess_input, against ours on raw pixels."""
    images = np.random.default_rng(2).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    ours = Application(name, layer).build(32, imagenet=False, seed=0)
    options = {"include_top": True} if layer else {"include_top": False, "pooling": "avg"}
    theirs = getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3), **options)
    if layer:
        theirs = keras.Model(theirs.input, theirs.get_layer(layer).output)
    theirs.set_weights(ours.get_weights())
    module = sys.modules[getattr(keras.applications, name).__module__]
    expected = run(theirs, module.preprocess_input(images.copy()))
    assert expected.shape == (2, ours.output_shape[1])
    assert np.abs(expected).max() > 0
    assert_allclose(run(ours, images), expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    if layer:
        assert ours.output_shape == (None, 4096)


def test_weights_of_a_file_are_taken_and_decide_the_key(tmp_path: Path):
    keras.utils.set_random_seed(5)
    given = Application("MobileNetV3Small").unscaled(32, None)
    path = tmp_path / "small.weights.h5"
    given.save_weights(path)
    backbone = Application("MobileNetV3Small", None, path)
    assert same_weights(backbone.build(32, imagenet=True, seed=0), given)
    assert not same_weights(backbone.build(32, imagenet=False, seed=0), given)
    assert backbone.identity == Application("MobileNetV3Small").identity
    assert backbone.weights_identity != Application("MobileNetV3Small").weights_identity


def test_weights_of_another_network_are_refused(tmp_path: Path):
    path = tmp_path / "other.weights.h5"
    SmallVGG().build(16, imagenet=False, seed=0).save_weights(path)
    with pytest.raises(UserError, match="MobileNetV3Small could not be made at 32 px") as raised:
        Application("MobileNetV3Small", None, path).build(32, imagenet=True, seed=0)
    assert str(path) in raised.value.expected


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No network, and the empty folder that Keras caches weights in."""
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens: refused at once
    return tmp_path


@pytest.mark.timeout(60)
def test_imagenet_without_a_network_says_which_file_to_put_where(offline: Path):
    with pytest.raises(UserError, match="MobileNetV3Small: its ImageNet weights are not") as raised:
        Application("MobileNetV3Small", None).build(32, imagenet=True, seed=0)
    file = "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"
    assert f"/{file} cannot be reached" in raised.value.problem
    assert raised.value.expected == f"the file {file} in {offline / 'models'}"
    assert "weights=" in raised.value.next_step
    assert "backbone=" in raised.value.next_step


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *FAMILIES,
        "EfficientNetB0",
        "InceptionResNetV2",
        "InceptionV3",
        "MobileNet",
        "MobileNetV2",
        "MobileNetV3Large",
        "NASNetMobile",
        "ResNet50",
        "Xception",
    ],
)
def test_the_file_asked_for_is_the_one_keras_looks_for(
    name: str, offline: Path, monkeypatch: pytest.MonkeyPatch
):
    """What the error calls the file, from its address, is its name in the cache."""
    asked: list[tuple[str, str]] = []

    def get_file(fname: str, origin: str, cache_subdir: str = "", **options: object) -> str:
        assert cache_subdir == "models"
        asked.append((fname, origin))
        raise OSError(f"URL fetch failure on {origin}: None -- refused")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    size = 224 if name.startswith("NASNet") else 96
    with pytest.raises(UserError) as raised:
        Application(name).build(size, imagenet=True, seed=0)
    ((fname, origin),) = asked
    assert raised.value.expected.startswith(f"the file {fname} in ")
    assert f"and {origin} cannot" in raised.value.problem


# --- by name -------------------------------------------------------------------------------------


def test_names_become_backbones(file: Path):
    assert isinstance(resolve_backbone(protocols.Backbone(name="small_vgg")), SmallVGG)
    application = resolve_backbone(protocols.Backbone(name="ResNet50", feature_layer="avg_pool"))
    assert (application.name, application.feature_layer) == ("ResNet50", "avg_pool")
    spec = protocols.Backbone(name=str(file), feature_layer="hidden", input_scaling="unit")
    network = resolve_backbone(spec, file)
    assert (network.name, network.feature_layer, network.scaling) == ("my_net", "hidden", "unit")


@pytest.mark.parametrize(
    "given",
    [
        {"name": "ResNet50", "input_scaling": "unit"},
        {"name": "vgg_m", "input_scaling": "none"},
        {"name": "small_vgg", "feature_layer": "conv3"},
    ],
    ids=str,
)
def test_what_a_backbone_does_not_take_is_refused_and_not_ignored(given: dict[str, str]):
    (parameter,) = given.keys() - {"name"}
    with pytest.raises(UserError, match=f"{parameter}={given[parameter]}"):
        resolve_backbone(protocols.Backbone(**given))


@pytest.mark.parametrize("name", ["vgg_f", "resnet50", "__name__", ""])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str):
    with pytest.raises(UserError, match="no such network, and no such file") as raised:
        resolve_backbone(protocols.Backbone(name=name))
    for known in ("small_vgg", "vgg_m", ".keras", "ResNet50", "EfficientNetV2B0"):
        assert known in raised.value.expected


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"gone\.keras: there is no such file"):
        resolve_backbone(protocols.Backbone(name="x/gone.keras"), tmp_path / "gone.keras")


def test_a_name_that_is_a_module_is_no_network():
    with pytest.raises(UserError, match="no such network"):
        resolve_backbone(protocols.Backbone(name="resnet"))


@pytest.mark.parametrize(
    ("name", "answer"),
    [("a/b", True), ("net.keras", True), ("net.h5", True), ("small_vgg", False), ("VGG16", False)],
)
def test_what_means_a_file(name: str, answer: bool):
    assert is_file(name) is answer


# --- the real thing ------------------------------------------------------------------------------


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
