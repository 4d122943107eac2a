from pathlib import Path

import keras
import pytest
from networks import small_network


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(99)
    return small_network()


@pytest.fixture(scope="module")
def file(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "my_net.keras"
    model.save(path)
    return path
