import pytest

from lesion_transfer.errors import TrainingDivergedError
from lesion_transfer.stages.folds import evaluate
from lesion_transfer.stages.requests import EvaluateRequest
from lesion_transfer.tracking import Kind, Tag


@pytest.mark.slow
def test_a_fold_whose_loss_is_no_number_stops_and_its_run_says_why(world):
    fresh = world.enter("diverged")
    wild = fresh.protocol("wild", lambda text: text.replace("0.002", "1e+30"))
    with pytest.raises(TrainingDivergedError):
        evaluate(EvaluateRequest(**fresh.options(source="none", folds="1x1", protocol=wild)))
    (fold,) = fresh.runs(Kind.FOLD, complete=False)
    assert fold.info.status == "FAILED"
    assert "the training loss became nan in epoch 1, step" in fold.data.tags[Tag.ERROR]
    assert not fresh.runs(Kind.FOLD)
