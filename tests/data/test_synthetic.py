import time
from collections import Counter

import numpy as np
import pytest

from lesion_transfer.data.synthetic import World, generic, lesions, retinas
from lesion_transfer.study import LESION_DIAGNOSES

WORLDS = pytest.mark.parametrize("world", [lesions.WORLD, retinas.WORLD, generic.WORLD])


@WORLDS
def test_a_picture_depends_on_world_seed_and_number_alone(world: World) -> None:
    first = world.draw(3, 17)
    world.draw(3, 5)
    np.testing.assert_array_equal(world.draw(3, 17), first)
    assert (world.draw(4, 17) != first).any()
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8


@WORLDS
def test_ids_are_unique_and_every_class_has_groups_to_divide(world: World) -> None:
    plan = world.plan(0)
    assert len({picture.image_id for picture in plan}) == len(plan)
    groups = {(picture.diagnosis, picture.group_id) for picture in plan}
    assert min(Counter(diagnosis for diagnosis, _ in groups).values()) >= 8


def test_the_cast_of_lesions() -> None:
    plan = lesions.plan(0)
    counts = Counter(picture.diagnosis for picture in plan)
    assert len(plan) == 400
    assert counts["melanoma"] == 110
    assert counts["basal_cell_carcinoma"] == 50
    assert set(counts) <= LESION_DIAGNOSES
    groups = Counter(picture.group_id for picture in plan)
    assert Counter(groups.values()) == {1: 360, 2: 20}
    assert len({(picture.group_id, picture.diagnosis) for picture in plan}) == len(groups)


def test_two_pictures_of_a_lesion_differ_in_pose_and_light() -> None:
    plan = lesions.plan(0)
    groups = Counter(picture.group_id for picture in plan)
    twice = next(group for group, count in groups.items() if count == 2)
    first, second = (i for i, picture in enumerate(plan) if picture.group_id == twice)
    difference = np.abs(lesions.draw(0, first).astype(int) - lesions.draw(0, second))
    assert difference.mean() > 3


def test_the_cast_of_retinas() -> None:
    plan = retinas.plan(0)
    counts = Counter(picture.diagnosis for picture in plan)
    assert len(plan) == 400
    assert [counts[f"level_{k}"] for k in range(5)] == [268, 40, 60, 16, 16]
    assert set(Counter(picture.group_id for picture in plan).values()) == {2}


@pytest.mark.slow
def test_all_worlds_are_drawn_in_seconds() -> None:
    start = time.process_time()
    for world in (lesions.WORLD, retinas.WORLD, generic.WORLD):
        for i in range(len(world.plan(0))):
            world.draw(0, i)
    assert time.process_time() - start < 10


@pytest.mark.slow
def test_melanomas_can_be_learnt_but_not_from_coarse_colours_alone() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    plan = lesions.plan(0)
    chosen = [i for i, p in enumerate(plan) if p.diagnosis != "basal_cell_carcinoma"]
    pictures = np.stack([lesions.draw(0, i) for i in chosen])
    coarse = pictures.reshape(-1, 16, 4, 16, 4, 3).mean(axis=(2, 4)).reshape(len(chosen), -1)
    auc = cross_val_score(
        make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)),
        coarse,
        [plan[i].diagnosis == "melanoma" for i in chosen],
        groups=[plan[i].group_id for i in chosen],
        cv=StratifiedGroupKFold(4, shuffle=True, random_state=0),
        scoring="roc_auc",
    ).mean()
    assert 0.55 < auc < 0.8
