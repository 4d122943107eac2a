"""The layouts of the ISIC challenges, in miniature."""

from pathlib import Path

import pytest
from layouts import a_picture, a_table, all_load, summary

from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.errors import UserError
from lesion_transfer.study import LESION_DESIGNS


def test_isic2016(tmp_path: Path) -> None:
    a_table(
        tmp_path / "ISBI2016_ISIC_Part3_Training_GroundTruth.csv", "I_0,benign", "I_1,malignant"
    )
    a_table(tmp_path / "ISBI2016_ISIC_Part3_Test_GroundTruth.csv", "I_2,0.0", "I_3,1.0")
    for part, images in (("Training", (0, 1)), ("Test", (2, 3))):
        for k in images:
            a_picture(tmp_path / f"ISBI2016_ISIC_Part3_{part}_Data" / f"I_{k}.jpg")
    data = open_dataset("isic2016", str(tmp_path))
    assert summary(data) == [
        ("I_0", "I_0", "benign", "train"),
        ("I_1", "I_1", "melanoma", "train"),
        ("I_2", "I_2", "benign", "test"),
        ("I_3", "I_3", "melanoma", "test"),
    ]
    assert all_load(data)
    a_table(tmp_path / "ISBI2016_ISIC_Part3_Test_GroundTruth.csv", "I_2,perhaps")
    with pytest.raises(UserError, match="line 1, column label: 'perhaps'"):
        open_dataset("isic2016", str(tmp_path))
    a_table(tmp_path / "ISBI2016_ISIC_Part3_Test_GroundTruth.csv", "I_2,0,0")
    with pytest.raises(UserError, match="line 1: 3 values"):
        open_dataset("isic2016", str(tmp_path))


@pytest.mark.parametrize("own_folder", [False, True])
def test_isic2018(tmp_path: Path, own_folder: bool) -> None:
    def truth(part: str, *lines: str) -> None:
        name = f"ISIC2018_Task3_{part}_GroundTruth"
        folder = tmp_path / name if own_folder else tmp_path
        a_table(folder / f"{name}.csv", "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC", *lines)

    truth("Training", "I_0,1.0,0.0,0.0,0.0,0.0,0.0,0.0", "I_1,1.0,0.0,0.0,0.0,0.0,0.0,0.0")
    truth("Validation", "I_2,0.0,0.0,0.0,1.0,0.0,0.0,0.0")
    for part, images in (("Training", (0, 1)), ("Validation", (2,))):
        for k in images:
            a_picture(tmp_path / f"ISIC2018_Task3_{part}_Input" / f"I_{k}.jpg")
    with pytest.raises(UserError, match=r"LesionGroupings.csv does not exist"):
        open_dataset("isic2018", str(tmp_path))
    a_table(
        tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv",
        "image,lesion_id,diagnosis confirm type",
        "I_0,HAM_7,histo",
        "I_1,HAM_7,histo",
    )
    data = open_dataset("isic2018", str(tmp_path))
    assert summary(data) == [
        ("I_0", "HAM_7", "melanoma", "train"),
        ("I_1", "HAM_7", "melanoma", "train"),
        ("I_2", "I_2", "actinic_keratosis", "validation"),
    ]
    assert all_load(data)
    truth("Validation", "I_2,0.0,0.0,0.0,0.0,0.0,0.0,0.0")
    with pytest.raises(UserError, match=r"line 2, column MEL: '0.0'"):
        open_dataset("isic2018", str(tmp_path))


def test_isic2019(tmp_path: Path) -> None:
    columns = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK"
    a_table(
        tmp_path / "ISIC_2019_Training_GroundTruth.csv",
        columns,
        "I_0,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
        "I_1_downsampled,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0",
    )
    a_table(
        tmp_path / "ISIC_2019_Training_Metadata.csv",
        "image,age_approx,anatom_site_general,lesion_id,sex",
        "I_0,55.0,anterior torso,MSK4_0011169,female",
        "I_1_downsampled,,,,",
    )
    a_table(
        tmp_path / "ISIC_2019_Test_GroundTruth.csv",
        f"{columns},score_weight,validation_weight",
        "I_2,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0",
    )
    for name in ("Training_Input/I_0", "Training_Input/I_1_downsampled", "Test_Input/I_2"):
        a_picture(tmp_path / f"ISIC_2019_{name}.jpg")
    data = open_dataset("isic2019", str(tmp_path))
    assert summary(data) == [
        ("I_0", "MSK4_0011169", "nevus", "train"),
        ("I_1_downsampled", "I_1", "squamous_cell_carcinoma", "train"),
        ("I_2", "I_2", "unknown", "test"),
    ]
    stated = [record.stated for record in data.records]
    assert stated == [(55.0, "female", "anterior_torso"), (), ()]
    assert all_load(data)
    assert all(design.class_of("unknown") is None for design in LESION_DESIGNS)


@pytest.mark.parametrize(
    ("table", "folder", "lesion"),
    [
        ("ISIC_2020_Training_GroundTruth_v2.csv", "train", "lesion_id,"),
        ("ISIC_2020_Training_GroundTruth.csv", "ISIC_2020_Training_JPEG/train", ""),
        ("train.csv", "jpeg/train", ""),
    ],
)
def test_isic2020(tmp_path: Path, table: str, folder: str, lesion: str) -> None:
    value = "IL_1," if lesion else ""
    header = (
        f"image_name,patient_id,{lesion}sex,age_approx,anatom_site_general_challenge,"
        "diagnosis,benign_malignant,target"
    )
    a_table(
        tmp_path / table,
        header,
        f"I_0,IP_7,{value}male,45,head/neck,unknown,benign,0",
        f"I_1,IP_7,{value}female,,,melanoma,malignant,1",
        f"I_2,IP_8,{value},NA,NA,cafe-au-lait macule,benign,0",
    )
    for k in range(3):
        a_picture(tmp_path / folder / f"I_{k}.jpg")
    data = open_dataset("isic2020", str(tmp_path))
    assert summary(data) == [
        ("I_0", "IP_7", "benign", "train"),
        ("I_1", "IP_7", "melanoma", "train"),
        ("I_2", "IP_8", "cafe_au_lait_macule", "train"),
    ]
    assert [record.stated for record in data.records] == [
        (45.0, "male", "head_neck"),
        ("", "female", ""),
        (),
    ]
    assert all_load(data)
    a_table(tmp_path / table, header, f"I_0,IP_7,{value}male,,,nevus,malignant,1")
    with pytest.raises(UserError, match="line 2, column target: '1'"):
        open_dataset("isic2020", str(tmp_path))
