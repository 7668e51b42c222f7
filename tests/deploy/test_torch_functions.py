"""What exported files take of the package as it is, with all that it uses."""

from __future__ import annotations

import ast
import builtins
import inspect
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from caffecompat.deploy.torch_source.functions import exportable, needed

THINGS = exportable()
IMPORTED = {"math": math, "Sequence": Sequence, "torch": torch, "F": F, "Tensor": Tensor, "nn": nn}


def _read_names(text: str) -> Iterator[str]:
    """Names that a text reads and does not bind anywhere in it."""
    nodes = list(ast.walk(ast.parse(text)))
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    read = (node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    return (name for name in read if name not in bound and not hasattr(builtins, name))


@pytest.mark.parametrize("name", THINGS)
def test_nothing_that_it_uses_is_missing(name: str) -> None:
    pieces = [inspect.getsource(THINGS[each]) for each in (*needed(name, THINGS), name)]
    space: dict[str, Any] = dict(IMPORTED)
    for piece in pieces:
        exec(piece, space)  # each after those that it needs
    text = "\n\n".join(pieces)
    missing = {other for other in _read_names(text) if other not in space}
    assert not missing
