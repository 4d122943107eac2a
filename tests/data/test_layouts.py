"""The official layouts but the challenges', in miniature, and the real files that are at hand."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from layouts import a_picture, a_table, all_load, summary

from lesion_transfer.data.adapters import ADAPTERS, open_dataset
from lesion_transfer.data.adapters.pictures import picture_of, pictures_by_id
from lesion_transfer.data.dataset import FileAdapter
from lesion_transfer.data.designs import labels_for
from lesion_transfer.errors import UserError
from lesion_transfer.study import LESION_DESIGNS, Design


@pytest.mark.parametrize(
    "name", [n for n, a in ADAPTERS.items() if isinstance(a, FileAdapter) and not a.own_name]
)
def test_every_archive_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    for root in (None, str(tmp_path / "nowhere"), str(tmp_path)):
        with pytest.raises(UserError, match=name) as error:
            open_dataset(name, root)
        assert "data_root=" in error.value.next_step
        assert error.value.expected


# --- atlas ---------------------------------------------------------------------------------------


def _atlas(shared: Path, root: Path, *numbers: int) -> Path:
    (root / "Images").mkdir(parents=True)
    for number in numbers:
        name = f"protocol{number}.csv"
        (root / name).write_bytes((shared / "reference" / "folds" / name).read_bytes())
    return root


@pytest.mark.parametrize("numbers", [(3,), (1, 2), (1, 2, 3), (2, 3)])
def test_the_designs_give_the_papers_counts(
    shared: Path, tmp_path: Path, numbers: tuple[int, ...]
) -> None:
    data = open_dataset("atlas", str(_atlas(shared, tmp_path, *numbers)))
    index = pd.DataFrame({"diagnosis": [record.diagnosis for record in data.records]})
    counts = {}
    for design in LESION_DESIGNS:
        labelled = labels_for(design, index)
        counts[design] = dict(
            zip(labelled.classes, np.bincount(labelled.labels).tolist(), strict=True)
        )
    assert counts == {
        Design.MALIGNANT_VS_BENIGN: {"malignant": 307, "benign": 668},
        Design.MELANOMA_VS_BENIGN: {"melanoma": 265, "benign": 668},
        Design.MELANOMA_VS_CARCINOMA_VS_BENIGN: {"melanoma": 265, "carcinoma": 42, "benign": 668},
    }
    assert len(data.records) == 975
    groups = {record.image_id: record.group_id for record in data.records}
    assert groups["aal002bis"] == groups["aal002"] == "aal002"
    assert len(set(groups.values())) == 973  # the base of adl337bis is not in the study


def test_atlas_alone_without_carcinomas(shared: Path, tmp_path: Path) -> None:
    data = open_dataset("atlas", str(_atlas(shared, tmp_path, 2)))
    assert Counter(r.diagnosis for r in data.records) == {"melanoma": 265, "benign": 668}


def test_atlas_on_the_cd_in_mixed_case(tmp_path: Path) -> None:
    a_table(tmp_path / "protocol3.csv", "image,level", "Aal002,2", "aal002bis,2", "NEL026,1")
    for name in ("AAL/Aal002.JPG", "aal/aal002BIS.jpg", "Nel/nel026.Jpg", "Nel/nel025.jpg"):
        a_picture(tmp_path / "IMAGES" / name)
    data = open_dataset("atlas", str(tmp_path))
    assert summary(data) == [
        ("aal002", "aal002", "benign", ""),
        ("aal002bis", "aal002", "benign", ""),
        ("nel026", "nel026", "melanoma", ""),
    ]
    assert all_load(data)


def test_atlas_labels_that_cannot_be_right(tmp_path: Path) -> None:
    (tmp_path / "Images").mkdir()
    a_table(tmp_path / "protocol1.csv", "image,level", "a,1", "b,0")
    with pytest.raises(UserError, match=r"protocol1.csv, line 2: a is malignant") as error:
        open_dataset("atlas", str(tmp_path))
    assert "protocol3.csv" in error.value.next_step
    a_table(tmp_path / "protocol3.csv", "image,level", "a,2", "b,2")
    with pytest.raises(UserError, match="label of a contradicts"):
        open_dataset("atlas", str(tmp_path))
    a_table(tmp_path / "protocol3.csv", "image,level", "a,1", "A,1")
    with pytest.raises(UserError, match=r"protocol3.csv, line 3, column image"):
        open_dataset("atlas", str(tmp_path))
    a_table(tmp_path / "protocol3.csv", "image,level", "a,3")
    with pytest.raises(UserError, match=r"protocol3.csv, line 2, column level: '3'"):
        open_dataset("atlas", str(tmp_path))
    (tmp_path / "Images").rmdir()
    with pytest.raises(UserError, match="no folder Images"):
        open_dataset("atlas", str(tmp_path))


@pytest.mark.parametrize("folder", ["", "release_v0"])
def test_derm7pt(tmp_path: Path, folder: str) -> None:
    root = tmp_path / folder
    a_table(
        root / "meta" / "meta.csv",
        "case_num,diagnosis,seven_point_score,location,sex,clinic,derm,case_id,notes",
        '1,basal cell carcinoma,0,lower limbs,female,NEL/NEL025.JPG,NEL/Nel026.jpg,NEL025,"a, b"',
        "2,melanoma (0.76 to 1.5 mm),0,back,male,NEL/NEL027.JPG,NEL/Nel028.jpg,NEL027,",
        "3,reed or spitz nevus,0,,,NEL/NEL029.JPG,NEL/Nel030.jpg,,",
    )
    for part, line in (("train", 0), ("valid", 2), ("test", 1)):
        a_table(root / "meta" / f"{part}_indexes.csv", "indexes", str(line))
    for number in (25, 26, 28, 30):
        a_picture(root / "images" / "NEL" / f"Nel{number:03d}.jpg")
    data = open_dataset("atlas", str(tmp_path))
    assert summary(data) == [
        ("nel026", "NEL025", "basal_cell_carcinoma", "train"),
        ("nel028", "NEL027", "melanoma", "test"),
        ("nel030", "3", "spitz_nevus", "validation"),
    ]
    assert [record.stated for record in data.records] == [
        ("", "female", "lower_limbs"),
        ("", "male", "back"),
        (),
    ]
    assert all_load(data)


def test_derm7pt_paths_stay_inside(tmp_path: Path) -> None:
    a_table(tmp_path / "meta" / "meta.csv", "case_num,diagnosis,derm", "1,nevus,../../secret.jpg")
    with pytest.raises(UserError, match=r"meta.csv, line 2, column derm"):
        open_dataset("atlas", str(tmp_path))


def test_two_files_for_one_label(tmp_path: Path) -> None:
    a_picture(tmp_path / "a" / "X1.jpg")
    a_picture(tmp_path / "b" / "x1.png")
    only = a_picture(tmp_path / "b" / "y.png")
    pictures = pictures_by_id(tmp_path)
    assert picture_of("Y", pictures, tmp_path) == only  # what no label is for may be there twice
    with pytest.raises(UserError, match="two files are called X1"):
        picture_of("X1", pictures, tmp_path)


# --- ham10000, ph2, aptos2019 --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "separator"), [("HAM10000_metadata.csv", ","), ("HAM10000_metadata", "\t")]
)
def test_ham10000(tmp_path: Path, table: str, separator: str) -> None:
    rows = (
        "lesion_id,image_id,dx,dx_type,age,sex,localization",
        "HAM_1,I_0,bkl,histo,80.0,male,scalp",
        "HAM_1,I_1,akiec,histo,,unknown,unknown",
    )
    a_table(tmp_path / table, *(row.replace(",", separator) for row in rows))
    a_picture(tmp_path / "HAM10000_images_part_1" / "I_0.jpg")
    a_picture(tmp_path / "HAM10000_images_part_2" / "I_1.jpg")
    data = open_dataset("ham10000", str(tmp_path))
    assert summary(data) == [
        ("I_0", "HAM_1", "benign_keratosis", ""),
        ("I_1", "HAM_1", "actinic_keratosis", ""),
    ]
    assert [record.stated for record in data.records] == [(80.0, "male", "scalp"), ()]
    assert all_load(data)


def test_real_ham10000(shared: Path) -> None:
    data = open_dataset("ham10000", str(shared / "data" / "ham10000_28px"))
    assert Counter(record.diagnosis for record in data.records) == {
        "melanoma": 1113,
        "basal_cell_carcinoma": 514,
        "nevus": 900,
        "benign_keratosis": 400,
        "actinic_keratosis": 327,
        "vascular_lesion": 142,
        "dermatofibroma": 115,
    }
    assert data.load(data.records[0]).shape == (28, 28, 3)


def _ph2(root: Path, *marks: tuple[str, str, str]) -> None:
    rows = [["PH2 Dataset", "", "", "", ""], ["Legend", "", "", "", ""]]
    rows.append(["Image Name", "", "Common Nevus", "Atypical Nevus", "Melanoma"])
    rows += [[f"IMD00{k}", "", *mark] for k, mark in enumerate(marks)]
    root.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_excel(root / "PH2_dataset.xlsx", header=False, index=False)


@pytest.mark.parametrize("folder", ["", "PH2Dataset"])
def test_ph2(tmp_path: Path, folder: str) -> None:
    root = tmp_path / folder
    _ph2(root, ("X", "", ""), ("", "X", ""), ("", "", "x"))
    for k in range(3):
        image = f"IMD00{k}"
        a_picture(root / "PH2 Dataset images" / image / f"{image}_Dermoscopic_Image/{image}.bmp")
    data = open_dataset("ph2", str(tmp_path))
    assert [(r.image_id, r.diagnosis) for r in data.records] == [
        ("IMD000", "nevus"),
        ("IMD001", "clark_nevus"),
        ("IMD002", "melanoma"),
    ]
    assert all_load(data)


def test_ph2_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "PH2 Dataset images").mkdir()
    _ph2(tmp_path, ("X", "", ""), ("X", "", "X"))
    with pytest.raises(UserError, match=r"PH2_dataset.xlsx, line 5, column Common Nevus"):
        open_dataset("ph2", str(tmp_path))
    pd.DataFrame([["nothing"]]).to_excel(tmp_path / "PH2_dataset.xlsx")
    with pytest.raises(UserError, match="no line names the columns"):
        open_dataset("ph2", str(tmp_path))
    (tmp_path / "PH2_dataset.xlsx").write_bytes(b"PK\x03\x04 but no more")
    with pytest.raises(UserError, match="cannot be read as a workbook"):
        open_dataset("ph2", str(tmp_path))


def test_aptos2019(tmp_path: Path) -> None:
    a_table(tmp_path / "train.csv", "id_code,diagnosis", "000c1434d8d7,2", "001639a390f0,4")
    for image in ("000c1434d8d7", "001639a390f0"):
        a_picture(tmp_path / "train_images" / f"{image}.png")
    data = open_dataset("aptos2019", str(tmp_path))
    assert [(r.image_id, r.diagnosis) for r in data.records] == [
        ("000c1434d8d7", "level_2"),
        ("001639a390f0", "level_4"),
    ]
    assert all_load(data)
    a_table(tmp_path / "train.csv", "id_code,diagnosis", "000c1434d8d7,5")
    with pytest.raises(UserError, match="line 2, column diagnosis: '5'"):
        open_dataset("aptos2019", str(tmp_path))
