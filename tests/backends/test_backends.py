"""TensorFlow, JAX and PyTorch give the same networks, trainings and features.

The last two do so without TensorFlow. Each runs probe.py on one set of networks. ``make test``
installs all three; by hand, those that are not there are skipped, except in CI.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from lesion_transfer.models.applications import Application
from lesion_transfer.models.small_vgg import SmallVGG
from lesion_transfer.models.vgg_m import VGGM

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BACKENDS = ("tensorflow", "jax", "torch")
NETWORKS = {
    "small_vgg": (SmallVGG(), 16),
    "vgg_m": (VGGM(units=16), 59),
    "mobilenet": (Application("MobileNetV3Small"), 32),
}
Found = Mapping[str, np.ndarray]


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of networks with random weights and statistics, and images for each."""
    folder = tmp_path_factory.mktemp("backends")
    rng = np.random.default_rng(0)
    for name, (backbone, size) in NETWORKS.items():
        network = backbone.build(size, imagenet=False, seed=0)
        for weight in network.weights:
            if weight.name in ("moving_mean", "bias", "beta"):
                weight.assign(rng.normal(0, 0.1, weight.shape))
            if weight.name == "moving_variance":  # small, or the signal would fade on its way
                weight.assign(rng.uniform(0.05, 0.1, weight.shape))
        network.save(folder / f"{name}.keras")
        # Smooth pictures: of noise, the networks' features would all be alike.
        rough = rng.uniform(0, 255, (24, 4, 4, 3)).astype(np.float32)
        images = keras.ops.image.resize(rough, (size, size), interpolation="bicubic")
        pixels = np.clip(keras.ops.convert_to_numpy(images), 0, 255).astype(np.uint8)
        np.save(folder / f"{name}.npy", pixels)
    return folder


@pytest.fixture(scope="session")
def run(networks: Path) -> Callable[[str], Found]:
    """Run the probe on a backend, once."""

    absent = networks / "absent"
    absent.mkdir()
    (absent / "tensorflow.py").write_text("raise ImportError('as if it were not installed')")

    @cache
    def finished(backend: str) -> subprocess.CompletedProcess[str]:
        environment = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if backend != "tensorflow":
            paths = (str(absent), os.environ.get("PYTHONPATH", ""))
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        return subprocess.run(
            [sys.executable, str(Path(__file__).with_name("probe.py")), str(networks)],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=500,
        )

    def probed(backend: str) -> Found:
        if find_spec(backend) is None and "CI" not in os.environ:
            pytest.skip(f"{backend} is not installed: requirements-backends.txt")
        done = finished(backend)
        assert done.returncode == 0, done.stderr[-3000:]
        with np.load(networks / f"{backend}.npz") as found:
            return dict(found)

    return probed


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fold_model_comes_back_and_agrees_with_scikit_learn(
    run: Callable[[str], Found], backend: str, network: str
):
    assert run(backend)[f"fold model {network}"] < 1e-4


@pytest.mark.parametrize("network", ["small_vgg", "vgg_m"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_two_trainings_of_one_seed_are_equal_bit_for_bit(
    run: Callable[[str], Found], backend: str, network: str
):
    found = run(backend)
    assert found[f"equal {network}"]
    assert found[f"moved {network}"]
    assert np.isfinite(found[f"history {network}"]).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_killed_training_ends_the_same(run: Callable[[str], Found], backend: str, precision: str):
    assert run(backend)[f"resumed {precision}"]


@pytest.mark.parametrize("kind", [*(f"features {network}" for network in NETWORKS), "views"])
@pytest.mark.parametrize(("one", "other"), [("tensorflow", "jax"), ("tensorflow", "torch")])
def test_features_agree(run: Callable[[str], Found], one: str, other: str, kind: str):
    first, second = (run(backend)[kind] for backend in (one, other))
    assert first.std(axis=0).max() > 0.01 * np.abs(first).max()  # pictures differ
    distance = np.linalg.norm(first - second, axis=1) / np.linalg.norm(first, axis=1)
    assert distance.max() < 1e-3
    assert_allclose(first, second, rtol=1e-3, atol=1e-3 * np.abs(first).max(axis=1).min())


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_features_in_bfloat16_are_nearly_those_in_float32(
    run: Callable[[str], Found], backend: str, network: str
):
    exact, fast = (run(backend)[f"{kind} {network}"] for kind in ("features", "bfloat16"))
    distance = np.linalg.norm(exact - fast, axis=1) / np.linalg.norm(exact, axis=1)
    typical, worst = (0.05, 0.1) if network == "mobilenet" else (0.015, 0.025)
    assert 0 < distance.max() < worst
    assert np.median(distance) < typical


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_openvino_computes_the_same(run: Callable[[str], Found], backend: str, network: str):
    ours, theirs = (run(backend)[f"{kind} {network}"] for kind in ("features", "openvino"))
    distance = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(ours, axis=1)
    assert distance.max() < 1e-4


def test_the_response_normalisation_is_pytorchs(run: Callable[[str], Found]):
    assert run("torch")["pytorch's normalisation"] < 2e-5


@pytest.mark.parametrize(("one", "other"), [("tensorflow", "jax"), ("tensorflow", "torch")])
def test_a_training_without_dropout_takes_the_same_course(
    run: Callable[[str], Found], one: str, other: str
):
    for course in ("plain", "plain normalised"):
        assert_allclose(run(one)[course], run(other)[course], rtol=5e-3)
    assert run(one)["moved normalised"].max() > 1e-3


@pytest.mark.parametrize(("precision", "gap"), [("float32", 5e-3), ("bfloat16", 1e-2)])
@pytest.mark.parametrize(("one", "other"), [("tensorflow", "jax"), ("tensorflow", "torch")])
def test_accumulation_class_weights_mixtures_and_averages_take_the_same_course(
    run: Callable[[str], Found], one: str, other: str, precision: str, gap: float
):
    # Without the AUC: two answers that are nearly equal may change places.
    first, second = (run(backend)[f"weighed {precision}"][:, :4] for backend in (one, other))
    assert_allclose(first, second, rtol=gap)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("one", "other"), [("tensorflow", "jax"), ("tensorflow", "torch")])
def test_accelerators_augment_alike(
    run: Callable[[str], Found], one: str, other: str, network: str
):
    first, second = (run(backend)[f"augmented {network}"] for backend in (one, other))
    assert first.std() > 10
    assert_allclose(first, second, atol=0.05)
