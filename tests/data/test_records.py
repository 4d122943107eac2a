from pathlib import Path

import pytest

from lesion_transfer.data.records import (
    ImageRecord,
    canonical_diagnosis,
    patient,
    validate_records,
)
from lesion_transfer.errors import UserError
from lesion_transfer.study import LESION_DIAGNOSES


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mel", "melanoma"),
        ("MEL", "melanoma"),
        ("nv", "nevus"),
        ("nevi", "nevus"),
        ("Melanocytic naevus", "nevus"),
        ("Melanocytic nevi", "nevus"),
        ("blue naevus", "blue_nevus"),
        ("Reed or Spitz nevus", "spitz_nevus"),
        ("bcc", "basal_cell_carcinoma"),
        ("Basal Cell Carcinoma", "basal_cell_carcinoma"),
        (" basal-cell  carcinoma ", "basal_cell_carcinoma"),
        ("SCC", "squamous_cell_carcinoma"),
        ("akiec", "actinic_keratosis"),
        ("bkl", "benign_keratosis"),
        ("pigmented benign keratosis", "benign_keratosis"),
        ("Seborrhoeic keratosis", "seborrheic_keratosis"),
        ("df", "dermatofibroma"),
        ("vasc", "vascular_lesion"),
        ("solar lentigo", "lentigo"),
    ],
)
def test_spellings_of_the_archives_become_the_studys_names(text: str, name: str) -> None:
    assert canonical_diagnosis(text) == name
    assert name in LESION_DIAGNOSES


def test_the_studys_names_are_their_own_canonical_form() -> None:
    assert {canonical_diagnosis(name) for name in LESION_DIAGNOSES} == LESION_DIAGNOSES


def test_an_unknown_diagnosis_is_kept_in_snake_case() -> None:
    assert canonical_diagnosis("Level 3 / Früh") == "level_3_früh"


@pytest.mark.parametrize(
    ("said", "stated"),
    [
        (("55", "M", "Head/Neck"), (55.0, "male", "head_neck")),
        (("0.0", "", ""), (0.0, "", "")),
        (("", "female", "unknown"), ("", "female", "")),
        (("unknown", "NA", "nan"), ()),
        (("-5", "other", "NA"), ()),
    ],
)
def test_what_a_table_does_not_state_is_not_made_up(said, stated: tuple) -> None:
    assert _record(**patient(*said)).stated == stated


def _record(image_id: str = "a", **fields: object) -> ImageRecord:
    return ImageRecord(
        **{"image_id": image_id, "group_id": "g", "diagnosis": "nevus", "dataset": "d", **fields}
    )


def test_records_are_sorted_by_id() -> None:
    records = validate_records([_record("b"), _record("ä"), _record("a")], "here")
    assert [record.image_id for record in records] == ["a", "b", "ä"]


def test_records_are_a_sequence_of_what_was_given() -> None:
    given = [
        ImageRecord(f"{i:04}", "g", "nevus", "d", Path("/x", f"{i}.jpg") if i % 3 else None, "test")
        for i in range(3000)  # more than are kept together
    ]
    records = validate_records(reversed(given), "here")
    assert list(records) == given
    assert (records[0], records[-1]) == (given[0], given[-1])
    assert list(records[1020:2050]) == given[1020:2050]
    assert list(records[2999:5:-1000]) == given[2999:5:-1000]
    assert len(records[7:7]) == 0
    assert records == validate_records(given, "there")
    assert records != records[1:]
    with pytest.raises(IndexError):
        records[3000]


def test_a_file_name_that_no_table_can_hold_is_refused() -> None:
    record = ImageRecord("a", "g", "nevus", "d", Path("/x/\udcff.jpg"))
    with pytest.raises(UserError, match=r"udcff\.jpg' is not UTF-8"):
        validate_records([record], "here")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "here: no labelled image"),
        ([_record("x"), _record("y"), _record("x")], "occur more than once: x"),
        ([_record(group_id="")], "image 'a' has an empty group_id"),
        ([_record(diagnosis="")], "image 'a' has an empty diagnosis"),
        ([_record(split="training")], "split='training'"),
    ],
)
def test_bad_records_are_refused(records: list[ImageRecord], message: str) -> None:
    with pytest.raises(UserError, match=message):
        validate_records(records, "here")
