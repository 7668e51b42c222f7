"""What exported files take of the package as it is, with all that it uses."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from caffecompat.deploy.torch_source.functions import exportable, names_read, needed

FUNCTIONS = exportable()
IMPORTED = {
    "math": math, "Callable": Callable, "Sequence": Sequence, "dataclass": dataclass,
    "torch": torch, "F": F, "Tensor": Tensor, "nn": nn,
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_that_it_uses_is_missing(name: str) -> None:
    pieces = [FUNCTIONS[each].text for each in (*needed(name, FUNCTIONS), name)]
    space: dict[str, Any] = dict(IMPORTED)
    for piece in pieces:
        exec(piece, space)  # each after those that it needs
    assert not {
        other for other in names_read("\n\n".join(pieces)) if other not in space and not hasattr(builtins, other)
    }


def test_constants_and_classes_come_with_what_reads_them() -> None:
    assert {"LOWEST", "Window"} <= set(needed("max_pool_3d", FUNCTIONS))
    assert {"_BLOCK", "_PAIRS", "jaccard"} <= set(needed("detection_output", FUNCTIONS))
    assert FUNCTIONS["Window"].text.startswith("@dataclass(frozen=True)\nclass Window:")


def test_names_that_a_text_makes_itself_are_not_read() -> None:
    text = "def f(a, areas):\n    b = a + c\n    return [g(b) for b in areas]"
    assert names_read(text) == {"c", "g"}
