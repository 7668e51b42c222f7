"""Rules at numbers that no training has."""

from __future__ import annotations

import pytest
import torch

from caffecompat.solver.updates import RULES, Numbers


@pytest.mark.parametrize(("beta1", "beta2"), [(1.0, 0.999), (0.9, 1.5), (1.0, 1.0), (1.0, 3e38)])
def test_adam_with_momenta_of_1_and_above_makes_nan(beta1: float, beta2: float) -> None:
    slots = [[torch.zeros(2)], [torch.zeros(2)]]
    numbers = Numbers(momentum=beta1, momentum2=beta2)
    (step,) = RULES["Adam"].step(numbers, 0.1, 5, [torch.ones(2)], slots)
    assert not torch.isfinite(step).all()
