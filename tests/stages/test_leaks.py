"""No source may have seen a picture of the target, whichever way it comes."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lesion_transfer.errors import UserError
from lesion_transfer.stages.folds import evaluate
from lesion_transfer.stages.pretrain import pretrain
from lesion_transfer.stages.requests import EvaluateRequest, PretrainRequest
from lesion_transfer.tracking import Kind


def photos(folder: Path, seed: int, count: int = 16) -> Path:
    rng = np.random.default_rng(seed)
    for name in ("melanoma", "nevus"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            rough = rng.integers(0, 256, (6, 6, 3), np.uint8)
            picture = cv2.resize(rough, (48, 48), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / name / f"{folder.name}{number}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("data") / "target", 1)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("data") / "other", 2)


def request(world, target: Path, **values) -> EvaluateRequest:
    shared = {"target": "folder", "data_root": str(target), "source_data": "folder"}
    return EvaluateRequest(**world.options(folds="1x1") | shared | values)


def test_a_source_trained_on_the_target_is_refused_before_it_is_trained(world, target: Path):
    with pytest.raises(UserError, match="32 of 32 test images") as told:
        evaluate(request(world, target, source="retinopathy", source_root=str(target)))
    assert "another source" in told.value.next_step
    assert not world.runs(Kind.SOURCE, complete=False)


def test_one_shared_picture_is_enough_and_is_named(world, target: Path, tmp_path: Path):
    shared = photos(tmp_path / "shared", 3)
    taken = (target / "nevus" / "target3.png").read_bytes()
    (shared / "nevus" / "from_elsewhere.png").write_bytes(taken)
    with pytest.raises(UserError, match="1 of 32 test images") as told:
        evaluate(request(world, target, source="retinopathy", source_root=str(shared)))
    assert "target3" in told.value.problem
    assert "from_elsewhere" in told.value.problem


@pytest.mark.slow
def test_a_source_trained_on_other_pictures_is_taken(world, target: Path, other: Path):
    asked = request(world, target, source="retinopathy", source_root=str(other), finetune=False)
    assert evaluate(asked).summary is not None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fold", "source"])
def test_a_stored_network_that_has_seen_the_target_is_refused(world, target, other, kind: str):
    if kind == "fold":
        seen = evaluate(request(world, target, source="none")).folds[0].run_id
        name = f"runs:/{seen}/model/model.keras"
    else:
        options = {key: value for key, value in world.options().items() if key != "folds"}
        asked = {"source": "retinopathy", "source_data": "folder", "source_root": str(target)}
        name = f"runs:/{pretrain(PretrainRequest(**options, **asked)).run_id}/network.keras"
    with pytest.raises(UserError, match="32 of 32 test images"):
        evaluate(request(world, target, source=name, finetune=False))
    with pytest.raises(UserError, match="32 of 32 test images"):
        evaluate(request(world, target, backbone=name, source="imagenet", finetune=False))
    asked = request(world, other, source=name, finetune=False)
    assert evaluate(asked).summary is not None
