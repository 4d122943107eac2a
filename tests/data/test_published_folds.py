from pathlib import Path

import numpy as np
import pytest

from lesion_transfer.data.published_folds import (
    fold_id,
    folds_file,
    read_published_folds,
)
from lesion_transfer.data.tables import read_table
from lesion_transfer.errors import UserError


def _file(tmp_path: Path, **entries: tuple[str, str]) -> Path:
    """Entries as ``Fold_1=("a b", "c d")``."""
    path = tmp_path / "folds.yml"
    lines = []
    for name, halves in entries.items():
        lines += [f"{name}:", *(f"  - [{', '.join(half.split())}]" for half in halves)]
    path.write_text("\n".join(lines))
    return path


AB = ("a.tiff b.tiff", "c.tiff d.tiff")
BA = AB[::-1]
AC = ("a.tiff c.tiff", "b.tiff d.tiff")
AD = ("a.tiff d.tiff", "b.tiff c.tiff")


# --- the paper's own files -----------------------------------------------------------------------


def _atlas(shared: Path, protocol: int) -> tuple[Path, list[str]]:
    folds = shared / "reference" / "folds"
    rows = list(read_table(folds / f"protocol{protocol}.csv", ("image",)))
    return folds / f"protocol{protocol}.yml", [f"{row['image'].upper()}.jpg" for row in rows]


@pytest.mark.parametrize("protocol", [1, 2, 3])
def test_the_papers_ten_entries_are_five_repeats(shared: Path, protocol: int) -> None:
    path, images = _atlas(shared, protocol)
    folds = read_published_folds(path)
    assert len(folds.repeats) == len({frozenset(halves) for halves in folds.repeats}) == 5
    listed = folds.listed(images)
    assert [image for image, there in zip(images, listed, strict=True) if not there] == [
        "FHL022.jpg"
    ]
    kept = [image for image, there in zip(images, listed, strict=True) if there]
    for number, partition in enumerate(folds.partitions(kept), start=1):
        assert partition.repeat == number
        rows = np.concatenate(partition.halves)
        assert sorted(rows.tolist()) == list(range(len(images) - 1))
    groups = [fold_id(image).removesuffix("bis") for image in images]
    notes = folds.notes(images, groups)
    assert "leaves out 1 image(s): FHL022.jpg" in notes[0]
    assert notes[1].endswith("test images: adl387")
    assert len(notes) == 2


def test_the_original_loop_visits_three_partitions(shared: Path) -> None:
    path, images = _atlas(shared, 1)
    right, loop = (read_published_folds(path, reproduce_original_loop=on) for on in (False, True))
    first, second, third, fourth, fifth = loop.repeats
    assert (second, fourth) == (first[::-1], third[::-1])
    assert (first, third, fifth) == right.repeats[:3]
    assert right.identity != loop.identity
    assert "5 repeats of 3 partitions" in loop.notes(images, images)[-1]


def test_the_official_split_is_one_repeat(shared: Path) -> None:
    folds = read_published_folds(shared / "reference" / "folds" / "isic.yml")
    ((train, test),) = folds.repeats
    assert (len(train), len(test)) == (900, 379)


# --- the format ----------------------------------------------------------------------------------


def test_ids_match_without_case_and_suffix(tmp_path: Path) -> None:
    folds = read_published_folds(_file(tmp_path, Fold_1=("A.tiff b", "c.JPG d.v2.png")))
    images = ["mel/x", "B", "d.v2", "a", "C.png"]
    assert folds.listed(images).tolist() == [False, True, True, True, True]
    (partition,) = folds.partitions(images[1:])
    assert [half.tolist() for half in partition.halves] == [[0, 2], [1, 3]]


def test_images_that_are_missing_are_named(tmp_path: Path) -> None:
    folds = read_published_folds(_file(tmp_path, Fold_1=AB))
    with pytest.raises(UserError, match=r"2 of its 4 images are not in the data set.*: b, d"):
        folds.listed(["a", "c"])
    with pytest.raises(UserError, match=r"a could be any of a.png, A.jpg"):
        folds.listed(["a.png", "A.jpg", "b", "c", "d"])


def test_a_design_may_exclude_images(tmp_path: Path) -> None:
    (partition,) = read_published_folds(_file(tmp_path, Fold_1=AB)).partitions(["d", "a"])
    assert [half.tolist() for half in partition.halves] == [[1], [0]]


def test_a_swapped_entry_is_the_other_fold_and_a_repeated_one_refused(tmp_path: Path) -> None:
    folds = read_published_folds(_file(tmp_path, Fold_1=AB, Fold_2=BA, Fold_3=AC))
    assert len(folds.repeats) == 2
    with pytest.raises(UserError, match="Fold_3 is the same partition as Fold_1") as error:
        read_published_folds(_file(tmp_path, Fold_1=AB, Fold_2=BA, Fold_3=AB))
    assert "chance look like evidence" in error.value.expected
    assert "reproduce_original_loop=true" in error.value.next_step


def test_the_original_loop_needs_its_five_entries(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no Fold_3, Fold_4, Fold_5"):
        read_published_folds(_file(tmp_path, Fold_1=AB, Fold_2=BA), reproduce_original_loop=True)


def test_the_identity_is_that_of_the_partitions(tmp_path: Path) -> None:
    def identity(**entries: tuple[str, str]) -> str:
        return read_published_folds(_file(tmp_path, **entries)).identity

    first = identity(Fold_1=AB, Fold_2=AC)
    assert first == identity(One=("b.png a.png", "D C"), Two=AC)
    others = {identity(Fold_1=AB), identity(Fold_1=AC, Fold_2=AB), identity(Fold_1=AB, Fold_2=AD)}
    assert len(others | {first}) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no folds"),
        ("- a\n- b", "holds no folds"),
        ("Fold_1: [a, b]", "Fold_1: not two lists"),
        ("Fold_1: [[a], [b], [c]]", "Fold_1: not two lists"),
        ("Fold_1: [[a], []]", "Fold_1: not two lists"),
        ("Fold_1: [[1], [2]]", "Fold_1: not two lists"),
        ("Fold_1: [[a, b.png], [c, B]]", "Fold_1: b is there twice"),
        ("Fold_1: [[a], [b]]\nFold_2: [[a], [c]]", "b, c is in one of Fold_1 and Fold_2 only"),
        ("Fold_1: [[a", "cannot be read"),
        ("!!python/object/apply:os.system [x]", "cannot be read"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "folds.yml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_published_folds(path)


def test_the_parameter_folds() -> None:
    assert folds_file("all") == (None, "all")
    assert folds_file("1x1,1x2") == (None, "1x1,1x2")
    assert folds_file("a/b.YML") == (Path("a/b.YML"), "all")
    assert folds_file("C:/b.yaml:2x1") == (Path("C:/b.yaml"), "2x1")
