import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lesion_transfer.data.adapters import ADAPTERS, open_dataset
from lesion_transfer.data.decode import BadImage
from lesion_transfer.errors import UserError


def _picture(path: Path, shade: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(path)
    return path


def _isic(root: Path, part: str, rows: dict[str, tuple[str, str]]) -> Path:
    table = root / f"ISIC-2017_{part}_Part3_GroundTruth.csv"
    lines = [f"{image},{mel},{sk}" for image, (mel, sk) in rows.items()]
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text("\n".join(["image_id,melanoma,seborrheic_keratosis", *lines]))
    for image in rows:
        _picture(root / f"ISIC-2017_{part}_Data" / f"{image}.jpg")
    return table


def test_unknown_name() -> None:
    with pytest.raises(UserError, match="no data set called 'isic'") as error:
        open_dataset("isic")
    assert "isic2017" in str(error.value)


@pytest.mark.parametrize("name", ["isic2017", "eyepacs", "folder", "csv"])
def test_data_root_is_asked_for_and_must_exist(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{name}: data_root is not given"):
        open_dataset(name)
    with pytest.raises(UserError, match="does not exist"):
        open_dataset(name, str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=str(tmp_path)):
        open_dataset(name, str(tmp_path))


def test_adapters_are_named_as_they_are_chosen() -> None:
    assert all(adapter.name == name for name, adapter in ADAPTERS.items())


# --- isic2017 ------------------------------------------------------------------------------------


def test_isic2017_reads_the_parts_that_are_there(tmp_path: Path) -> None:
    _isic(tmp_path, "Training", {"ISIC_1": ("1.0", "0.0"), "ISIC_2": ("0.0", "0.0")})
    _isic(tmp_path, "Test_v2", {"ISIC_3": ("0", "1")})
    _picture(tmp_path / "ISIC-2017_Training_Data" / "ISIC_9.jpg")  # no label: left out
    data = open_dataset("isic2017", str(tmp_path))
    assert [(r.image_id, r.diagnosis, r.split) for r in data.records] == [
        ("ISIC_1", "melanoma", "train"),
        ("ISIC_2", "nevus", "train"),
        ("ISIC_3", "seborrheic_keratosis", "test"),
    ]
    assert data.load(data.records[0]).shape == (8, 8, 3)


def test_isic2017_in_a_folder_shared_with_others(tmp_path: Path) -> None:
    _isic(tmp_path / "isic2017", "Training", {"ISIC_1": ("1.0", "0.0")})
    here, above = (
        open_dataset("isic2017", str(root)) for root in (tmp_path / "isic2017", tmp_path)
    )
    assert here.records == above.records
    assert here.listing_digest == above.listing_digest


def test_isic2017_names_the_bad_row(tmp_path: Path) -> None:
    table = _isic(tmp_path, "Training", {"ISIC_1": ("1.0", "0.0"), "ISIC_2": ("maybe", "0.0")})
    with pytest.raises(UserError, match=r"line 3, column melanoma: 'maybe'"):
        open_dataset("isic2017", str(tmp_path))
    table.write_text("image_id,melanoma,seborrheic_keratosis\nISIC_1,1.0,1.0\n")
    with pytest.raises(UserError, match="line 2, column seborrheic_keratosis"):
        open_dataset("isic2017", str(tmp_path))
    table.write_text("image_id,melanoma\nISIC_1,1.0\n")
    with pytest.raises(UserError, match="no column seborrheic_keratosis"):
        open_dataset("isic2017", str(tmp_path))


def test_isic2017_without_its_pictures_folder(tmp_path: Path) -> None:
    table = _isic(tmp_path, "Training", {})
    table.write_text("image_id,melanoma,seborrheic_keratosis\nISIC_1,1.0,0.0\n")
    with pytest.raises(UserError, match=r"the folder .*ISIC-2017_Training_Data is not"):
        open_dataset("isic2017", str(tmp_path))


def test_real_isic2017(shared: Path) -> None:
    data = open_dataset("isic2017", str(shared / "data"))
    counts = Counter((r.split, r.diagnosis) for r in data.records)
    assert counts == {
        ("train", "melanoma"): 374,
        ("train", "seborrheic_keratosis"): 254,
        ("train", "nevus"): 1372,
        ("validation", "melanoma"): 30,
        ("validation", "seborrheic_keratosis"): 42,
        ("validation", "nevus"): 78,
    }
    assert data.load(data.records[0]).shape == (256, 256, 3)


# --- eyepacs -------------------------------------------------------------------------------------


def test_eyepacs_groups_the_eyes_of_a_patient(tmp_path: Path) -> None:
    (tmp_path / "trainLabels.csv").write_text("image,level\n10_left,0\n10_right,4\n11_left,2\n")
    data = open_dataset("eyepacs", str(tmp_path))
    assert [(r.image_id, r.group_id, r.diagnosis) for r in data.records] == [
        ("10_left", "10", "level_0"),
        ("10_right", "10", "level_4"),
        ("11_left", "11", "level_2"),
    ]
    with pytest.raises(BadImage, match="no such file"):  # a bad image, and not a crash
        data.load(data.records[0])


@pytest.mark.parametrize(
    ("row", "column"), [("10_left,5", "level"), ("../../etc/passwd,0", "image"), ("10,0", "image")]
)
def test_eyepacs_names_the_bad_row(tmp_path: Path, row: str, column: str) -> None:
    (tmp_path / "trainLabels.csv").write_text(f"image,level\n1_left,0\n{row}\n")
    with pytest.raises(UserError, match=f"line 3, column {column}"):
        open_dataset("eyepacs", str(tmp_path))


def test_real_eyepacs(shared: Path) -> None:
    data = open_dataset("eyepacs", str(shared / "data" / "eyepacs"))
    counts = Counter(r.diagnosis for r in data.records)
    assert [counts[f"level_{k}"] for k in range(5)] == [736, 56, 164, 24, 20]


# --- folder --------------------------------------------------------------------------------------


def test_folder_takes_the_diagnosis_from_the_directory(tmp_path: Path) -> None:
    root = tmp_path / "My Clinic"
    for name in ("mel/a.png", "Basal Cell Carcinoma/2019/a.png", "Basal Cell Carcinoma/b.PNG"):
        _picture(root / name)
    for name in ("mel/notes.txt", "stray.png", "mel/.hidden.png", "__MACOSX/mel/a.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    data = open_dataset("folder", str(root))
    assert data.name == "folder_my_clinic"
    assert [(r.image_id, r.diagnosis) for r in data.records] == [
        ("Basal Cell Carcinoma/2019/a.png", "basal_cell_carcinoma"),
        ("Basal Cell Carcinoma/b.PNG", "basal_cell_carcinoma"),
        ("mel/a.png", "melanoma"),
    ]


# --- csv -----------------------------------------------------------------------------------------


def _table(tmp_path: Path, text: str) -> str:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_csv_with_all_columns(tmp_path: Path) -> None:
    _picture(tmp_path / "img" / "1.png")
    table = _table(
        tmp_path,
        "\ufeffimage_id, path ,diagnosis,group_id,split,note\n"
        '1,img/1.png,MEL,p1,train,"a, b"\n\n2,./img/../img/2.png,nevi,,,\n',
    )
    for data in (open_dataset("csv", table), open_dataset("csv", str(tmp_path))):
        first, second = data.records
        assert (first.group_id, first.diagnosis, first.split) == ("p1", "melanoma", "train")
        assert (second.group_id, second.diagnosis, second.split) == ("2", "nevus", "")
        assert second.path == tmp_path / "img" / "2.png"
        assert data.load(first).shape == (8, 8, 3)


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "img/../../x.png"])
def test_csv_paths_stay_inside_the_folder(tmp_path: Path, path: str) -> None:
    table = _table(tmp_path, f"image_id,path,diagnosis\n1,{path},mel\n")
    with pytest.raises(UserError, match=r"labels.csv, line 2, column path"):
        open_dataset("csv", table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column image_id, path, diagnosis; it has none"),
        ("image_id,path\n1,a.png\n", "no column diagnosis; it has image_id, path"),
        ("image_id;path;diagnosis\n1;a.png;mel\n", "separated by commas or tabs"),
        ("image_id,path,diagnosis\n", "no labelled image"),
        ("image_id,path,diagnosis\n1,a.png\n", "line 2: 2 values"),
        ("image_id,path,diagnosis\n1,a.png,\n", "line 2, column diagnosis"),
        ("image_id,path,diagnosis,split\n1,a.png,mel,val\n", "column split: 'val'"),
        ("image_id,path,diagnosis\n1,a.png,mel\n1,b.png,mel\n", "more than once: 1"),
        ("image_id,path,diagnosis,path\n1,a,mel,b\n", "path occurs twice"),
        ('image_id,path,diagnosis\n1,"a.png,mel\n', "cannot be read as a table"),
    ],
)
def test_csv_errors_say_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_dataset("csv", _table(tmp_path, text))


