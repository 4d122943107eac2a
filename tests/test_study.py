import json
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lesion_transfer.errors import UserError
from lesion_transfer.study import (
    BENIGN_LESIONS,
    CARCINOMAS,
    LESION_DESIGNS,
    LESION_DIAGNOSES,
    MODELS,
    Arm,
    Design,
    Fold,
    Model,
    Source,
    all_folds,
    digest,
    is_stored,
    parse_folds,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAME = st.from_regex(r"[a-z0-9_]{1,9}", fullmatch=True).filter(lambda name: name != "none")

# --- digests: every key on every server is made of these -----------------------------------------


def test_the_digest_of_a_known_value_never_changes():
    value = digest(1, "fold", Fold.parse("2x1"), Design.NATIVE, {"b": [0.1, None], "a": True})
    assert value == "0f01d3749e571e54bc8c95ae1736e7bdd5943a8d0334d1a1bb43ece3eda62bd3"


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=5), st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, object], order: random.Random):
    shuffled = list(value.items())
    order.shuffle(shuffled)
    assert digest(dict(shuffled)) == digest(value)


@given(JSON, JSON)
def test_digests_are_equal_exactly_where_the_json_is(one: object, other: object):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(one) == digest(other)) is same


def test_how_the_parts_are_divided_matters():
    assert len({digest("ab"), digest("a", "b"), digest(["a", "b"]), digest("a,b")}) == 4


def test_equal_values_made_in_different_ways_have_one_digest():
    made = Model(source=Source(chain=("imagenet", "retinopathy")), finetune=True)
    assert made.digest() == MODELS["F"].digest() == digest(MODELS["F"])
    assert digest(Design.NATIVE) == digest("native")
    assert digest((1, 2)) == digest([1, 2])


def test_another_process_gives_the_same_digest():
    code = "from lesion_transfer.study import *;print(digest({'x': MODELS['B']}, Design.NATIVE))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == digest({"x": MODELS["B"]}, Design.NATIVE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), b"bytes"])
def test_what_has_no_canonical_json_is_refused(value: object):
    with pytest.raises((TypeError, ValueError)):
        digest(value)


# --- designs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("design", "melanoma", "carcinoma", "benign"),
    [
        (Design.MALIGNANT_VS_BENIGN, "malignant", "malignant", "benign"),
        (Design.MELANOMA_VS_BENIGN, "melanoma", None, "benign"),
        (Design.MELANOMA_VS_CARCINOMA_VS_BENIGN, "melanoma", "carcinoma", "benign"),
    ],
)
def test_every_diagnosis_has_its_class(
    design: Design, melanoma: str, carcinoma: str | None, benign: str
):
    assert design.class_of("melanoma") == melanoma
    assert {design.class_of(name) for name in CARCINOMAS} == {carcinoma}
    assert {design.class_of(name) for name in BENIGN_LESIONS} == {benign}


@pytest.mark.parametrize("design", LESION_DESIGNS)
def test_the_classes_are_those_that_diagnoses_are_given(design: Design):
    given_classes = {design.class_of(name) for name in LESION_DIAGNOSES} - {None}
    assert set(design.classes([])) == given_classes
    assert design.classes([])[0] == "benign"


def test_native_keeps_every_label():
    assert Design.NATIVE.class_of("level 3") == "level 3"
    assert Design.NATIVE.classes(["b", "a", "b", "10", "9"]) == ("10", "9", "a", "b")


@pytest.mark.parametrize("design", LESION_DESIGNS)
@pytest.mark.parametrize("diagnosis", ["Melanoma", "melanom", "", "0"])
def test_an_unknown_diagnosis_is_refused_with_the_known_ones(design: Design, diagnosis: str):
    with pytest.raises(UserError) as raised:
        design.class_of(diagnosis)
    assert repr(diagnosis) in raised.value.problem
    assert design.value in raised.value.problem
    assert all(name in raised.value.expected for name in LESION_DIAGNOSES)
    assert "design=native" in raised.value.next_step


# --- sources and models --------------------------------------------------------------------------


@given(st.lists(NAME.filter(lambda name: name != "imagenet"), unique=True, max_size=4))
def test_a_source_survives_its_own_text(links: list[str]):
    for chain in (links, ["imagenet", *links]):
        source = Source(chain=tuple(chain))
        assert Source.parse(str(source)) == source


def test_none_is_the_empty_chain():
    assert Source.parse("none") == Source()
    assert str(Source()) == "none"


