import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

import lesion_transfer
from lesion_transfer.evaluation.svm import LinearHead, fit_head
from lesion_transfer.models.backbones import SmallVGG
from lesion_transfer.models.fold_model import compose, disagreement, head_model
from lesion_transfer.models.views import viewed
from lesion_transfer.protocols import SVM
from lesion_transfer.training.predict import predict

SIZE = 12
CLASSES = ("benign", "melanoma", "carcinoma")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return SmallVGG().build(SIZE, imagenet=False, seed=0)


@pytest.fixture(scope="module")
def features(network: keras.Model) -> np.ndarray:
    return keras.ops.convert_to_numpy(network(IMAGES.astype(np.float32)))


@pytest.fixture(scope="module", params=[2, 3], ids=["two classes", "three classes"])
def head(request: pytest.FixtureRequest, features: np.ndarray) -> LinearHead:
    labels = np.arange(60) % request.param
    spec = SVM(C=(1.0, 1000.0), shuffles=2)
    return fit_head(features, labels, CLASSES[: request.param], spec, seed=0)


def test_the_head_is_scikit_learns_probabilities(head: LinearHead, features: np.ndarray):
    ours = keras.ops.convert_to_numpy(head_model(head)(features))
    assert ours.shape == (60, len(head.classes))
    assert_allclose(ours, head.probabilities(features), atol=1e-5)


def test_the_svm_layer_is_the_decision(head: LinearHead, features: np.ndarray):
    model = head_model(head)
    svm = keras.Model(model.input, model.get_layer("svm").output)
    decision = head.decision(features).reshape(60, -1)
    assert_allclose(keras.ops.convert_to_numpy(svm(features)), decision, atol=1e-4)
    assert np.ptp(decision) > 0.1


def test_the_fold_model_takes_raw_pictures(
    head: LinearHead, network: keras.Model, features: np.ndarray
):
    model = compose(network, head_model(head))
    ours = keras.ops.convert_to_numpy(model(IMAGES.astype(np.float32)))
    assert_allclose(ours, head.probabilities(features), atol=1e-5)
    assert_allclose(ours.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("shape", [(24, 24), (30, 17), (5, 9)])
def test_pictures_of_another_size_are_resized(
    head: LinearHead, network: keras.Model, shape: tuple[int, int]
):
    model = compose(network, head_model(head))
    images = RNG.integers(0, 256, (3, *shape, 3)).astype(np.float32)
    small = keras.ops.convert_to_numpy(
        keras.ops.image.resize(images, (SIZE, SIZE), interpolation="bilinear", antialias=True)
    )
    expected = head.probabilities(keras.ops.convert_to_numpy(network(small)))
    assert_allclose(keras.ops.convert_to_numpy(model(images)), expected, atol=1e-4)


def test_disagreement_is_the_largest_difference(
    head: LinearHead, network: keras.Model, features: np.ndarray
):
    model = compose(network, head_model(head))
    truth = head.probabilities(features)
    assert disagreement(model, IMAGES, truth) < 1e-5
    wrong = truth.copy()
    wrong[7, 1] += 0.25
    assert disagreement(model, IMAGES, wrong) == pytest.approx(0.25, abs=1e-4)


SOURCE = Path(lesion_transfer.__file__).parents[1]
"""Where an editable installation finds the package."""

ALONE = """
import sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in (repr(f) + str(f.__class__)).lower()]
sys.path = [p for p in sys.path if p.rstrip("/") != sys.argv[2]]
try:
    import lesion_transfer
except ImportError:
    pass
else:
    raise SystemExit(f"the package is still there: {lesion_transfer.__file__}")
import keras, numpy as np
folder = sys.argv[1]
model = keras.models.load_model(folder + "/model.keras", safe_mode=True)
images = np.load(folder + "/images.npy").astype(np.float32)
np.save(folder + "/probabilities.npy", keras.ops.convert_to_numpy(model(images)))
"""


@pytest.mark.parametrize("views", [2, 8])
def test_the_fold_model_looks_at_as_many_views_as_its_head_did(network: keras.Model, views: int):
    features = predict(viewed(network, views), IMAGES, np.arange(60))
    spec = SVM(C=(1.0,), shuffles=1)
    head = fit_head(features, np.arange(60) % 3, CLASSES, spec, seed=0)
    model = compose(network, head_model(head), views)
    assert disagreement(model, IMAGES, head.probabilities(features)) < 1e-5
    assert disagreement(compose(network, head_model(head)), IMAGES, head.probabilities(features))
    assert model.get_layer("network") is network


@pytest.mark.slow
@pytest.mark.parametrize("views", [1, 8])
def test_a_saved_fold_model_needs_keras_alone(network: keras.Model, tmp_path: Path, views: int):
    features = predict(viewed(network, views), IMAGES, np.arange(60))
    spec = SVM(C=(1.0,), shuffles=1)
    head = fit_head(features, np.arange(60) % 3, CLASSES, spec, seed=0)
    compose(network, head_model(head), views).save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", IMAGES)
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(tmp_path), str(SOURCE)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert_allclose(
        np.load(tmp_path / "probabilities.npy"), head.probabilities(features), atol=1e-5
    )
