"""The data set's run: what it says of the pictures, and where the store comes from."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lesion_transfer.data.adapters import open_dataset
from lesion_transfer.data.remote import pull_store
from lesion_transfer.errors import UserError
from lesion_transfer.stages.preprocess import PreparedData, preprocess
from lesion_transfer.stages.requests import PreprocessRequest
from lesion_transfer.tracking import Kind


@pytest.fixture(scope="module")
def photos(world: Any) -> Path:
    """Drawn lesions as files: one twice under another name, one as another class, one bad."""
    data = open_dataset("synthetic")
    folder = world.folder / "photos"
    for number, record in enumerate(data.records[:60]):
        name = "mel" if record.diagnosis == "melanoma" else "nv"
        (folder / name).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(data.load(record))
        picture.save(folder / name / f"{number:03}.png")
        if number == 7:
            picture.save(folder / name / "copy.png")
            picture.save(folder / ("nv" if name == "mel" else "mel") / "relabelled.png")
    (folder / "nv" / "bad.jpg").write_bytes(b"bad")
    return folder


def _request(world: Any, photos: Path, **options: object) -> PreprocessRequest:
    options = {"cache": world.folder / "cache"} | options
    return PreprocessRequest(
        target="folder",
        data_root=str(photos),
        protocol=world.protocol(),
        max_rejected=0.05,
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def data(world: Any, photos: Path) -> PreparedData:
    return preprocess(_request(world, photos))


def test_the_run_counts_what_is_there_and_what_is_wrong(world: Any, data: PreparedData) -> None:
    (run,) = world.runs(Kind.DATASET)
    assert run.info.run_id == data.run_id
    expected = {"images": 62, "rejected": 1, "duplicates": 2, "groups": 60}
    expected |= {"duplicates_between_groups": 2, "duplicates_of_other_diagnosis": 2}
    assert expected.items() <= run.data.metrics.items()
    images = np.asarray(data.store.images)
    assert run.data.metrics["mean_red"] == pytest.approx(images[..., 0].mean())
    assert run.data.metrics["sd_blue"] == pytest.approx(images[..., 2].std())
    (entered,) = run.inputs.dataset_inputs
    assert entered.dataset.digest == data.store.digest[:16]


@pytest.mark.parametrize(
    "name",
    [
        "contact_sheet.png",
        "contact_sheets/melanoma.png",
        "contact_sheets/nevus.png",
        "duplicates.png",
        "mean_image.png",
        "manifest.json",
        "index.csv",
    ],
)
def test_the_run_shows_it(world: Any, data: PreparedData, name: str) -> None:
    assert world.artifact(data.run_id, name).stat().st_size > 500


def test_the_run_lists_rejected_files_duplicates_and_folds(world: Any, data: PreparedData) -> None:
    rejected = pd.read_csv(world.artifact(data.run_id, "rejected.csv"))
    assert rejected["image_id"].tolist() == ["nv/bad.jpg"]
    duplicates = pd.read_csv(world.artifact(data.run_id, "duplicates.csv"))
    assert set(duplicates["kind"]) == {"same file"}
    folds = pd.read_csv(world.artifact(data.run_id, "fold_balance.csv"))
    assert set(folds["design"]) == {"malignant_vs_benign", "melanoma_vs_benign", "native"}
    assert (folds["share"] > 0).all()


def test_the_result_says_what_was_found(data: PreparedData) -> None:
    assert "1 rejected" in data.done
    assert "2 there twice" in data.done


def test_a_damaged_store_is_found_where_that_is_asked_for(
    world: Any, photos: Path, tmp_path: Path
) -> None:
    store = preprocess(_request(world, photos, cache=tmp_path, verify=True)).store
    path = store.path / "images-00000.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    preprocess(_request(world, photos, cache=tmp_path))
    with pytest.raises(UserError, match="another SHA-256"):
        preprocess(_request(world, photos, cache=tmp_path, verify=True))


def test_a_store_that_was_here_first_is_pushed_once_and_then_only_read(
    world: Any, photos: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = preprocess(_request(world, photos, cache=tmp_path)).store
    preprocess(_request(world, photos, cache=tmp_path, store_uri=f"{bucket}/ours"))
    pushed = pull_store(f"{bucket}/ours", store.digest, tmp_path / "there")
    assert pushed.digest == store.digest

    def denied(*arguments: object) -> None:
        raise AssertionError("written again")

    monkeypatch.setattr("lesion_transfer.data.remote._Remote.write", denied)
    preprocess(_request(world, photos, cache=tmp_path, store_uri=f"{bucket}/ours"))


def test_another_machine_takes_the_store_from_s3(
    world: Any, photos: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = preprocess(
        _request(world, photos, cache=tmp_path / "a", store_uri=f"{bucket}/ours")
    ).store

    def never(*arguments: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr("lesion_transfer.data.build.fill", never)
    pulled = preprocess(
        _request(world, photos, cache=tmp_path / "b", store_uri=f"{bucket}/ours")
    ).store
    assert (pulled.digest, pulled.path.parent.parent) == (built.digest, tmp_path / "b")