def test_csv_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match="cannot be read as a table") as error:
        open_dataset("csv", str(tmp_path))
    assert "CSV UTF-8" in error.value.next_step


# --- the listing's digest ------------------------------------------------------------------------


def test_the_listing_digest_follows_labels_and_files_not_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "set"
    a, b = _picture(root / "mel" / "a.png"), _picture(root / "nv" / "b.png")
    os.utime(a, ns=(1, 1))
    os.utime(b, ns=(1, 1))

    def now(folder: Path = root) -> str:
        return open_dataset("folder", str(folder)).listing_digest

    before = now()
    assert now() == before
    root.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").rename(root)
    assert now(root / ".." / "set") == before
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: path != b)
        assert now() != before  # else its store would lack it for good
    os.utime(b, ns=(2, 2))
    touched = now()
    assert touched != before
    b.rename(b.parent / "c.png")
    assert now() not in (before, touched)


def test_the_synthetic_listing_digest_follows_the_seed() -> None:
    zero, again, one = (open_dataset("synthetic", None, seed) for seed in (0, 0, 1))
    assert zero.listing_digest == again.listing_digest != one.listing_digest
    with pytest.raises(UserError, match="seed=-1"):
        open_dataset("synthetic", None, -1)


def test_a_synthetic_picture_is_had_through_its_record() -> None:
    data = open_dataset("synthetic_generic")
    assert data.records[5].path is None
    assert data.load(data.records[5]).dtype == np.uint8
