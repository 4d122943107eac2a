"""Where the initial weights come from: files, the registry, other runs, and chains of them."""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copyfile
from threading import Thread

import cv2
import keras
import numpy as np
import pytest
from mlflow import MlflowClient

from lesion_transfer.errors import UserError
from lesion_transfer.models.backbones import SmallVGG, load_network
from lesion_transfer.stages.folds import evaluate
from lesion_transfer.stages.pretrain import SourceNetwork, pretrain
from lesion_transfer.stages.requests import EvaluateRequest, PretrainRequest, StudyRequest
from lesion_transfer.stages.study import study
from lesion_transfer.tracking import Kind, Tag


@pytest.fixture(scope="module")
def options(world) -> dict:
    given = world.options()
    return {key: given[key] for key in given if key != "folds"}


@pytest.fixture(scope="module")
def retinas(world, options) -> SourceNetwork:
    return pretrain(PretrainRequest(**options, source="retinopathy"))


def weights(network: keras.Model) -> list[np.ndarray]:
    return network.get_weights()


def same(one: keras.Model, other: keras.Model) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_the_network_of_a_run_is_a_source(world, options, retinas: SourceNetwork):
    name = f"runs:/{retinas.run_id}/network.keras"
    source = pretrain(PretrainRequest(**options, source=name))
    assert same(source.build(), retinas.build())
    assert pretrain(PretrainRequest(**options, source=name)).run_id == source.run_id
    (run,) = world.runs(Kind.SOURCE, source=name)
    assert run.info.run_id == source.run_id


def test_a_registered_model_is_a_source_and_its_alias_is_looked_up(
    world, options, retinas: SourceNetwork
):
    client: MlflowClient = world.client
    client.create_registered_model("retinas")
    version = client.create_model_version("retinas", f"runs:/{retinas.run_id}", retinas.run_id)
    client.set_registered_model_alias("retinas", "champion", version.version)
    source = pretrain(PretrainRequest(**options, source="models:/retinas@champion"))
    assert same(source.build(), retinas.build())
    # Content decides, not names: what the run gave already is not computed again.
    assert source.key == pretrain(PretrainRequest(**options, source="models:/retinas/1")).key


@pytest.mark.slow
def test_a_chain_goes_on_from_a_stored_network(world, options, retinas: SourceNetwork):
    name = f"runs:/{retinas.run_id}/network.keras+synthetic_generic+retinopathy"
    request = EvaluateRequest(**options, source=name, finetune=False, folds="1x1,1x2")
    assert evaluate(request).summary is not None
    chains = {run.data.tags["source"] for run in world.runs(Kind.SOURCE)}
    assert {name, name.rpartition("+")[0], name.split("+")[0]} <= chains


@pytest.mark.slow
def test_a_whole_fold_model_is_a_source(world, options, retinas: SourceNetwork):
    arm = evaluate(EvaluateRequest(**options, source="none", folds="1x1"))
    name = f"runs:/{arm.folds[0].run_id}/model/model.keras"
    source = pretrain(PretrainRequest(**options, source=name))
    fold_model = load_network(world.artifact(arm.folds[0].run_id, "model/model.keras"))
    assert same(source.build(), fold_model.get_layer("network"))


def test_the_data_sets_of_a_chain_lie_in_one_folder_each_under_its_name(
    world, options, tmp_path: Path
):
    rng = np.random.default_rng(0)

    def picture(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (24, 24, 3), np.uint8))

    eyes, lesions = ["image,level"], ["lesion_id,image_id,dx"]
    for number in range(24):
        eyes.append(f"{number}_left,{number % 3}")
        picture(tmp_path / "eyepacs" / "train" / f"{number}_left.jpeg")
        lesions.append(f"HAM_{number},ISIC_{number},{('mel', 'nv', 'bcc')[number % 3]}")
        picture(tmp_path / "ham10000" / "HAM10000_images" / f"ISIC_{number}.jpg")
    (tmp_path / "eyepacs" / "trainLabels.csv").write_text("\n".join(eyes))
    (tmp_path / "ham10000" / "HAM10000_metadata.csv").write_text("\n".join(lesions))
    request = {"target": "folder", "source_root": str(tmp_path), "source": "retinopathy+ham10000"}
    pretrain(PretrainRequest(**options | request))
    eyes_alone, both = (
        world.runs(Kind.SOURCE, source=name)[-1].data.metrics
        for name in ("retinopathy", "retinopathy+ham10000")
    )
    # Levels have an order, diagnoses have none.
    assert {"held_out_kappa", "held_out_auc"} <= eyes_alone.keys()
    assert "held_out_kappa" not in both
    assert "held_out_auc" in both


