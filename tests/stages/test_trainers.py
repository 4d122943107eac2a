"""A compiled trainer serves the folds of one source, never those of another."""

import keras
import numpy as np
from numpy.testing import assert_allclose

from lesion_transfer.stages.finetune import _trainer
from lesion_transfer.stages.plan import plan
from lesion_transfer.stages.requests import EvaluateRequest
from lesion_transfer.stages.workspace import workspace


def test_a_source_keeps_what_its_network_has_computed_from_its_weights(world, tmp_path):
    pixels = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 3)).astype(np.float32)
    adapted = keras.layers.Normalization()
    adapted.adapt(pixels)
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(adapted(image))
    path = tmp_path / "adapted.keras"
    keras.Model(image, keras.layers.GlobalAveragePooling2D()(x)).save(path)

    options = world.options(folds="1x1", backbone=str(path), input_scaling="none")
    random, imagenet = (EvaluateRequest(**options, source=s) for s in ("none", "imagenet"))
    with workspace(imagenet) as ws:
        _trainer(ws, plan(ws, random))
        planned = plan(ws, imagenet)
        trainer, initial = _trainer(ws, planned)
        trainer.network.set_weights(initial)
        assert_allclose(
            trainer.network.predict_on_batch(pixels),
            planned.source.build().predict_on_batch(pixels),
            rtol=1e-5,
        )
