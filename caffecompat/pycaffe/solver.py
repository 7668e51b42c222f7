"""pycaffe's solvers over ``caffecompat.solver``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import ClassVar

from caffecompat import solver
from caffecompat.glog import configure_logging
from caffecompat.pycaffe.mode import current_fork
from caffecompat.pycaffe.net import Net
from caffecompat.pycaffe.process import NCCL
from caffecompat.python_code import allowing_python_layers
from caffecompat.schema import pb

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
    """What all pycaffe solvers share; ``python_layers=False`` refuses nets that would run the code of Python layers.

    Attributes:
        net, test_nets: faces of the solver's nets; after a step their blobs hold the last pass.
        iter: updates done so far.
        param: the SolverParameter; `base_lr` and the like may be set between steps.
    """

    _type: ClassVar[str | None] = None  # the rule that the class name demands, whatever the prototxt says

    def __init__(self, solver_file: str | os.PathLike[str], *, python_layers: bool = True) -> None:
        configure_logging()
        overrides = [f"type={self._type}"] if self._type else []
        with allowing_python_layers(python_layers):
            self._take(solver.Solver(solver_file, overrides=overrides, fork=current_fork()))

    def _take(self, core: solver.Solver) -> None:
        self._solver = core
        self._solver.passes.keep_gradients = True
        self._solver.updater.keep_steps = True
        self.net = Net._of(self._solver.net)
        self.test_nets = [Net._of(core) for core in self._solver.test_nets]

    @property
    def iter(self) -> int:
        return self._solver.iter

    @property
    def param(self) -> pb.SolverParameter:
        return self._solver.param

    def step(self, iterations: int) -> None:
        """Do that many iterations, with the tests, displays and snapshots that fall due.

        Afterwards the diffs of the parameters hold the last steps, which were subtracted, as in Caffe.
        """
        self._solver.step(iterations)
        self._show_steps()

    def solve(self, resume_file: str | os.PathLike[str] | None = None) -> None:
        """Train to max_iter."""
        self._solver.train(os.fspath(resume_file) if resume_file is not None else None)
        self._show_steps()

    def apply_update(self) -> None:
        """Update the parameters from their diffs as they are; `iter` stays."""
        self._solver.apply_update()
        self._show_steps()

    def _show_steps(self) -> None:
        for position, step in self._solver.updater.steps.items():
            gradient = self._solver.net.params[position].blob.grad
            if gradient is not None:
                gradient.copy_(step)

    def share_weights(self, net: Net) -> None:
        """Let another net use the parameters of this solver's net in layers of the same name."""
        net.share_with(self.net)

    def add_callback(
        self, on_start: Callable[[], None] | NCCL, on_gradients_ready: Callable[[], None] | None = None
    ) -> None:
        """Call `on_start` before each iteration's forward pass, `on_gradients_ready` before its update."""
        if not isinstance(on_start, NCCL):  # which would join the solvers of several processes
            self._solver.callbacks.append((on_start, on_gradients_ready or _nothing))

    def snapshot(self) -> None:
        """Write the weights and the solver's state."""
        self._solver.snapshot()

    def restore(self, state_file: str | os.PathLike[str], *, like_caffe: bool = False) -> None:
        """Continue from a solverstate.

        With the `.resume` file next to it, which our snapshots have, the run goes on exactly: data from the record that
        is due, random numbers from the next one. Without it, or with `like_caffe`, all is as in Caffe: data and random
        numbers stay where they are in this process.
        """
        self._solver.restore(os.fspath(state_file), like_caffe=like_caffe)


def _nothing() -> None:
    """Called where no callback was given."""


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


def get_solver(solver_file: str | os.PathLike[str], *, python_layers: bool = True) -> Solver:
    """The solver of the type that the prototxt names: an `SGDSolver`, an `AdamSolver`, ..."""
    configure_logging()
    with allowing_python_layers(python_layers):
        core = solver.Solver(solver_file, fork=current_fork())
    kinds = (SGDSolver, NesterovSolver, AdaGradSolver, RMSPropSolver, AdaDeltaSolver, AdamSolver)
    kind: type[Solver] = next((kind for kind in kinds if kind._type == core.param.type), Solver)
    face = kind.__new__(kind)
    face._take(core)
    return face
