"""Phases by number and by name."""

import numpy as np
import pytest

from caffecompat import CaffeCompatError
from caffecompat.schema import as_phase


@pytest.mark.parametrize(("given", "number"), [
    (0, 0), (1, 1), ("TRAIN", 0), ("test", 1), ("Train", 0), (" TEST ", 1), (np.int64(1), 1), (np.uint8(0), 0),
])  # fmt: skip
def test_numbers_and_names_in_any_case(given: object, number: int) -> None:
    assert as_phase(given) == number
    assert type(as_phase(given)) is int


@pytest.mark.parametrize("given", [2, -1, None, 1.0, True, False, "", "train_val", "0", [1], b"TEST"])
def test_everything_else_is_an_error(given: object) -> None:
    with pytest.raises(CaffeCompatError, match=r"^phase .*: expected TRAIN"):
        as_phase(given)


def test_a_misspelled_name_is_guessed() -> None:
    with pytest.raises(CaffeCompatError, match="phase 'tset': expected TRAIN or TEST; did you mean TEST"):
        as_phase("tset")
