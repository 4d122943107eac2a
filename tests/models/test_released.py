"""The released MatConvNet files, proved against what their layers compute in plain NumPy."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.io
from matlab import conv, forward, normalize, pool, relu, very_deep, vgg_m, write
from numpy.testing import assert_allclose, assert_array_equal

from lesion_transfer import protocols
from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import VGGM, VeryDeep, resolve_backbone
from lesion_transfer.models.matconvnet import read_matconvnet
from lesion_transfer.models.released import load_released

SIZE, MAP, UNITS = 107, 2, 16  # a VGG-M that NumPy goes through in a second
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.float32)
MEAN = RNG.uniform(80, 160, (SIZE, SIZE, 3)).astype(np.float32)
LAYERS = vgg_m(MAP, UNITS)


def outputs(network: keras.Model, images: np.ndarray, *names: str) -> dict[str, np.ndarray]:
    """What the named layers of a network give; NumPy's (batch, 1, 1, units) as (batch, units)."""
    model = keras.Model(network.input, [network.get_layer(name).output for name in names])
    found = model(images, training=False)
    return {
        name: keras.ops.convert_to_numpy(x)
        for name, x in zip(names, found if len(names) > 1 else [found], strict=True)
    }


@pytest.fixture(scope="module", params=["2015 and later", "older"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("released") / "imagenet-vgg-m.mat"
    return write(path, LAYERS, MEAN, old=request.param == "older")


@pytest.fixture(scope="module")
def network(file: Path) -> keras.Model:
    return VGGM(weights=file, units=UNITS).build(SIZE, imagenet=True, seed=0)


# --- VGG-M ---------------------------------------------------------------------------------------


def test_every_layer_computes_what_the_files_does(network: keras.Model):
    expected = forward(LAYERS, IMAGES - MEAN)
    pairs = {f"conv{i}": f"relu{i}" for i in range(1, 6)} | {
        "norm1": "norm1",
        "norm2": "norm2",
        "pool1": "pool1",
        "pool2": "pool2",
        "pool5": "pool5",
        "fc6": "relu6",
        "fc7": "relu7",
    }
    for name, result in outputs(network, IMAGES, *pairs).items():
        truth = expected[pairs[name]]
        scale = np.abs(truth).max()
        assert scale > 0.1, name
        assert_allclose(result, truth.reshape(result.shape), atol=2e-5 * scale, err_msg=name)


def test_the_features_are_those_of_layer_19(network: keras.Model):
    assert LAYERS[18]["name"] == "relu7"
    features = keras.ops.convert_to_numpy(network(IMAGES, training=False))
    assert_array_equal(features, outputs(network, IMAGES, "fc7")["fc7"])
    assert features.min() == 0  # rectified


def test_weights_and_mean_are_the_files_to_the_bit(network: keras.Model):
    for layer in LAYERS:
        if layer["type"] == "conv" and layer["name"] != "fc8":
            kernel, bias = network.get_layer(layer["name"]).get_weights()
            assert_array_equal(kernel, layer["weights"][0].reshape(kernel.shape))
            assert_array_equal(bias, layer["weights"][1])
    assert_array_equal(network.get_layer("mean").get_weights()[0], MEAN)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1), (1, 1, 3)])
def test_a_mean_colour_goes_to_every_pixel(tmp_path: Path, shape: tuple[int, ...]):
    colour = np.array([123.68, 116.779, 103.939]).reshape(shape)
    path = write(tmp_path / "colour.mat", LAYERS, colour)
    network = VGGM("norm1", path, UNITS).build(SIZE, imagenet=True, seed=0)
    mean = network.get_layer("mean").get_weights()[0]
    assert_allclose(mean, np.broadcast_to(colour.ravel(), (SIZE, SIZE, 3)), rtol=1e-6)


def test_what_a_file_leaves_out_is_matconvnets_default(tmp_path: Path):
    layers = [
        {k: v for k, v in layer.items() if not (layer["type"] in ("conv", "pool") and k == "pad")}
        for layer in [conv("conv1", (7, 7, 3, 4), 2), relu("relu1"), pool("pool1")]
    ]
    (one, two) = read_matconvnet(write(tmp_path / "short.mat", layers, MEAN)).layers
    assert one.pad == two.pad == (0, 0, 0, 0)
    assert (one.rectified, two.rectified) == (True, False)


def test_a_whole_network_may_be_one_variable(tmp_path: Path):
    path = write(tmp_path / "plain.mat", LAYERS, MEAN)
    content = scipy.io.loadmat(path)
    net = {"layers": content["layers"], "meta": content["meta"]}
    scipy.io.savemat(tmp_path / "net.mat", {"net": net})
    wrapped, plain = read_matconvnet(tmp_path / "net.mat"), read_matconvnet(path)
    assert [layer.name for layer in wrapped.layers] == [layer.name for layer in plain.layers]
    assert_array_equal(wrapped.mean, plain.mean)


