from pathlib import Path

import pytest
from pydantic import ValidationError

from lesion_transfer.stages.compare_request import CompareRequest
from lesion_transfer.stages.requests import (
    ENTRY_POINTS,
    EvaluateRequest,
    ExtractRequest,
    FinetuneRequest,
    PreprocessRequest,
    PretrainRequest,
    StudyRequest,
)
from lesion_transfer.study import LESION_DESIGNS, MODELS, Design


@pytest.mark.parametrize("request_type", ENTRY_POINTS.values(), ids=ENTRY_POINTS)
class TestEveryRequest:
    def test_needs_nothing(self, request_type):
        assert request_type() == request_type()

    def test_describes_every_parameter(self, request_type):
        assert request_type.summary.endswith(".")
        for name, field in request_type.model_fields.items():
            assert field.description, name

    def test_refuses_unknown_keys(self, request_type):
        with pytest.raises(ValidationError, match="Extra inputs"):
            request_type(nonsense=1)

    def test_cannot_be_changed(self, request_type):
        with pytest.raises(ValidationError, match="frozen"):
            request_type().force = True

    def test_empty_strings_are_not_given(self, request_type):
        assert request_type(**dict.fromkeys(request_type.model_fields, "")) == request_type()


def test_the_cache_is_absolute_and_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert CompareRequest().cache == tmp_path / ".cache" / "lesion_transfer"
    assert CompareRequest(cache=Path("here")).cache == tmp_path / "here"


# --- data and protocol ---------------------------------------------------------------------------


def test_an_unknown_target_lists_the_known_ones():
    with pytest.raises(ValidationError, match=r"'isic' is no data set; expected one of .*isic2017"):
        PreprocessRequest(target="isic")


def test_nothing_given_replaces_nothing():
    def given(values):
        return [v for v in values.values() if v is not None and not isinstance(v, dict)] + [
            leaf for value in values.values() if isinstance(value, dict) for leaf in given(value)
        ]

    assert given(FinetuneRequest().overrides()) == []


def test_overrides_are_nested_as_the_protocol_is():
    request = FinetuneRequest(
        image_size=64,
        seed=3,
        backbone="small_vgg",
        feature_layer="f",
        input_scaling="unit",
        epochs=2,
    )
    assert request.overrides() == {
        "preparation": {"size": 64},
        "seed": 3,
        "backbone": {
            "name": "small_vgg",
            "weights": None,
            "feature_layer": "f",
            "input_scaling": "unit",
        },
        "finetune": {"epochs": 2},
    }


def test_epochs_are_those_of_what_the_command_trains():
    one = PretrainRequest(epochs=3).load_protocol()
    other = FinetuneRequest(epochs=3).load_protocol()
    untouched = FinetuneRequest().load_protocol()
    assert (one.pretrain.epochs, one.finetune) == (3, untouched.finetune)
    assert (other.finetune.epochs, other.pretrain) == (3, untouched.pretrain)
    assert one.name == other.name == f"{untouched.name}+epochs=3"


@pytest.mark.parametrize(
    "wrong",
    [{"image_size": 7}, {"image_size": 4096}, {"max_rejected": 1.1}, {"seed": -1}],
    ids=str,
)
def test_out_of_range(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        PreprocessRequest(**wrong)


# --- arms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", MODELS)
def test_source_and_finetune_make_the_model(letter):
    model = MODELS[letter]
    request = EvaluateRequest(source=str(model.source), finetune=model.finetune)
    assert request.pair.letter == letter


@pytest.mark.parametrize("request_type", [PretrainRequest, ExtractRequest])
@pytest.mark.parametrize("source", ["none+imagenet", "retinopathy+imagenet", "a+a", "+"])
def test_a_wrong_chain(request_type, source):
    with pytest.raises(ValidationError, match="is not a chain of sources"):
        request_type(source=source)


# --- the study -----------------------------------------------------------------------------------


def test_the_study_is_every_design_and_model():
    arms = StudyRequest(folds="1x1", seed=5, cache="/c").arms()
    assert [(arm.design, arm.pair.letter) for arm in arms] == [
        (design, letter) for design in LESION_DESIGNS for letter in MODELS
    ]
    assert {(arm.folds, arm.seed, str(arm.cache)) for arm in arms} == {("1x1", 5, "/c")}


def test_a_selection_is_put_in_order():
    request = StudyRequest(designs="native, melanoma_vs_benign", models="F,A,F")
    assert request.designs == "melanoma_vs_benign,native"
    assert request.models == "A,F"
    assert len(request.arms()) == 4
    assert {arm.design for arm in request.arms()} == {Design.NATIVE, Design.MELANOMA_VS_BENIGN}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"models": "A,G"}, "'G' is not one of A, B, C, D, E, F"),
        ({"designs": "melanoma"}, "'melanoma' is not one of malignant_vs_benign"),
    ],
)
def test_an_unknown_selection(wrong, words):
    with pytest.raises(ValidationError, match=words):
        StudyRequest(**wrong)
