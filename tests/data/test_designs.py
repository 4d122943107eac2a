import numpy as np
import pandas as pd
import pytest

from lesion_transfer.data.designs import graded, labels_for
from lesion_transfer.errors import UserError
from lesion_transfer.study import Design


def _index(*diagnoses: str) -> pd.DataFrame:
    return pd.DataFrame({"diagnosis": diagnoses})


LESIONS = _index("nevus", "melanoma", "basal_cell_carcinoma", "lentigo")


@pytest.mark.parametrize(
    ("design", "rows", "labels", "classes"),
    [
        ("malignant_vs_benign", [0, 1, 2, 3], [0, 1, 1, 0], ("benign", "malignant")),
        ("melanoma_vs_benign", [0, 1, 3], [0, 1, 0], ("benign", "melanoma")),
        (
            "melanoma_vs_carcinoma_vs_benign",
            [0, 1, 2, 3],
            [0, 1, 2, 0],
            ("benign", "melanoma", "carcinoma"),
        ),
        (
            "native",
            [0, 1, 2, 3],
            [3, 2, 0, 1],
            ("basal_cell_carcinoma", "lentigo", "melanoma", "nevus"),
        ),
    ],
)
def test_labels(design: str, rows: list[int], labels: list[int], classes: tuple[str, ...]) -> None:
    labelled = labels_for(Design(design), LESIONS)
    assert labelled.rows.tolist() == rows
    assert labelled.labels.tolist() == labels
    assert labelled.labels.dtype == np.int64
    assert labelled.classes == classes


def test_an_empty_class_is_refused() -> None:
    with pytest.raises(
        UserError, match="no image of carcinoma; its diagnoses are nevus 2"
    ) as error:
        labels_for(Design.MELANOMA_VS_CARCINOMA_VS_BENIGN, _index("nevus", "melanoma", "nevus"))
    assert "design=melanoma_vs_benign" in error.value.next_step


def test_a_single_class_is_refused() -> None:
    with pytest.raises(UserError, match="one class only"):
        labels_for(Design.NATIVE, _index("level_0", "level_0"))


def test_an_unknown_diagnosis_is_refused() -> None:
    with pytest.raises(UserError, match="cannot place the diagnosis 'wart'"):
        labels_for(Design.MELANOMA_VS_BENIGN, _index("melanoma", "wart"))


@pytest.mark.parametrize(
    ("classes", "yes"),
    [
        (("level_0", "level_1", "level_4"), True),
        (("actinic_keratosis", "melanoma", "nevus"), False),
        (("level_0", "none"), False),
        (("level_1", "level_10", "level_2"), False),  # sorted as text: not in the levels' order
    ],
)
def test_only_levels_have_an_order(classes: tuple[str, ...], yes: bool):
    assert graded(classes) is yes
