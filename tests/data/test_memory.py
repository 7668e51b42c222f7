"""MemoryData: batches of the program's own arrays."""

import numpy as np
import pytest

from caffecompat.data import DataError, MemorySource
from tests.data.batches import refuses, source

TEXT = 'type: "MemoryData" top: "a" top: "b" memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }'
DATA = np.arange(6 * 60, dtype=np.float32).reshape(6, 3, 4, 5)
LABELS = np.arange(6, dtype=np.float32)


def test_items_come_in_order_over_and_over() -> None:
    with source(TEXT) as made:
        assert isinstance(made, MemorySource) and made.top_shapes == [(2, 3, 4, 5), (2,)]
        with pytest.raises(DataError, match="set_input_arrays"):
            made.next()
        made.set_arrays(DATA, LABELS.reshape(6, 1, 1, 1))
        batches = [made.next() for _ in range(4)]
    assert [labels.tolist() for _, labels in batches] == [[0, 1], [2, 3], [4, 5], [0, 1]]
    np.testing.assert_array_equal(batches[1][0], DATA[2:4])


def test_new_arrays_begin_at_their_first_item() -> None:
    with source(TEXT) as made:
        made.set_arrays(DATA, LABELS)
        made.next()
        made.set_arrays(DATA[2:4], LABELS[2:4])
        assert made.next()[1].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        (DATA.astype(np.float64), LABELS, "the data must be float32, they are float64"),
        (DATA, LABELS.astype(np.int64), "the labels must be float32"),
        (DATA[:, :2], LABELS, "must have shape .M, 3, 4, 5."),
        (DATA, LABELS[:4], "6 items need as many labels"),
        (DATA[:3], LABELS[:3], "3, must be a multiple of the batch size, 2"),
    ],
)
def test_arrays_that_do_not_fit(data: np.ndarray, labels: np.ndarray, message: str) -> None:
    with source(TEXT) as made, pytest.raises(DataError, match=message):
        made.set_arrays(data, labels)


def test_mistakes_in_the_prototxt() -> None:
    refuses(TEXT.replace("height: 4", ""), "needs batch_size, channels, height and width")
