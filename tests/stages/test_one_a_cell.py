import pytest

from lesion_transfer.errors import UserError
from lesion_transfer.reporting.table import results_tables
from lesion_transfer.stages.arms import FoldScore, StoredArm
from lesion_transfer.stages.compare import arm_frame, without_reference
from lesion_transfer.stages.one_a_cell import mixed, one_a_cell
from lesion_transfer.study import MODELS
from lesion_transfer.tracking import Tag


def arm(
    model: str = "D", folds: int = 10, start: int = 0, head: str = "svm", **tags: str
) -> StoredArm:
    pair = MODELS[model]
    identity = {
        **{"dataset": "isic2017", "design": "melanoma_vs_benign", "model": model, "seed": "0"},
        **{"source": str(pair.source), "finetune": str(pair.finetune).lower()},
        **{"backbone": "vgg_m", "protocol": "paper", "image_size": "224"},
    }
    scores = [
        FoldScore(f"{model}{number}", f"{number // 2 + 1}x{number % 2 + 1}", 0.7, start, "code")
        for number in range(folds)
    ]
    every = identity | {Tag.FOLDS_EXPECTED: "10"} | tags
    return StoredArm(f"arm {model}", every, tuple(scores), head)


def test_several_protocols_and_backbones_are_tables_side_by_side():
    arms = [arm(), arm(protocol="modern"), arm(backbone="VGG16")]
    shown, notes = one_a_cell(arms)
    tables = results_tables(arm_frame(shown))
    assert {(table.backbone, table.protocol) for table in tables} == {
        ("vgg_m", "paper"),
        ("vgg_m", "modern"),
        ("VGG16", "paper"),
    }
    assert notes == ()


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (arm(start=1), arm(start=2, seed="1"), "1"),
        (arm(start=1), arm(start=2, folds=9, seed="1"), "0"),
        (arm(start=1, folds=8), arm(start=2, folds=3, seed="1"), "1"),
    ],
    ids=["newest", "complete before newest", "newest of incomplete ones"],
)
def test_of_several_arms_in_a_cell_one_is_shown_and_a_note_says_so(first, second, kept: str):
    shown, notes = one_a_cell([second, first])
    assert [one.tags["seed"] for one in shown] == [kept]
    assert "several arms differ in seed" in notes[0]


@pytest.mark.parametrize("tags", [{"seed": "1"}, {Tag.DATA_DIGEST: "corrected"}], ids=str)
def test_a_table_of_arms_that_share_no_folds_says_so(tags: dict[str, str]):
    elsewhere = arm(protocol="modern")
    (note,) = mixed([arm("D"), arm("E", **tags), elsewhere])
    assert note.startswith("isic2017 · vgg_m · paper · 224: its arms differ")
    assert mixed([arm("D"), arm("E"), elsewhere]) == ()


def test_a_table_of_several_classifiers_says_whose_they_are():
    arms = [
        arm("D"),
        arm("E", head="softmax"),
        arm("C", head="softmax"),
        arm("D", protocol="modern"),
    ]
    (note,) = mixed(arms)
    assert note.startswith("isic2017 · vgg_m · paper · 224: its last classifiers differ (")
    assert "svm of D" in note
    assert "softmax of C, E" in note
    assert mixed([arms[0], arm("E"), arms[3]]) == ()


def test_a_table_without_the_reference_does_not_stop_the_others():
    tables = results_tables(arm_frame([arm("D"), arm("E"), arm("D", protocol="modern")]))
    (note,) = without_reference(tables, "E")
    assert "modern: it has no result of E" in note
    assert without_reference(tables, None) == without_reference(tables, "D") == ()
    with pytest.raises(UserError, match="reference=F: no table") as raised:
        without_reference(tables, "F")
    assert raised.value.expected == "one of D, E"