def test_a_saved_network_comes_back(tmp_path: Path, network: keras.Model):
    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras", compile=False, safe_mode=True)
    assert_array_equal(
        keras.ops.convert_to_numpy(again(IMAGES, training=False)),
        keras.ops.convert_to_numpy(network(IMAGES, training=False)),
    )


# --- VGG16 and VGG19 -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "blocks"), [("VGG16", (2, 2, 3, 3, 3)), ("VGG19", (2, 2, 4, 4, 4))]
)
def test_the_very_deep_ones(tmp_path: Path, name: str, blocks: tuple[int, ...]):
    size = 32
    layers = very_deep(blocks, map_side=1)
    path = write(tmp_path / "imagenet-vgg-verydeep.mat", layers, np.array([[[124.0, 117, 104]]]))
    images = IMAGES[:, :size, :size]
    network = VeryDeep(name, "fc2", path).build(size, imagenet=True, seed=0)
    expected = forward(layers, images - [124, 117, 104])["relu7"].reshape(2, 4096)
    features = keras.ops.convert_to_numpy(network(images, training=False))
    assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())


def test_without_imagenet_the_very_deep_ones_are_random(tmp_path: Path):
    path = write(tmp_path / "imagenet-vgg-verydeep.mat", [], np.array([124.0, 117, 104]))
    backbone = VeryDeep("VGG16", None, path)
    network = backbone.build(32, imagenet=False, seed=0)
    assert network.output_shape == (None, 512)
    assert "matconvnet" in backbone.identity


# --- files that do not fit -----------------------------------------------------------------------


def changed(name: str, **values) -> list[dict]:
    return [{**layer, **values} if layer["name"] == name else layer for layer in LAYERS]


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        (
            changed("fc7", weights=conv("fc7", (1, 1, UNITS, 8))["weights"]),
            r"'fc7'.*filters \(1, 1, 16, 8\), not \(1, 1, 16, 16\)",
        ),
        (
            changed("fc6", weights=conv("fc6", (6, 6, 512, UNITS))["weights"]),
            r"'fc6'.*filters \(6, 6, 512, 16\), not \(2, 2, 512, 16\)",
        ),
        (
            changed("conv2", weights=conv("conv2", (5, 5, 48, 256))["weights"]),
            r"'conv2'.*filters \(5, 5, 48, 256\), not \(5, 5, 96, 256\)",
        ),
        (
            changed("conv3", weights=[LAYERS[8]["weights"][0], np.zeros(7, np.float32)]),
            r"'conv3'.*biases \(7,\), not \(512,\)",
        ),
        (changed("conv1", stride=[4, 4]), r"'conv1'.*stride \(4, 4\), not \(2, 2\)"),
        (changed("conv2", pad=[2] * 4), r"'conv2'.*padding above and left \(2, 2\), not \(1, 1\)"),
        (changed("pool2", pad=[0] * 4), r"'pool2'.*output size \(5, 5\), not \(6, 6\)"),
        (changed("pool1", pool=[2, 2]), r"'pool1'.*window \(2, 2\), not \(3, 3\)"),
        (
            changed("norm1", param=[5, 1, 2e-5, 0.75]),
            r"'norm1'.*n, k, alpha, beta \(5.0, 1.0, 2e-05, 0.75\), not \(5, 2.0, 0.0001, 0.75\)",
        ),
        ([layer for layer in LAYERS if layer["name"] != "relu6"], "'fc6'.*rectifier False, not"),
        ([layer for layer in LAYERS if layer["name"] != "norm2"], "'pool2'.*kind pool, not norm"),
        (LAYERS[:14], "it ends before our layer 'pool5'"),
    ],
    ids=[
        "fc7",
        "fc6",
        "conv2",
        "bias",
        "stride",
        "pad",
        "ceil",
        "pool",
        "lrn",
        "relu",
        "norm",
        "end",
    ],
)
def test_a_layer_that_does_not_fit_is_named_with_both_sides(tmp_path: Path, layers, says: str):
    path = write(tmp_path / "other.mat", layers, MEAN)
    with pytest.raises(UserError, match=says) as raised:
        VGGM(weights=path, units=UNITS).build(SIZE, imagenet=True, seed=0)
    assert f"weights={path}" in raised.value.problem
    assert "image_size=224" in raised.value.next_step


def test_padding_that_no_window_reaches_does_not_matter(tmp_path: Path):
    """Caffe's rounding left such padding in released files."""
    path = write(tmp_path / "padded.mat", changed("pool1", pad=[0, 1, 0, 1]), MEAN)
    VGGM("norm2", path, UNITS).build(SIZE, imagenet=True, seed=0)


def test_a_mean_image_of_another_size_is_refused(tmp_path: Path):
    path = write(tmp_path / "mean.mat", LAYERS, np.zeros((224, 224, 3)))
    with pytest.raises(UserError, match=r"averageImage has shape \(224, 224, 3\), our images"):
        VGGM(weights=path, units=UNITS).build(SIZE, imagenet=True, seed=0)