def test_a_stored_network_of_another_shape_is_refused(world, options, retinas: SourceNetwork):
    name = f"runs:/{retinas.run_id}/network.keras"
    with pytest.raises(UserError, match="layer 'features' do not fit") as raised:
        pretrain(PretrainRequest(**options, source=name, image_size=32))
    assert "(256, 128)" in raised.value.problem
    assert "(1024, 128)" in raised.value.problem


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("models:/nobody@champion", "cannot be read"),
        ("runs:/0123456789abcdef0123456789abcdef/network.keras", "cannot be read"),
    ],
)
def test_a_source_that_is_not_there_is_refused(options, source: str, says: str):
    with pytest.raises(UserError, match=says) as raised:
        pretrain(PretrainRequest(**options, source=source))
    assert source in raised.value.problem


@pytest.mark.parametrize("source", ["imagnet", "imagnet+retinopathy", "retinopathy+imagnet"])
def test_a_misspelt_source_is_refused_before_any_image_is_looked_for(options, source: str):
    nowhere = {"target": "folder", "data_root": "no/such/folder"}
    with pytest.raises(UserError, match="source: there is none called 'imagnet'") as raised:
        evaluate(EvaluateRequest(**options | nowhere, source=source))
    assert "imagenet, retinopathy, " in raised.value.expected


def test_a_study_without_imagenet_weights_is_refused_before_any_image_is_looked_for(options):
    nowhere = {"target": "folder", "data_root": "no/such/folder", "models": "D"}
    with pytest.raises(UserError, match="vgg_m has its ImageNet weights in a file"):
        study(StudyRequest(**options | nowhere, backbone="vgg_m", image_size=64))


def test_a_run_without_a_model_is_refused(world, options, retinas: SourceNetwork):
    with pytest.raises(
        UserError, match=r"source=.*curves\.png.* cannot be used|model file"
    ) as raised:
        pretrain(PretrainRequest(**options, source=f"runs:/{retinas.run_id}/curves.png"))
    assert "curves.png" in raised.value.problem


# --- weights of a backbone ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of the user's own, for which there are no stand-ins."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("melanoma", "nevus"):
        (folder / name).mkdir()
        for number in range(12):
            picture = rng.integers(0, 256, (24, 24, 3), np.uint8)
            cv2.imwrite(str(folder / name / f"{number}.png"), picture)
    return folder


def test_imagenet_without_its_file_says_which_and_where(options, photos: Path):
    request = EvaluateRequest(
        **options, target="folder", data_root=str(photos), backbone="vgg_m", image_size=64
    )
    with pytest.raises(
        UserError, match="backbone=vgg_m has its ImageNet weights in a file"
    ) as told:
        evaluate(request)
    assert "imagenet-vgg-m.mat" in told.value.next_step
    assert "-P weights=" in told.value.next_step


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A web server on loopback, and the folder it serves."""
    folder = tmp_path_factory.mktemp("site")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", folder
        server.shutdown()


@pytest.mark.parametrize(
    ("weights_file", "says"),
    [
        ("/nowhere/imagenet-vgg-m.mat", "weights=/nowhere/imagenet-vgg-m.mat: there is no such"),
        ("ftp://example.org/imagenet-vgg-m.mat", "weights=ftp://.* cannot be fetched"),
        ("{site}/imagenet-vgg-m.mat", "http://127.0.0.1:.*/imagenet-vgg-m.mat does not exist"),
    ],
)
def test_a_weights_file_that_cannot_be_had_is_named(options, site, weights_file: str, says: str):
    named = weights_file.format(site=site[0])
    with pytest.raises(UserError, match=says):
        pretrain(PretrainRequest(**options, source="imagenet", backbone="vgg_m", weights=named))


def test_a_models_file_as_backbone_may_lie_anywhere(world, options, site, tmp_path: Path):
    network = SmallVGG().build(16, imagenet=False, seed=7)
    network.save(tmp_path / "mine.keras")
    local = PretrainRequest(**options, source="imagenet", backbone=str(tmp_path / "mine.keras"))
    source = pretrain(local)
    assert same(source.build(), network)
    (run,) = world.runs(Kind.SOURCE, backbone="mine")
    assert run.data.tags[Tag.KEY] == source.key
    # On the web it is the same content, and so the same source.
    copyfile(tmp_path / "mine.keras", site[1] / "mine.keras")
    remote = PretrainRequest(**options, source="imagenet", backbone=f"{site[0]}/mine.keras")
    assert pretrain(remote).run_id == source.run_id
