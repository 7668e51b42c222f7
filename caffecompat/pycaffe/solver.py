"""pycaffe's solvers over ``caffecompat.solver``."""

from __future__ import annotations

import os
from typing import ClassVar

from caffecompat import solver
from caffecompat.pycaffe.net import Net

__all__ = [
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "NesterovSolver",
    "RMSPropSolver",
    "SGDSolver",
    "Solver",
    "get_solver",
]


class Solver:
    """What all pycaffe solvers share.

    Attributes:
        net, test_nets: faces of the solver's nets; after a step their blobs hold the last pass.
        iter: updates done so far.
    """

    _type: ClassVar[str | None] = None  # the rule that the class name demands, whatever the prototxt says

    def __init__(self, solver_file: str | os.PathLike[str]) -> None:
        overrides = [f"type={self._type}"] if self._type else []
        self._solver = solver.Solver(solver_file, overrides=overrides)
        self.net = Net._of(self._solver.net)
        self.test_nets = [Net._of(core) for core in self._solver.test_nets]

    @property
    def iter(self) -> int:
        return self._solver.iter

    def step(self, iterations: int) -> None:
        """Do that many iterations, with the tests, displays and snapshots that fall due."""
        self._solver.step(iterations)

    def solve(self, resume_file: str | os.PathLike[str] | None = None) -> None:
        """Train to max_iter."""
        self._solver.train(os.fspath(resume_file) if resume_file is not None else None)

    def snapshot(self) -> None:
        """Write the weights and the solver's state."""
        self._solver.snapshot()

    def restore(self, state_file: str | os.PathLike[str]) -> None:
        """Continue from a solverstate."""
        self._solver.restore(os.fspath(state_file))


class SGDSolver(Solver):
    """Momentum SGD."""

    _type = "SGD"


class NesterovSolver(Solver):
    """Nesterov's accelerated gradient."""

    _type = "Nesterov"


class AdaGradSolver(Solver):
    """AdaGrad."""

    _type = "AdaGrad"


class RMSPropSolver(Solver):
    """RMSProp."""

    _type = "RMSProp"


class AdaDeltaSolver(Solver):
    """AdaDelta."""

    _type = "AdaDelta"


class AdamSolver(Solver):
    """Adam."""

    _type = "Adam"


def get_solver(solver_file: str | os.PathLike[str]) -> Solver:
    """The solver of the type that the prototxt names."""
    return Solver(solver_file)
