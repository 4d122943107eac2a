import numpy as np
import pytest

from lesion_transfer.data.images import Pictures

WHOLE = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), np.uint8)


@pytest.fixture(params=[[20], [7, 1, 12], [5, 5, 5, 5]])
def pictures(request: pytest.FixtureRequest) -> Pictures:
    return Pictures(np.split(WHOLE, np.cumsum(request.param)[:-1]))


@pytest.mark.parametrize(
    "key",
    [
        0,
        -1,
        np.int64(13),
        slice(None),
        slice(2, 4),
        slice(4, 9),
        slice(3, 3),
        slice(None, None, -3),
        [3, 3, 19],
        [],
        np.array([19, 0, 7, -2]),
        np.arange(20) % 3 == 0,
        np.array([[1, 2], [18, 3]]),
    ],
)
def test_it_is_indexed_as_one_array(pictures: Pictures, key: object) -> None:
    if isinstance(key, list):
        key = np.array(key, np.int64)
    np.testing.assert_array_equal(pictures[key], WHOLE[key])  # type: ignore[index]


def test_it_looks_like_one_array(pictures: Pictures) -> None:
    assert (len(pictures), pictures.shape, pictures.ndim) == (20, WHOLE.shape, 4)
    np.testing.assert_array_equal(np.asarray(pictures), WHOLE)
    np.testing.assert_array_equal(np.stack(list(pictures)), WHOLE)
    assert np.asarray(pictures, np.float32).dtype == np.float32


@pytest.mark.parametrize("key", [20, -21, [3, 20]])
def test_beyond_the_end(pictures: Pictures, key: object) -> None:
    with pytest.raises(IndexError):
        pictures[key]


def test_a_slice_of_one_shard_is_no_copy() -> None:
    assert np.shares_memory(Pictures([WHOLE])[3:9], WHOLE)
