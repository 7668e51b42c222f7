"""ShuffleChannel: channels of several groups in turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat.layers import LayerError
from tests.layers.make import make_layer
from tests.layers.properties import check_gradient


@pytest.mark.parametrize("group", [1, 2, 3, 6])
def test_places_of_channels(group: int) -> None:
    x = np.random.default_rng(group).normal(size=(2, 6, 2, 3))
    layer = make_layer(f'type: "ShuffleChannel" shuffle_channel_param {{ group: {group} }}', x.shape).double()
    top = layer(torch.from_numpy(x)).numpy()
    size = 6 // group
    for g in range(group):
        for c in range(size):
            np.testing.assert_array_equal(top[:, c * group + g], x[:, g * size + c])
    check_gradient(layer, [torch.from_numpy(x)])


@pytest.mark.parametrize("group", [0, 4])
def test_groups_that_do_not_divide_the_channels(group: int) -> None:
    with pytest.raises(LayerError, match=f"group {group} must divide"):
        make_layer(f'type: "ShuffleChannel" shuffle_channel_param {{ group: {group} }}', (1, 6, 2, 2))
