import shlex

import pandas as pd
import pytest

from lesion_transfer.reporting.table import results_tables
from lesion_transfer.stages.missing import missing
from lesion_transfer.stages.requests import EvaluateRequest


def table(**changes):
    """A table with four of ten folds of model E."""
    arm = {
        "dataset": "synthetic", "backbone": "small_vgg", "protocol": "demo", "image_size": 32,
        "design": "melanoma_vs_benign", "model": "E", "source": "imagenet", "finetune": True,
        "stand_in": "", "n_folds": 4, "expected_folds": 10, "mean": 0.8, "sd": 0.01,
        "ci_low": 0.7, "ci_high": 0.9, "run_id": "r",
    }  # fmt: skip
    (found,) = results_tables(pd.DataFrame([arm | changes]))
    return found


def options(command):
    """The parameters of a command, and nothing else."""
    words = shlex.split(command)
    assert words[:5] == ["mlflow", "run", ".", "-e", "evaluate"]
    assert set(words[5::2]) == {"-P"}
    return dict(word.split("=", 1) for word in words[6::2])


@pytest.mark.parametrize("protocol", ["demo", "modern", "demo+epochs=3"])
def test_the_commands_are_of_the_arms_that_the_table_lacks(protocol):
    rows = missing(table(protocol=protocol), seed="7").set_index("model")
    assert rows["folds"].to_dict() == {"A": 10, "B": 10, "C": 10, "D": 10, "E": 6, "F": 10}
    for model, command in rows["command"].items():
        request = EvaluateRequest(**options(command))
        assert request.pair.letter == model
        assert request.load_protocol().name == protocol
        assert request.seed == 7
        assert request.load_protocol().backbone.name == "small_vgg"
        assert (request.target, request.design) == ("synthetic", "melanoma_vs_benign")


def test_what_only_the_user_knows_is_left_open():
    found = table(dataset="isic2017", backbone="efficientnet_lite0", protocol="mine")
    given = options(missing(found)["command"].iloc[0])
    assert given["data_root"] == given["input_scaling"] == "…"
    assert given["backbone"] == "…/efficientnet_lite0.keras"
    assert given["protocol"] == "…/mine.yaml"
    given = options(missing(table(backbone="MobileNetV2"))["command"].iloc[0])
    assert given["backbone"] == "MobileNetV2"
    assert not {"input_scaling", "seed"} & set(given)


def test_nothing_is_missing_of_a_complete_table():
    assert missing(table(design="native", model="D", n_folds=10)).empty


def test_folds_that_are_too_old_are_computed_anew():
    assert options(missing(table(), anew=True)["command"].iloc[0])["force"] == "true"
    assert "force" not in options(missing(table())["command"].iloc[0])
