"""How like two layers are, by their types and by what they say."""

from __future__ import annotations

from caffecompat.schema.diff_graph import DiffGraph, DiffLayer

__all__ = ["agreement", "family", "outlooks"]

_STEPS = 3  # that a layer looks ahead

_ACTIVATIONS = "ReLU ReLU6 PReLU ELU GELU Clip Swish SiLU Mish HardSwish HSwish TanH Sigmoid HardSigmoid"
_FAMILIES = {
    "BatchNorm": {"BatchNorm", "BN", "BatchNormFixed"},
    "ReLU": set(_ACTIVATIONS.split()),
    "up": {"Deconvolution", "DeephiResize", "Interp", "Resize", "Upsample"},
}
_FAMILY = {kind: family for family, kinds in _FAMILIES.items() for kind in kinds}


def family(kind: str) -> str:
    """The name of the types that can take each other's place in a net."""
    for ending in ("Data", "Loss", "Accuracy"):
        if kind.endswith(ending):
            return ending
    return _FAMILY.get(kind, "Data" if kind == "Input" else kind)


def agreement(x: DiffLayer, y: DiffLayer) -> float:
    """How much of what two layers of one type say is the same, 0 to 1; fillers and learning rates count little."""
    paths = {*x.fields, *y.fields}
    weights = {path: 0.1 if "filler" in path or path.startswith("param[") else 1.0 for path in paths}
    total = sum(weights.values())
    same = sum(weight for path, weight in weights.items() if x.fields.get(path) == y.fields.get(path))
    return same / total if total else 1.0


def outlooks(a: DiffGraph, b: DiffGraph) -> tuple[list[list[int]], list[list[int]]]:
    """For each layer of two nets, numbers for what follows it in 1, 2, ... steps; equal ones follow alike, by family.

    This is the coloring of Weisfeiler and Lehman's test, along the arrows of the graph.
    """
    numbers: dict[object, int] = {}
    sides = []
    for graph in (a, b):
        now = [numbers.setdefault(family(layer.type), len(numbers)) for layer in graph.layers]
        seen: list[list[int]] = [[] for _ in now]
        for _ in range(_STEPS):
            keys = [(now[i], *sorted(now[r] for r in layer.readers)) for i, layer in enumerate(graph.layers)]
            now = [numbers.setdefault(key, len(numbers)) for key in keys]
            for mine, number in zip(seen, now, strict=True):
                mine.append(number)
        sides.append(seen)
    return sides[0], sides[1]