def test_a_layer_that_is_no_part_of_a_chain_is_a_mistake_of_ours(file: Path):
    with pytest.raises(TypeError, match="no part of a chain"):
        load_released(read_matconvnet(file), [keras.layers.BatchNormalization()])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content.pop("layers"), "not laid out as a SimpleNN"),
        (lambda content: content.pop("meta"), "averageImage"),
        (lambda content: content["meta"]["normalization"].pop("averageImage"), "averageImage"),
        (
            lambda content: content["meta"]["normalization"].update(averageImage=np.ones((4, 4))),
            r"averageImage has shape \(4, 4\)",
        ),
        (
            lambda content: content["layers"][0, 0].update(type="bnorm"),
            "'conv1' is of type 'bnorm'",
        ),
        (lambda content: content["layers"][0, 0].pop("weights"), "'conv1' has no weights"),
        (lambda content: content["layers"][0, 3].update(method="avg"), "'pool1' pools by another"),
        (lambda content: content.update(layers=np.zeros(3)), "not laid out"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, change, says: str):
    layers = [conv("conv1", (3, 3, 3, 4)), relu("relu1"), normalize("norm1"), pool("pool1")]
    path = write(tmp_path / "odd.mat", layers, MEAN, change=change)
    with pytest.raises(UserError, match=r"odd\.mat cannot be used: .*") as raised:
        read_matconvnet(path)
    assert raised.match(says)
    assert "https://www.vlfeat.org/matconvnet/models/" in raised.value.next_step


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_a_damaged_file_is_refused(tmp_path: Path, file: Path, kept: float):
    content = file.read_bytes()
    path = tmp_path / "cut.mat"
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(UserError, match=r"cut\.mat cannot be used"):
        read_matconvnet(path)


def test_flipped_bits_in_a_compressed_file_are_refused_or_harmless(tmp_path: Path):
    layers = [conv("conv1", (3, 3, 3, 4)), relu("relu1")]
    plain = write(tmp_path / "plain.mat", layers, MEAN[:8, :8])
    content = {k: v for k, v in scipy.io.loadmat(plain).items() if not k.startswith("__")}
    good, bad = tmp_path / "good.mat", tmp_path / "bad.mat"
    scipy.io.savemat(good, content, do_compression=True)
    truth = read_matconvnet(good)
    for place in range(200, good.stat().st_size, 97):
        spoilt = bytearray(good.read_bytes())
        spoilt[place] ^= 16
        bad.write_bytes(spoilt)
        try:
            network = read_matconvnet(bad)
        except UserError as error:
            assert "bad.mat cannot be used" in error.problem  # noqa: PT017
        else:
            assert_array_equal(network.mean, truth.mean)
            assert_array_equal(network.layers[0].filters, truth.layers[0].filters)


def test_a_newer_matlab_file_is_refused_with_the_reason(tmp_path: Path):
    path = tmp_path / "new.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    with pytest.raises(UserError, match=r"MATLAB 7\.3"):
        read_matconvnet(path)


# --- as backbones --------------------------------------------------------------------------------


def test_without_a_file_the_error_says_which_and_from_where():
    backbone = resolve_backbone(protocols.Backbone(name="vgg_m"))
    assert not backbone.has_imagenet
    with pytest.raises(
        UserError, match="backbone=vgg_m has its ImageNet weights in a file"
    ) as told:
        backbone.build(SIZE, imagenet=True, seed=0)
    assert "imagenet-vgg-m.mat" in told.value.expected
    assert "https://www.vlfeat.org/matconvnet/models/imagenet-vgg-m.mat" in told.value.next_step
    assert "weights=" in told.value.next_step


def test_the_file_decides_the_key_of_imagenet_alone(tmp_path: Path):
    paths = [
        write(tmp_path / f"{number}.mat", LAYERS[:2], mean)
        for number, mean in enumerate((MEAN, MEAN + 1))
    ]
    backbones = [VGGM(), *(VGGM(weights=path) for path in paths)]
    assert len({backbone.identity for backbone in backbones}) == 1
    assert len({backbone.weights_identity for backbone in backbones}) == 3
    assert len({VGGM(layer).identity for layer in (None, "fc7", "fc6")}) == 2


def test_a_weights_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"weights=.*gone\.mat: there is no such file"):
        VGGM(weights=tmp_path / "gone.mat")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_weights_file_that_may_not_be_read_is_named(tmp_path: Path):
    path = write(tmp_path / "locked.mat", LAYERS[:2], MEAN)
    path.chmod(0)
    with pytest.raises(UserError, match=r"weights=.*locked\.mat cannot be read"):
        VGGM(weights=path)


@pytest.mark.parametrize("name", ["small_vgg", "ResNet50V2", "x.keras"])
def test_weights_of_another_backbone_are_refused(tmp_path: Path, name: str):
    path = write(tmp_path / "w.mat", LAYERS[:2], MEAN)
    with pytest.raises(UserError, match=f"are none that backbone={name} takes"):
        resolve_backbone(
            protocols.Backbone(name=name), Path(name) if name == "x.keras" else None, path
        )
