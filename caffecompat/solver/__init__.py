"""Training under Caffe's rules."""

from caffecompat.solver.solver import Solver

__all__ = ["Solver"]
