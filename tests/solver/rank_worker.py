"""One process of a group that trains: run by test_ranks.py with its place in the environment.

Arguments: a JSON file with the cases, each the arguments of a Solver, and where the first process writes the weights.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np
import torch

from caffecompat import Solver
from caffecompat.solver.place import place_of
from caffecompat.solver.ranks import Ranks, joined


def train(case: dict[str, Any], ranks: Ranks) -> dict[str, Any]:
    """Weights after 20 iterations, scores of a test, and the labels that all processes have read, by name."""
    solver = Solver(**case, ranks=ranks)
    labels: list[float] = []
    first = solver.net.layers[0].source
    taken = first.next

    def note() -> tuple[np.ndarray, ...]:
        tops = taken()
        labels.extend(tops[1].flatten().tolist())
        return tops

    first.next = note
    solver.step(20)
    scores = solver.test_all()
    read = ranks.all(labels)
    # What the first process would store: its statistics, weights that all have.
    own = {f"{p.layer}[{p.index}]": p.blob.detach().numpy().copy() for p in solver.net.params if p.blob.requires_grad}
    assert all(np.array_equal(value, other[name]) for other in ranks.all(own) for name, value in own.items()), (
        "weights differ among the processes"
    )
    weights = {f"{p.layer}[{p.index}]": p.blob.detach().numpy() for p in solver.net.params}
    rest = {
        "labels": np.array(read).T.flatten(),
        "seeds": np.array(ranks.all(torch.initial_seed()), np.uint64),
        "loss": solver.smoothed_loss,
        "scale": solver.loss_scale.value,
        "rate steps": solver.rate_state.current_step,
        **{f"score {name}": values for name, values in scores.items()},
    }
    solver.net.close()
    return {**weights, **rest}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with open(sys.argv[1]) as file:
        cases = json.load(file)
    with joined(place_of(os.environ), torch.device("cpu")) as group:
        for name, arguments in cases.items():
            result = train(arguments, group)
            if group.is_first:
                np.savez(f"{sys.argv[2]}_{name}.npz", **result)