def test_the_parent_of_a_chain_lacks_the_last_link():
    assert Source.parse("imagenet+retinopathy").parent == Source.parse("imagenet")
    assert Source.parse("imagenet").parent == Source()


@pytest.mark.parametrize(
    "text",
    [
        *("", "+", "imagenet+", "+imagenet", "none+imagenet", "imagenet+none", "a+a"),
        *("a+imagenet", "a+models:/x@y", "imagenet+runs:/1/net.keras", "models:/x@y+imagenet"),
    ],
)
def test_what_is_no_chain_is_refused(text: str):
    with pytest.raises(UserError, match="is not a chain of sources") as raised:
        Source.parse(text)
    assert "imagenet+retinopathy" in raised.value.expected


@pytest.mark.parametrize(
    "stored", ["models:/net@champion", "models:/net/3", "runs:/0a1b/model/x.keras"]
)
def test_a_stored_network_can_begin_a_chain(stored: str):
    assert Source.parse(stored).chain == (stored,)
    longer = Source.parse(f"{stored}+retinopathy+ham10000")
    assert longer.chain == (stored, "retinopathy", "ham10000")
    assert longer.parent.parent == Source.parse(stored)
    assert is_stored(stored)
    assert not is_stored("imagenet")


def test_the_letters_are_the_papers():
    assert {letter: (str(m.source), m.finetune) for letter, m in MODELS.items()} == {
        "A": ("none", True),
        "B": ("retinopathy", False),
        "C": ("retinopathy", True),
        "D": ("imagenet", False),
        "E": ("imagenet", True),
        "F": ("imagenet+retinopathy", True),
    }
    assert [model.letter for model in MODELS.values()] == list("ABCDEF")


@pytest.mark.parametrize(
    ("source", "finetune", "letter"),
    [
        ("none", False, "none, frozen"),
        ("imagenet+retinopathy", False, "imagenet+retinopathy, frozen"),
        ("ham", True, "ham, fine-tuned"),
    ],
)
def test_other_pairs_are_spelt_out(source: str, finetune: bool, letter: str):
    assert Model(source=Source.parse(source), finetune=finetune).letter == letter


# --- folds ---------------------------------------------------------------------------------------


@given(st.integers(1, 99), st.sampled_from([1, 2]))
def test_a_fold_survives_its_own_text(repeat: int, half: int):
    fold = Fold(repeat=repeat, half=half)
    assert Fold.parse(str(fold)) == fold == Fold.parse(f" {fold} ")


@pytest.mark.parametrize(
    "text", ["", "1", "x", "1x", "x1", "0x1", "1x0", "1x3", "-1x1", "1x1x1", "1.0x1", "1X1", "axb"]
)
def test_what_is_no_fold_is_refused(text: str):
    with pytest.raises(UserError, match="is not a fold") as raised:
        Fold.parse(text)
    assert repr(text) in raised.value.problem
    assert "folds=1x1,1x2" in raised.value.expected


def test_all_folds_are_in_order():
    assert [str(fold) for fold in all_folds(2)] == ["1x1", "1x2", "2x1", "2x2"]
    assert parse_folds("all", 5) == all_folds(5)
    assert len(all_folds(5)) == 10


def test_folds_come_once_and_in_order_however_they_are_listed():
    assert parse_folds("2x1, 1x2,1x1,2x1", 5) == tuple(map(Fold.parse, ("1x1", "1x2", "2x1")))


def test_folds_beyond_the_ninth_repeat_are_in_order():
    assert [str(fold) for fold in parse_folds("10x1,2x1", 10)] == ["2x1", "10x1"]


def test_a_fold_beyond_the_repeats_is_refused():
    with pytest.raises(UserError, match="3x1 is beyond the protocol's 2 repeats"):
        parse_folds("1x1,3x1", 2)


# --- values --------------------------------------------------------------------------------------


def test_values_are_frozen_and_refuse_unknown_keys():
    with pytest.raises(ValidationError, match="frozen"):
        Fold(repeat=1, half=1).repeat = 2  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        Fold(repeat=1, half=1, third=3)  # type: ignore[call-arg]


def test_an_arm_shows_what_a_reader_looks_for():
    arm = Arm(
        dataset="isic",
        design=Design.NATIVE,
        model=MODELS["E"],
        backbone="net",
        protocol="demo",
        image_size=32,
        seed=0,
    )
    assert str(arm) == "native · E · isic · net"
    assert arm.digest() != arm.model_copy(update={"seed": 1}).digest()
