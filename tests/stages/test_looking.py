"""The figure of where a model looks, in the folds of trained and of frozen networks."""

import numpy as np
import pytest
from PIL import Image

from lesion_transfer.stages import looking
from lesion_transfer.stages.evaluate import read_predictions
from lesion_transfer.stages.folds import evaluate
from lesion_transfer.stages.requests import EvaluateRequest, StudyRequest
from lesion_transfer.tracking import Kind

pytestmark = pytest.mark.slow

SETS = {"source": "none"}, {"source": "retinopathy", "finetune": False}


@pytest.mark.parametrize("model", SETS, ids=["trained", "frozen"])
def test_a_fold_shows_its_surest_right_and_wrong_answers(
    fresh, monkeypatch: pytest.MonkeyPatch, model: dict
):
    drawn = {}

    def keep(ask, images, classes):
        drawn.update(probabilities=ask(images), classes=classes)
        return original(ask, images, classes)

    original = looking.occlusion_maps
    monkeypatch.setattr(looking, "occlusion_maps", keep)
    (fold,) = evaluate(EvaluateRequest(**fresh.options(folds="1x1", looking=5), **model)).folds
    picture = np.asarray(Image.open(fresh.artifact(fold.run_id, "looking.png")).convert("RGB"))
    assert picture.std() > 10

    # What is asked is what was logged: the same pictures, the same probabilities.
    found = read_predictions(fresh.artifact(fold.run_id, "predictions.parquet"))
    right, wrong = found.most_confident(3, right=True), found.most_confident(2, right=False)
    chosen = np.concatenate([right, wrong])
    np.testing.assert_allclose(drawn["probabilities"], found.probabilities[chosen], atol=1e-4)
    np.testing.assert_array_equal(drawn["classes"], found.predicted[chosen])


def test_it_is_drawn_for_real_pictures_unless_it_is_declined(world):
    assert EvaluateRequest(target="isic2017").images_looked_at == 8
    assert EvaluateRequest(target="isic2017", looking=0).images_looked_at == 0
    assert EvaluateRequest().images_looked_at == 0
    for arm in StudyRequest(target="isic2017", looking=4).arms():
        assert arm.images_looked_at == 4


def test_without_it_there_is_no_figure_and_asked_for_later_it_is_said_how_to_get_it(fresh, capsys):
    options = fresh.options(source="none", folds="1x1")
    evaluate(EvaluateRequest(**options))
    (fold,) = fresh.runs(Kind.FOLD)
    logged = {item.path for item in fresh.client.list_artifacts(fold.info.run_id)}
    assert "roc.png" in logged
    assert "looking.png" not in logged
    capsys.readouterr()
    assert evaluate(EvaluateRequest(**options, looking=4)).folds[0].reused
    said = " ".join(capsys.readouterr().out.split())
    assert "1x1: complete already, without the figure of where the model looks; force=true" in said
    evaluate(EvaluateRequest(**options))
    assert "without the figure" not in capsys.readouterr().out
