"""Weights to start from: which files they are, and copying them into the nets of a solver."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat import glog
from caffecompat.net import Net
from caffecompat.net.weights import WeightPaths, listed_files, weight_paths
from caffecompat.paths import find_file
from caffecompat.schema import pb
from caffecompat.solver.nets import update_fork
from caffecompat.solver.snapshot_files import warn_of_replaced

__all__ = ["load_start_weights", "own_weights"]


def own_weights(param: pb.SolverParameter, path: str | None) -> list[str]:
    """The files that the `weights` of a solver lists, each text by itself or several after commas (BVLC).

    Args:
        path: the file of the solver, from which relative names may lead.
    """
    names = [name for text in param.weights for name in listed_files(text)]
    return [find_file(name, path, field=f"{path or 'solver'}: weights") for name in names]


def load_start_weights(
    param: pb.SolverParameter, net: Net, test_nets: Sequence[Net], paths: WeightPaths, *, skip_mismatched: bool
) -> None:
    """Copy weights by layer name from a file or a list of files, the last one winning.

    Test nets get the weights of layers that they alone have, too (BVLC ``Solver::InitTestNets``).

    Raises:
        CaffeCompatError: a file does not fit, or has none of the net's layers.
    """
    # Jacinto's own name for the same wish, where the text states it (there it is on by default).
    if param.HasField("ignore_shape_mismatch"):
        skip_mismatched |= param.ignore_shape_mismatch
    for path in weight_paths(paths):
        glog.info(f"Finetuning from {path}", "solver.cpp:80")
        warn_of_replaced(param, path)
        before = update_fork(param, net)
        net.load_weights(path, skip_mismatched=skip_mismatched).describe_missing(path)
        fork = update_fork(param, net)
        if fork is not before:
            glog.info(f"{path}: the rules of {fork.value} hold for updates, as its weights' own format shows")
        for test_net in test_nets:
            if _has_more(test_net, net):
                test_net.load_weights(path, skip_mismatched=skip_mismatched)


def _has_more(test_net: Net, net: Net) -> bool:
    """Whether a test net has parameters that the train net lacks."""
    trained = {id(param.blob) for param in net.params}
    return any(id(param.blob) not in trained for param in test_net.params)
