"""No source may have seen a picture of the target, whichever way it comes."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import SmallVGG
from lesion_transfer.stages.external import evaluate_or_validate
from lesion_transfer.stages.folds import evaluate
from lesion_transfer.stages.pretrain import pretrain
from lesion_transfer.stages.requests import EvaluateRequest, PretrainRequest
from lesion_transfer.tracking import Kind, Tag


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


def source(world, **values) -> str:
    """Make a source network and return the name by which others can start from it."""
    options = world.options() | {"source_data": "folder"} | values
    del options["folds"]
    return f"runs:/{pretrain(PretrainRequest(**options)).run_id}/network.keras"


@pytest.fixture(scope="module")
def seen(world, target: Path) -> str:
    """A source network that has seen the target."""
    return source(world, source="retinopathy", source_root=str(target))


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
def test_a_stored_network_that_has_seen_the_target_is_refused(
    world, target, other, seen, kind: str
):
    name = seen
    if kind == "fold":
        fold = evaluate(request(world, target, source="none")).folds[0].run_id
        name = f"runs:/{fold}/model/model.keras"
    with pytest.raises(UserError, match="32 of 32 test images"):
        evaluate(request(world, target, source=name, finetune=False))
    with pytest.raises(UserError, match="32 of 32 test images"):
        evaluate(request(world, target, backbone=name, source="imagenet", finetune=False))
    asked = request(world, other, source=name, finetune=False)
    assert evaluate(asked).summary is not None


# --- second hand ----------------------------------------------------------------------------------


def refused(world, target: Path, name: str) -> bool:
    with pytest.raises(UserError, match="32 of 32 test images of folder_target") as told:
        evaluate(request(world, target, source=name, finetune=False))
    return "training images of folder_target" in told.value.problem


@pytest.mark.parametrize("since", ["this version", "an earlier one"])
def test_a_source_that_is_stored_again_has_seen_what_the_first_has(world, target, seen, since: str):
    again = source(world, source=seen)
    assert again != seen
    if since == "an earlier one":
        forget(world, again)
    assert refused(world, target, again)


def forget(world, name: str) -> None:
    """Make a run like those of earlier versions, which do not say what they have seen."""
    world.client.delete_tag(name.split("/")[1], Tag.SEEN)


@pytest.mark.slow
def test_what_the_first_links_have_seen_goes_on_to_the_last(world, target, other, seen, capsys):
    further = source(world, source=f"{seen}+retinopathy", source_root=str(other))
    assert refused(world, target, further)
    backbone = source(world, source="imagenet", backbone=seen)
    assert refused(world, target, backbone)
    forget(world, further)
    assert refused(world, target, further)
    # What an earlier version called imagenet may be any file's weights: that is said, at least.
    forget(world, backbone)
    capsys.readouterr()
    evaluate(request(world, target, source=backbone, finetune=False))
    assert (
        f"what imagenet of run {backbone.split('/')[1]} was trained on" in capsys.readouterr().out
    )


@pytest.mark.slow
def test_a_fold_has_seen_what_its_source_has(world, target, other, seen):
    fold = evaluate(request(world, other, source=seen, finetune=False))
    model = f"runs:/{fold.folds[0].run_id}"
    with pytest.raises(UserError, match="32 of 32 test images of folder_target"):
        evaluate_or_validate(request(world, target, model=model))


def test_elsewhere_and_in_another_experiment_it_is_known_too(world, target, seen, tmp_path: Path):
    elsewhere = world.enter("elsewhere")
    try:
        again = source(elsewhere, source=seen, cache=tmp_path)
        with pytest.raises(UserError, match="32 of 32 test images of folder_target"):
            evaluate(request(elsewhere, target, source=again, cache=tmp_path))
    finally:
        world.enter(world.experiment)


@pytest.mark.slow
def test_what_is_not_known_of_a_source_is_not_known_of_those_made_from_it(
    world, other, tmp_path: Path, capsys
):
    path = tmp_path / "network.keras"
    SmallVGG().build(16, imagenet=False, seed=3).save(path)
    unknown = world.client.create_run(world.client.create_experiment("unknown")).info.run_id
    world.client.log_artifact(unknown, str(path))
    name = f"runs:/{unknown}/network.keras"
    evaluate(request(world, other, source=source(world, source=name), finetune=False))
    assert f"what {name} was trained on is not known" in capsys.readouterr().out
